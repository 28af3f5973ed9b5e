"""The same data tests through plain great_expectations and through the stage's validation.

Run ``python benchmarks/validation.py [--json FILE]``. Exits with 1 where verdicts or counts differ,
or where the stage is less than five times faster at a million rows.

Both sides run in this process on the same frame, with the same expectations. The only difference
in what is asked: plain great_expectations tests the date's form with its own
expect_column_values_to_match_strftime_format. It has no expectation for whole numbers in a float
column and none for times that increase per entity, so both sides use the package's for these. The
stage's time includes what plain great_expectations does not do: reading dates and numbers, and
splitting the frame into clean and quarantined rows.
"""

from __future__ import annotations

import os
import time
import warnings
from datetime import date
from typing import Any

os.environ["GX_ANALYTICS_ENABLED"] = "False"
warnings.filterwarnings("ignore")

import great_expectations as gx  # noqa: E402
import machine  # noqa: E402
import pandas as pd  # noqa: E402
from great_expectations.expectations.registry import get_expectation_impl  # noqa: E402
from ml_pipeline.config import DataSection, SimulatedSource  # noqa: E402
from ml_pipeline.data.expectation_suite import run_suite  # noqa: E402
from ml_pipeline.data.rules import DataTest, row_tests  # noqa: E402
from ml_pipeline.data.simulated import simulate  # noqa: E402
from ml_pipeline.data.validation import validate  # noqa: E402
from ml_pipeline.problems.bars import Bars  # noqa: E402

SIZES = {2_500: (25, 160), 100_000: (90, 1400), 1_000_000: (330, 3400)}
"""Rows: symbols and days of the simulated exchange that they are the first of."""
GOAL = 5.0
ROUNDS = 4
OWN_DATE = "expect_column_values_to_be_iso_date"
PLAIN_DATE = "expect_column_values_to_match_strftime_format"


def bars(rows: int) -> pd.DataFrame:
    """Return that many simulated bars with some more defects, unreadable dates among them."""
    symbols, days = SIZES[rows]
    frame = simulate(SimulatedSource(kind="simulated", symbols=symbols, days=days)).iloc[:rows]
    frame = frame.drop(columns="sector").astype({"volume": "float64"})
    assert len(frame) == rows
    for column, start, value in (
        ("date", 11, "2012-02-30"),
        ("close", 23, -1.0),
        ("volume", 37, 0.5),
        ("high", 41, float("nan")),
    ):
        frame.loc[frame.index[start::1000], column] = value
    return frame


def plain(frame: pd.DataFrame, tests: tuple[DataTest, ...]) -> dict[str, tuple[bool, int]]:
    """Validate as great_expectations' own tutorial does."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    source = context.data_sources.add_pandas("source")
    definition = source.add_dataframe_asset("asset").add_batch_definition_whole_dataframe("all")
    batch = definition.get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(name="suite")
    for test in tests:
        name, args = test.expect, dict(test.args)
        if name == OWN_DATE:
            name, args = PLAIN_DATE, args | {"strftime_format": "%Y-%m-%d"}
        suite.add_expectation(get_expectation_impl(name)(**args, meta={"test": test.name}))
    found = batch.validate(suite, result_format="BASIC")
    return {
        result.expectation_config.meta["test"]: (
            bool(result.success),
            int(result.result["unexpected_count"]),
        )
        for result in found.results
    }


def ours(frame: pd.DataFrame, tests: tuple[DataTest, ...]) -> dict[str, tuple[bool, int]]:
    problem = Bars()
    columns = [column for column in problem.columns() if column.name in frame.columns]
    found = validate(frame, columns, tests, entity="symbol", time="date")
    assert len(found.clean) + len(found.quarantine) == len(frame)
    return {
        name: (result.success, int(result.unexpected or 0))
        for name, result in found.results.items()
    }


def measure(rows: int) -> dict[str, Any]:
    """Time both sides in turn, the best of some rounds each, and compare what they found."""
    frame = bars(rows)
    tests = row_tests(Bars(), DataSection(), list(frame.columns), date.max)
    tests = tuple(t for t in tests if t.name != "date_not_in_future")
    seconds: dict[str, list[float]] = {"plain": [], "stage": []}
    answers = {}
    for _ in range(ROUNDS):
        for name, side in (("plain", plain), ("stage", ours)):
            started = time.perf_counter()
            answers[name] = side(frame, tests)
            seconds[name].append(time.perf_counter() - started)
    best = {name: min(values) for name, values in seconds.items()}
    return {
        "rows": rows,
        "tests": len(tests),
        "plain_seconds": round(best["plain"], 3),
        "stage_seconds": round(best["stage"], 3),
        "times_faster": round(best["plain"] / best["stage"], 2),
        "identical": answers["plain"] == answers["stage"],
        "unexpected": sum(count for _, count in answers["stage"].values()),
        "differences": [
            [name, answers["plain"].get(name), answers["stage"].get(name)]
            for name in sorted({*answers["plain"], *answers["stage"]})
            if answers["plain"].get(name) != answers["stage"].get(name)
        ],
    }


def main() -> int:
    options = machine.arguments(__doc__)
    run_suite(
        pd.DataFrame({"a": [1]}),
        [DataTest("warm", "expect_column_values_to_not_be_null", {"column": "a"})],
    )
    lines = [measure(rows) for rows in SIZES]
    header = ("rows", "tests", "plain (s)", "stage (s)", "times faster", "same", "unexpected")
    table = [
        (
            f"{line['rows']:,}",
            str(line["tests"]),
            f"{line['plain_seconds']:.2f}",
            f"{line['stage_seconds']:.2f}",
            f"{line['times_faster']:.1f}",
            "yes" if line["identical"] else "no",
            f"{line['unexpected']:,}",
        )
        for line in lines
    ]
    about = machine.describe("great_expectations", "pandas")
    machine.show("data tests, the best of some rounds", header, table, about)
    for line in lines:
        for name, there, here in line["differences"]:
            print(f"{line['rows']:,} rows, {name}: plain {there}, stage {here}")
    figures = {"benchmark": "validation", "machine": about, "results": lines}
    goals = {
        f"at least {GOAL:g} times faster at 1,000,000 rows": lines[-1]["times_faster"] >= GOAL,
        "same verdicts and counts": all(line["identical"] for line in lines),
    }
    return machine.finish(options.json, figures, goals)


if __name__ == "__main__":
    raise SystemExit(main())
