"""Bad input ends in one clear line and the documented exit code, and loses nothing."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ml_pipeline import cli
from ml_pipeline.core.report import StageReport

DAYS = 90
SYMBOLS = tuple(f"S{n:02d}" for n in range(20))


def bars() -> pd.DataFrame:
    """Return 20 symbols' clean bars over 90 days that have passed."""
    random = np.random.default_rng(5)
    first = datetime.now(UTC).date() - timedelta(days=DAYS + 10)
    frames = []
    for symbol in SYMBOLS:
        close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, DAYS)))
        opened = close * (1 + random.normal(0, 0.002, DAYS))
        frames.append(
            pd.DataFrame(
                {
                    "date": [str(first + timedelta(days=day)) for day in range(DAYS)],
                    "symbol": symbol,
                    "open": opened,
                    "high": np.maximum(opened, close) * 1.002,
                    "low": np.minimum(opened, close) * 0.998,
                    "close": close,
                    "volume": random.integers(100, 10_000, DAYS),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


@pytest.fixture
def project(make_project: Any) -> Any:
    """A project that reads bars.csv, where the test puts what it likes."""
    return make_project(data={"source": {"kind": "csv", "path": "bars.csv"}})


def stage(project: Any, *arguments: str) -> tuple[int, StageReport | None]:
    name = "-".join(word for word in arguments if not word.startswith("--"))
    code = cli.main([*arguments, "--project", str(project.root)])
    path = project.root / f"build/ml/reports/{name}.json"
    return code, StageReport.model_validate_json(path.read_text()) if path.exists() else None


def one_line(report: StageReport) -> str:
    assert "\n" not in report.summary
    assert "Traceback" not in report.summary
    return report.summary


def test_good_bars_pass(project: Any) -> None:
    bars().to_csv(project.root / "bars.csv", index=False)
    code, report = stage(project, "validate-data")
    assert report is not None
    assert (code, report.verdict) == (0, "pass"), report.summary


def drop_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="close")


def text_in_a_price(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype({"close": object}).assign(
        close=lambda f: f["close"].where(f.index != 7, "n/a?")
    )


def mostly_text(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(close="cheap")


def duplicate_days(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame], ignore_index=True)


def all_null(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(close=None)


def future_dates(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(date=lambda f: f["date"].str.replace(r"^\d{4}", "2999", regex=True))


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (drop_column, "close"),
        (mostly_text, "close"),
        (duplicate_days, "date"),
        (all_null, "close"),
        (future_dates, "date"),
    ],
)
def test_spoilt_bars_are_refused_and_the_column_is_named(
    project: Any, spoil: Callable[[pd.DataFrame], pd.DataFrame], named: str
) -> None:
    spoil(bars()).to_csv(project.root / "bars.csv", index=False)
    code, report = stage(project, "validate-data")
    assert report is not None
    assert code in (1, 2)
    output = one_line(report) + " ".join(
        f"{check.name} {check.why}" for check in report.checks if check.verdict != "pass"
    )
    assert named in output


def test_text_in_one_price_sets_that_row_aside_with_its_reason(project: Any) -> None:
    text_in_a_price(bars()).to_csv(project.root / "bars.csv", index=False)
    code, report = stage(project, "validate-data")
    assert report is not None
    assert code == 0, report.summary
    folder = project.root / "build/ml/data"
    aside = pd.read_parquet(folder / "quarantine.parquet")
    assert aside["source_row"].tolist() == [7]
    assert "close" in aside["reasons"].iloc[0]
    assert len(pd.read_parquet(folder / "clean.parquet")) + len(aside) == DAYS * len(SYMBOLS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "bars.csv"),
        (b"date,symbol,open,high,low,close,volume\n", "row"),
        (b"\xff\xfe\x00\x01" * 50, "bars.csv"),
    ],
)
def test_a_file_without_rows_or_text_is_refused(project: Any, content: bytes, message: str) -> None:
    (project.root / "bars.csv").write_bytes(content)
    code, report = stage(project, "validate-data")
    assert report is not None
    assert code in (1, 2)
    assert message in one_line(report)


def test_a_missing_file_is_named(project: Any) -> None:
    code, report = stage(project, "validate-data")
    assert report is not None
    assert code in (2, 3)
    assert "bars.csv" in one_line(report)


def test_a_broken_gzip_is_named(make_project: Any) -> None:
    project = make_project(data={"source": {"kind": "csv", "path": "bars.csv.gz"}})
    whole = gzip.compress(bars().to_csv(index=False).encode())
    (project.root / "bars.csv.gz").write_bytes(whole[: len(whole) // 2])
    code, report = stage(project, "validate-data")
    assert report is not None
    assert code in (1, 2, 3)
    assert "bars.csv.gz" in one_line(report)


def test_a_wrong_delimiter_is_named(project: Any) -> None:
    bars().to_csv(project.root / "bars.csv", index=False, sep=";")
    code, report = stage(project, "validate-data")
    assert report is not None
    assert code in (1, 2)
    assert "separator" in one_line(report)


def test_one_row_is_too_little_to_train_on(project: Any) -> None:
    bars().head(1).to_csv(project.root / "bars.csv", index=False)
    codes = [stage(project, "validate-data")[0]]
    if codes[0] == 0:
        code, report = stage(project, "train")
        assert report is not None
        one_line(report)
        codes.append(code)
    assert codes[-1] in (1, 2)


def test_one_class_is_refused(project: Any) -> None:
    frame = bars()
    frame[["open", "high", "low", "close"]] = 100.0
    frame.to_csv(project.root / "bars.csv", index=False)
    assert stage(project, "validate-data")[0] == 0
    code, report = stage(project, "train")
    assert report is not None
    assert code == 1
    assert "class" in one_line(report)


def test_an_aborted_build_leaves_a_report_and_the_next_run_starts_clean(project: Any) -> None:
    bars().to_csv(project.root / "bars.csv", index=False)
    (project.root / "tests/data").mkdir(parents=True)
    (project.root / "tests/data/test_slow.py").write_text(
        "import pathlib, time\n\n\ndef test_slow(df):\n"
        "    pathlib.Path('started').touch()\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-m", "ml_pipeline", "validate-data"]
    with subprocess.Popen(command, cwd=project.root) as running:
        deadline = time.monotonic() + 60
        while not list(project.root.rglob("started")) and time.monotonic() < deadline:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 130
    report = StageReport.model_validate_json(
        (project.root / "build/ml/reports/validate-data.json").read_text()
    )
    assert "was interrupted" in report.summary
    shutil.rmtree(project.root / "tests")
    assert stage(project, "validate-data")[0] == 0


def test_an_unreadable_database_is_an_environment_fault(make_project: Any) -> None:
    source = {"kind": "sql", "url": "sqlite:////nowhere/at/all.db", "query": "select 1"}
    code, report = stage(make_project(data={"source": source}), "validate-data")
    assert report is not None
    assert code == 3
    one_line(report)


def test_a_working_folder_that_cannot_be_written_is_named(
    project: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (project.root / "build").symlink_to("/sys")
    code, _ = stage(project, "validate-data")
    assert code == 3
    assert "working folder" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_is_named(
    project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_HOME", "/sys/ml-home")
    code, report = stage(project, "register")
    assert report is not None
    assert code == 3
    assert "ML_HOME" in one_line(report)


@pytest.mark.parametrize("name", ["register", "deploy staging", "gate", "approve", "promote"])
def test_an_unreachable_registry_is_an_environment_fault(
    make_project: Any, name: str, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = make_project(registry={"uri": "http://127.0.0.1:9"})
    monkeypatch.chdir(project.root)
    (project.root / "build").symlink_to(built / "build")
    code, report = stage(project, *name.split())
    assert report is not None
    assert code == 3, report.summary
    assert "127.0.0.1:9" in one_line(report)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder as it is after package."""
    from ml_pipeline import config

    root = tmp_path_factory.mktemp("built")
    (root / "ml.yaml").write_text(
        json.dumps(
            {
                "project": "small",
                "data": {"source": {"kind": "simulated", "symbols": 24, "days": 160, "seed": 3}},
                "split": {"holdout_days": 40, "validation_days": 20, "folds": 0},
                "train": {"max_epochs": 5},
                "evaluate": {"resamples": 50},
            }
        )
    )
    project = config.load(root, environment={})
    for name in ("validate-data", "train", "evaluate", "package"):
        code, report = stage(project, name)
        assert code == 0, report
    return root
