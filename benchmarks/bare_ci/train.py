"""Features with TA-Lib and pandas, split by day, XGBoost, ONNX export and its proof."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import talib
import xgboost
from features.nepse import bars_since_large_move, sector_relative_return, turnover_share
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

OUT = Path("build/bare")
SEED, ROUNDS, PATIENCE, MIN_ROWS, MAX_ROWS = 7, 2, 40, 200, 5000
HOLDOUT_DAYS, VALIDATION_DAYS, EMBARGO = 20, 10, 1
LARGEST_MOVE, LONGEST_ABSENCE = 1.05 * 0.10, 10
GOLDEN, RANDOM, TOLERANCE = 32, 10_000, 1e-5
PARAMS = {
    "learning_rate": 0.05,
    "max_depth": 5,
    "max_leaves": 0,
    "grow_policy": "depthwise",
    "max_bin": 256,
    "min_child_weight": 5.0,
    "gamma": 0.0,
    "reg_lambda": 1.0,
    "reg_alpha": 0.0,
    "max_delta_step": 0.0,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "colsample_bylevel": 1.0,
    "colsample_bynode": 1.0,
    "scale_pos_weight": 1.0,
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
    "device": "cpu",
    "seed": SEED,
    "nthread": 1,
    "verbosity": 0,
}


def segments(bars: pd.DataFrame) -> pd.Series:
    """Number stretches that no return may span: no impossible move, no long absence."""
    by_symbol = bars.groupby("symbol")
    day = bars["date"].rank(method="dense")
    absent = day.groupby(bars["symbol"]).diff() - 1 > LONGEST_ABSENCE
    moved = by_symbol["close"].pct_change(fill_method=None).abs() > LARGEST_MOVE
    return (absent | moved | (by_symbol.cumcount() == 0)).cumsum()


def standard(bars: pd.DataFrame) -> pd.DataFrame:
    opened, high, low, close = (bars[name].to_numpy() for name in ("open", "high", "low", "close"))
    found = {"return_1": talib.ROCP(close, 1)}
    found |= {f"momentum_{n}": talib.ROCP(close, n) for n in (2, 5, 10, 20)}
    found |= {f"sma_ratio_{n}": close / talib.SMA(close, n) - 1 for n in (5, 10, 20)}
    macd, signal, histogram = talib.MACD(close, 12, 26, 9)
    found |= {"macd": macd / close, "macd_signal": signal / close}
    found["macd_histogram"] = histogram / close
    upper, _, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    found["bollinger_position_20"] = (close - lower) / (upper - lower)
    found["atr_14"] = talib.ATR(high, low, close, 14) / close
    found["rsi_14"] = talib.RSI(close, 14)
    moves = pd.Series(found["return_1"])
    found["volatility_20"] = moves.rolling(20).std(ddof=0).to_numpy()
    volume = pd.Series(np.log1p(bars["volume"].to_numpy()))
    spread = volume.rolling(20).std(ddof=0)
    found["volume_z_20"] = ((volume - volume.rolling(20).mean()) / spread).to_numpy()
    found["range_position_1"] = (close - low) / (high - low)
    top, bottom = talib.MAX(high, 20), talib.MIN(low, 20)
    found["range_position_20"] = (close - bottom) / (top - bottom)
    gap = opened / np.concatenate(([np.nan], close[:-1])) - 1
    found["open_gap"] = np.where(np.abs(gap) <= LARGEST_MOVE, gap, np.nan)
    found["weekday"] = bars["date"].dt.day_of_week.to_numpy(dtype=float)
    found["gap_days"] = bars["date"].diff().dt.days.to_numpy()
    return pd.DataFrame(found, index=bars.index)


def features(bars: pd.DataFrame) -> pd.DataFrame:
    parts = [part for _, part in bars.groupby(segments(bars))]
    with np.errstate(divide="ignore", invalid="ignore"):
        table = pd.concat([standard(part) for part in parts]).sort_index()
    by_day = table["return_1"].groupby(bars["date"])
    table["market_return"] = by_day.transform("mean")
    table["relative_return"] = table["return_1"] - table["market_return"]
    table["return_rank"] = (by_day.rank() - 0.5) / by_day.transform("count")
    table = table.replace([np.inf, -np.inf], np.nan).astype("float32")
    own = pd.concat([bars_since_large_move(part) for part in parts])
    table["bars_since_large_move"] = own.astype("float32")
    days = [day for _, day in pd.concat([bars, table], axis=1).groupby("date")]
    for function in (turnover_share, sector_relative_return):
        values = pd.concat([function(day) for day in days])
        table[function.__name__] = values.astype("float32")
    return table


def labels(bars: pd.DataFrame) -> pd.Series:
    following = bars.groupby(segments(bars))["close"].shift(-1)
    return (following > bars["close"]).astype(float).where(following.notna())


def split(bars: pd.DataFrame, label: pd.Series) -> pd.Series:
    """Return each row's part: whole days, an embargo between parts, labels known before the next.

    The label of a row is known on the day of its symbol's next bar.
    """
    days = np.sort(bars.loc[label.notna(), "date"].unique())
    day = pd.Series(np.searchsorted(days, bars["date"]), index=bars.index)
    known = day.groupby(bars["symbol"]).shift(-1).fillna(day + 1)
    holdout = len(days) - HOLDOUT_DAYS
    validation = holdout - EMBARGO - VALIDATION_DAYS
    part = pd.Series("embargo", index=bars.index)
    part[day >= holdout] = "holdout"
    part[(day >= validation) & (day < holdout - EMBARGO) & (known < holdout)] = "validation"
    part[(day < validation - EMBARGO) & (known < validation)] = "train"
    part[label.isna()] = "unlabelled"
    return part


def random_rows(table: pd.DataFrame, generator: np.random.Generator) -> pd.DataFrame:
    """Half drawn from the rows, half uniform over a little more than their range; a tenth lacks."""
    values = table.to_numpy()
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    margin = 0.1 * (high - low)
    size = (RANDOM, values.shape[1])
    drawn = values[generator.integers(0, len(values), size), np.arange(size[1])]
    uniform = generator.uniform(low - margin, high + margin, size)
    rows = np.where(generator.random(size) < 0.5, drawn, uniform)
    rows[generator.random(size) < 0.1] = np.nan
    return pd.DataFrame(rows.astype("float32"), columns=table.columns)


def main() -> int:
    bars = pd.read_parquet(OUT / "clean.parquet").iloc[-MAX_ROWS:]
    table, label = features(bars), labels(bars)
    part = split(bars, label)
    train, watched = table[part == "train"], table[part == "validation"]
    if len(train) < MIN_ROWS or label[part == "train"].nunique() != 2:
        print(f"{len(train)} rows to train on")
        return 1
    x = table.to_numpy()
    booster = xgboost.train(
        PARAMS,
        xgboost.DMatrix(train.to_numpy(), label[part == "train"]),
        ROUNDS,
        evals=[(xgboost.DMatrix(watched.to_numpy(), label[part == "validation"]), "validation")],
        callbacks=[xgboost.callback.EarlyStopping(rounds=PATIENCE)],
        verbose_eval=False,
    )
    booster = booster[: booster.best_iteration + 1]
    (OUT / "model").mkdir(exist_ok=True)
    booster.save_model(OUT / "model/model.ubj")

    inputs = [("features", FloatTensorType([None, x.shape[1]]))]
    exported = convert_xgboost(booster, "model", initial_types=inputs, target_opset=15)
    onnx.checker.check_model(exported, full_check=True)
    onnx.save(exported, OUT / "model/model.onnx")

    generator = np.random.default_rng(SEED)
    golden = train.iloc[np.linspace(0, len(train) - 1, GOLDEN).round().astype(int)]
    parity = pd.concat([golden, random_rows(train, generator)], ignore_index=True)
    parity["__probability"] = booster.inplace_predict(parity.to_numpy()).astype(float)
    parity["__golden"] = np.arange(len(parity)) < GOLDEN
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(OUT / "model/model.onnx", options)
    tried = np.concatenate([parity[table.columns].to_numpy(), x[label.notna()]])
    answers = session.run(["probabilities"], {"features": tried})[0][:, 1]
    difference = float(np.abs(answers - booster.inplace_predict(tried)).max())
    if not difference <= TOLERANCE:
        print(f"ONNX differs by {difference}")
        return 1

    keys = bars[["date", "symbol", "sector"]].assign(label=label, part=part).add_prefix("__")
    matrix = pd.concat([keys, table], axis=1)
    matrix.to_parquet(OUT / "matrix.parquet", index=False)
    matrix[part == "holdout"].to_parquet(OUT / "holdout.parquet", index=False)
    parity.to_parquet(OUT / "model/parity.parquet", index=False)
    reference = train.assign(__probability=booster.inplace_predict(train.to_numpy()))
    reference.to_parquet(OUT / "model/reference.parquet", index=False)
    record = {
        "params": PARAMS,
        "best_round": booster.num_boosted_rounds(),
        "rows": part.value_counts().to_dict(),
        "positive_rate": float(label[part == "train"].mean()),
        "export_difference": difference,
        "features": [
            {"name": name, "minimum": float(train[name].min()), "maximum": float(train[name].max())}
            for name in table
        ],
    }
    (OUT / "model/training.json").write_text(json.dumps(record, indent=2))
    print(f"{len(train)} rows, {record['best_round']} rounds, ONNX within {difference:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
