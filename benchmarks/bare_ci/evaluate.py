"""Measure the model and its baselines on the holdout, with intervals, and by group."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
from fairlearn.metrics import MetricFrame, count
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score
from sklearn.preprocessing import StandardScaler

OUT = Path("build/bare")
SEED, RESAMPLES, NOISE, MAX_EFFECT, MAX_LOG_LOSS, BINS = 7, 500, 1e-6, 0.01, 0.75, 10
WHOLE = ("weekday", "gap_days", "bars_since_large_move")


def bins(p: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.quantile(p, np.arange(1, BINS) / BINS), p, side="right")


def calibration_error(y: np.ndarray, p: np.ndarray) -> float:
    return float(np.abs(np.bincount(bins(p), p - y, BINS)).sum() / len(y))


def auc(y: np.ndarray, p: np.ndarray) -> float:
    return float(roc_auc_score(y, p)) if len(np.unique(y)) == 2 else np.nan


METRICS = {
    "log_loss": lambda y, p: log_loss(y, p, labels=[0, 1]),
    "brier_score": brier_score_loss,
    "auc": auc,
    "accuracy": lambda y, p: accuracy_score(y, p >= 0.5),
    "calibration_error": calibration_error,
}


def baselines(matrix: pd.DataFrame, names: list[str]) -> dict[str, np.ndarray]:
    train, held = matrix["__part"] == "train", matrix["__part"] == "holdout"
    y = matrix.loc[train, "__label"]
    rate = y.mean()
    move = matrix["return_1"]
    signal = (move > 0).astype(float).where(move.notna(), -1.0)
    by_signal = y.groupby(signal[train]).agg(["sum", "count"])
    learnt = (by_signal["sum"] + 20 * rate) / (by_signal["count"] + 20)
    scaler = StandardScaler().fit(matrix.loc[train, names])

    def standardised(rows: pd.Series) -> np.ndarray:
        return np.clip(np.nan_to_num(scaler.transform(matrix.loc[rows, names])), -5, 5)

    logistic = LogisticRegression(max_iter=1000, random_state=SEED).fit(standardised(train), y)
    return {
        "base_rate": np.full(held.sum(), rate),
        "persistence": signal[held].map(learnt).fillna(rate).to_numpy(),
        "logistic_regression": logistic.predict_proba(standardised(held))[:, 1],
    }


def intervals(
    y: np.ndarray, p: np.ndarray, day: np.ndarray, by_day: np.ndarray, drawn: np.ndarray
) -> dict:
    """Percentile intervals under resampling of days: ``drawn`` is [resamples, days]."""
    clipped = np.clip(p, 1e-15, 1 - 1e-15)
    losses = {
        "log_loss": -np.where(y == 1, np.log(clipped), np.log1p(-clipped)),
        "brier_score": (p - y) ** 2,
        "accuracy": ((p >= 0.5) == y).astype(float),
    }
    rows = drawn @ np.bincount(day)
    values = {name: drawn @ np.bincount(day, loss) / rows for name, loss in losses.items()}
    defined = np.isfinite(by_day)
    values["within_day_auc"] = drawn @ np.where(defined, by_day, 0) / (drawn @ defined)
    gaps = np.zeros((drawn.shape[1], BINS))
    np.add.at(gaps, (day, bins(p)), p - y)
    values["calibration_error"] = np.abs(drawn @ gaps).sum(axis=1) / rows
    order = np.argsort(p)
    starts = np.flatnonzero(np.r_[True, np.diff(p[order]) > 0])
    weights = drawn[:, day[order]]
    ups = np.add.reduceat(weights * y[order], starts, axis=1)
    downs = np.add.reduceat(weights * (1 - y[order]), starts, axis=1)
    below = downs.cumsum(axis=1) - downs / 2
    values["auc"] = (ups * below).sum(axis=1) / (ups.sum(axis=1) * downs.sum(axis=1))
    return {name: np.nanquantile(found, [0.025, 0.975]).tolist() for name, found in values.items()}


def measure(holdout: pd.DataFrame, scores: dict[str, np.ndarray]) -> dict:
    y = holdout["__label"].to_numpy()
    day, days = pd.factorize(holdout["__date"], sort=True)
    generator = np.random.default_rng(SEED)
    picked = generator.integers(0, len(days), (RESAMPLES, len(days)))
    drawn = np.stack([np.bincount(row, minlength=len(days)) for row in picked]).astype(float)
    table = {}
    for name, p in scores.items():
        by_day = np.array([auc(y[day == d], p[day == d]) for d in range(len(days))])
        values = {metric: float(function(y, p)) for metric, function in METRICS.items()}
        values["within_day_auc"] = float(np.nanmean(by_day))
        found = intervals(y, p, day, by_day, drawn)
        table[name] = {
            metric: {"value": value, "interval": found[metric]} for metric, value in values.items()
        }
    return table


def main() -> int:
    matrix = pd.read_parquet(OUT / "matrix.parquet")
    holdout = pd.read_parquet(OUT / "holdout.parquet").reset_index(drop=True)
    names = [name for name in holdout if not name.startswith("__")]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(OUT / "model/model.onnx", options)

    def predict(rows: pd.DataFrame) -> np.ndarray:
        x = rows[names].to_numpy(dtype="float32")
        return session.run(["probabilities"], {"features": x})[0][:, 1].astype(float)

    scores = {"model": predict(holdout)} | baselines(matrix, names)
    keys = holdout[[name for name in holdout if name.startswith("__")]]
    keys.assign(**scores).to_parquet(OUT / "predictions.parquet", index=False)
    table = measure(holdout, scores)
    generator = np.random.default_rng(SEED)
    moving = [name for name in names if name not in WHOLE]
    factors = 1 + generator.uniform(-NOISE, NOISE, (len(holdout), len(moving)))
    moved = holdout.assign(**(holdout[moving].astype(float) * factors))
    effect = float(np.abs(predict(moved) - scores["model"]).mean())
    groups = MetricFrame(
        metrics={"rows": count} | METRICS,
        y_true=holdout["__label"],
        y_pred=scores["model"],
        sensitive_features=holdout["__sector"],
    ).by_group
    large = groups[groups["rows"] >= 100]
    gaps = {name: float(large[name].max() - large[name].min()) for name in METRICS}
    heuristics = ("base_rate", "persistence")
    report = {
        "rows": len(holdout),
        "models": table,
        "noise_effect": effect,
        "best_heuristic": max(heuristics, key=lambda name: table[name]["within_day_auc"]["value"]),
        "groups": groups.reset_index().to_dict(orient="records"),
        "gaps": gaps,
    }
    (OUT / "evaluation.json").write_text(json.dumps(report, indent=2))
    for name, row in table.items():
        print(name, *(f"{metric} {found['value']:.4f}" for metric, found in row.items()))
    good = (
        np.isfinite(scores["model"]).all()
        and table["model"]["log_loss"]["value"] <= MAX_LOG_LOSS
        and effect <= MAX_EFFECT
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
