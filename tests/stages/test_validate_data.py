from __future__ import annotations

import json

import pandas as pd
import pytest
from ml_pipeline.config import SimulatedSource
from ml_pipeline.core.report import Profile, Verdict
from ml_pipeline.data.simulated import simulate
from ml_pipeline.stages import runner

FILES = ("data/clean.parquet", "data/quarantine.parquet", "data/profile.json")


@pytest.fixture
def bars() -> pd.DataFrame:
    frame = simulate(SimulatedSource(kind="simulated", symbols=24, days=60))
    good = frame["open"].between(frame["low"], frame["high"]) & (frame["low"] > 0)
    return frame[good].reset_index(drop=True)


@pytest.fixture
def validate(make_project, make_context):
    """Run the stage on a frame that the project has as bars.csv."""

    def run(bars=None, *, quick=False, flags=None, name="project", **sections):
        project = make_project(name, **sections)
        if bars is not None:
            bars.to_csv(project.root / "bars.csv", index=False)
            project = make_project(name, **{**sections, "data": CSV | sections.get("data", {})})
        context = make_context(project, "validate-data", quick=quick, **(flags or {}))
        return context, runner.execute(context)

    return run


CSV = {"source": {"kind": "csv", "path": "bars.csv"}}


def failed(result) -> set[str]:
    return {c.name for c in result.report.checks if c.verdict in (Verdict.FAIL, Verdict.ERROR)}


def clean_of(context) -> pd.DataFrame:
    return pd.read_parquet(context.workdir / "data/clean.parquet")


def test_the_embedded_exchange_passes_under_the_default_tolerances(validate):
    context, result = validate()
    assert result.exit_code == 0, result.report.summary
    metrics = result.report.metrics
    assert metrics["rows"] == metrics["rows_clean"] + metrics["rows_quarantined"]
    assert metrics["entities"] <= 24
    assert set(result.report.outputs) == set(FILES)
    profile = json.loads((context.workdir / "data/profile.json").read_text())
    assert profile["fingerprint"] == metrics["fingerprint"]
    assert profile["rows"] == metrics["rows_clean"] == len(clean_of(context))
    assert "great_expectations" in result.report.versions


def test_two_runs_write_the_same_bytes_in_any_order_of_the_source(validate, bars):
    _, first = validate(bars, name="a")
    _, second = validate(bars.sort_values(["symbol", "date"]), name="b")
    assert first.report.outputs == second.report.outputs


def test_the_source_may_be_csv_parquet_or_sql_with_one_fingerprint(validate, bars, tmp_path):
    import sqlite3

    bars.to_parquet(tmp_path / "bars.parquet")
    with sqlite3.connect(tmp_path / "bars.db") as connection:
        bars.to_sql("bars", connection, index=False)
    connection.close()
    sources = (
        {"kind": "parquet", "path": str(tmp_path / "bars.parquet")},
        {"kind": "sql", "url": f"sqlite:///{tmp_path}/bars.db", "query": "select * from bars"},
    )
    prints = {validate(data={"source": s})[1].report.metrics["fingerprint"] for s in sources}
    assert prints == {validate(bars)[1].report.metrics["fingerprint"]}


def test_a_file_of_one_symbol_without_a_symbol_column_needs_no_code(validate, bars):
    one = bars[bars["symbol"] == "SIM000"].drop(columns=["symbol", "sector"])
    names = ("date", "open", "high", "low", "close", "volume")
    mapping = {"columns": {name: name.title() for name in names}, "constants": {"symbol": "ONE"}}
    context, result = validate(one.rename(columns=str.title), data=mapping)
    assert result.exit_code == 0, result.report.summary
    assert set(clean_of(context)["symbol"]) == {"ONE"}


def test_bad_rows_are_set_aside_with_reasons_and_bad_opens_blanked(validate, bars):
    bars.loc[3, "close"] = bars.loc[3, "high"] + 1
    bars.loc[4, ["open", "low"]] = [bars.loc[4, "high"] + 1, 0.0]
    bars.loc[5, "open"] = bars.loc[5, "high"] + 1
    context, result = validate(bars)
    assert result.exit_code == 0, result.report.summary
    assert result.report.metrics["blanked"] == {"open": 1}
    left = pd.read_parquet(context.workdir / "data/quarantine.parquet")
    assert left["source_row"].tolist() == [3, 4]
    assert left["reasons"].str.len().min() > 0
    assert result.report.metrics["rows_quarantined"] == 2
    assert "2 quarantined, blanked cells: 1 open" in result.report.summary


BAD = {
    "empty": lambda f: f.iloc[:0],
    "duplicate days": lambda f: pd.concat([f, f]),
    "future dates": lambda f: f.assign(date=f["date"].replace(f["date"].max(), "2999-01-01")),
    "an all-null column": lambda f: f.assign(close=None),
    "an all-null open": lambda f: f.assign(open=None),
    "text in a price": lambda f: f.assign(close=["much"] * 200 + list(f["close"])[200:]),
    "infinite prices": lambda f: f.assign(close=[float("inf")] * 200 + list(f["close"])[200:]),
    "dates in another form": lambda f: f.assign(date=f["date"].str.replace("-", "/")),
    "part of a day's volume": lambda f: f.assign(volume=f["volume"] + 0.5),
}


@pytest.mark.parametrize("kind", BAD)
def test_data_that_are_bad_are_refused_in_one_line(validate, bars, kind):
    _, result = validate(BAD[kind](bars))
    assert result.exit_code == 1
    assert result.report.verdict in (Verdict.FAIL, Verdict.ERROR)
    assert failed(result)
    assert result.error is None
    assert "\n" not in result.report.summary
    metrics = result.report.metrics
    assert metrics["rows"] == metrics["rows_clean"] + metrics["rows_quarantined"]


def test_a_single_row_is_validated(validate, bars):
    _, result = validate(bars.iloc[:1])
    assert result.exit_code == 0, result.report.summary
    assert result.report.metrics["rows"] == 1


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda root: (root / "bars.csv").unlink(), 2, "No such file"),
        (lambda root: (root / "bars.csv").write_bytes(b""), 1, "is empty"),
        (lambda root: (root / "bars.csv").write_text("date;symbol\n1;2\n"), 2, "separator to ';'"),
        (lambda root: (root / "bars.csv").write_text("date,symbol\n1,2\n"), 2, "no column 'open'"),
        (lambda root: (root / "bars.csv").write_bytes(b"\x80\x81"), 2, "not UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_ends_with_one_line(
    make_project, make_context, bars, change, code, says
):
    project = make_project(data=CSV)
    bars.to_csv(project.root / "bars.csv", index=False)
    change(project.root)
    result = runner.execute(make_context(project, "validate-data"))
    assert result.exit_code == code
    assert says in result.report.summary


def test_an_unreadable_database_is_a_fault_of_the_environment(validate):
    source = {"kind": "sql", "url": "sqlite:///none.db", "query": "select 1"}
    assert validate(data={"source": source})[1].exit_code == 3


def test_a_sample_holds_the_newest_bars_of_twenty_symbols(validate):
    bars = simulate(SimulatedSource(kind="simulated", symbols=32, days=40))
    context, result = validate(bars, flags={"sample_size": 200})
    assert result.exit_code == 0, result.report.summary
    clean = clean_of(context)
    assert result.report.metrics["rows"] == 200
    assert clean["symbol"].nunique() == 20
    assert validate(bars, flags={"sample_size": 0})[1].exit_code == 2


def test_ci_data_is_the_sample_in_the_repository_or_a_part_of_the_source(validate, bars):
    ci = {"kind": "simulated", "symbols": 3, "days": 30}
    assert validate(bars, data={"ci": ci}, flags={"ci_data": True})[1].report.metrics["rows"] < 91
    wide = {"kind": "simulated", "symbols": 24, "days": 160}
    _, result = validate(data={"source": wide}, flags={"ci_data": True})
    assert result.report.metrics["rows"] == 2500
    _, result = validate(data={"source": wide}, flags={"ci_data": True, "sample_size": 300})
    assert result.report.metrics["rows"] == 300


def distribution(result) -> set[Verdict]:
    return {
        c.verdict for c in result.report.checks if "accepted" in c.name or c.name == "distribution"
    }


def test_the_distribution_is_compared_with_the_last_accepted_data(validate, bars):
    context, first = validate(bars)
    assert distribution(first) == {Verdict.SKIPPED}
    accepted = context.home / "accepted/profile.json"
    accepted.parent.mkdir(parents=True)
    accepted.write_bytes((context.workdir / "data/profile.json").read_bytes())
    assert distribution(validate(bars)[1]) == {Verdict.PASS}

    moved = bars.assign(volume=bars["volume"] * 50)
    _, result = validate(moved)
    assert failed(result) == {"volume_mean_as_accepted"}
    assert result.exit_code == 1
    assert distribution(validate(moved, quick=True)[1]) == {Verdict.SKIPPED}
    assert distribution(validate(moved, flags={"sample_size": 500})[1]) == {Verdict.SKIPPED}

    _, result = validate(bars.drop(columns="volume"))
    assert result.exit_code == 2
    assert "the source has no column 'volume'" in result.report.summary
    assert "production's data had 'volume': keep it" in result.report.summary

    accepted.write_text("{}")
    assert validate(bars)[1].exit_code == 3


def test_expectations_of_the_configuration_are_run(validate, bars):
    rule = {
        "expect": "expect_column_values_to_be_in_set",
        "args": {"column": "sector", "value_set": ["Banking"]},
    }
    for severity, code in (("fail", 1), ("quarantine", 1), ("blank", 1)):
        _, result = validate(bars, data={"expectations": [rule | {"severity": severity}]})
        assert result.exit_code == code
        assert failed(result) >= {"expect_column_values_to_be_in_set (sector)"}
    _, result = validate(
        bars, data={"expectations": [rule | {"severity": "quarantine", "tolerance": 0.9}]}
    )
    assert result.exit_code == 0, result.report.summary
    assert result.report.metrics["rows_quarantined"] > 100


def test_the_projects_own_tests_see_the_sources_column_names(validate, bars):
    def with_tests(context_name, assertion):
        bars_ = bars.rename(columns={"close": "Last"})
        data = {"columns": {"close": "Last"}}
        root_test = (
            "def test_data_quality(df):\n"
            "    assert 'close' not in df.columns\n"
            f"    assert {assertion}\n"
        )
        context, _ = validate(bars_, name=context_name, data=data)
        folder = context.project.root / "tests/data"
        folder.mkdir(parents=True)
        (folder / "test_bars.py").write_text(root_test)
        return runner.execute(context)

    good = with_tests("good", "(df['Last'] > 0).all()")
    assert good.exit_code == 0, good.report.summary
    assert any("test_data_quality" in check.name for check in good.report.checks)
    bad = with_tests("bad", "(df['Last'] < 0).all()")
    assert bad.exit_code == 1
    assert "test_data_quality" in next(iter(failed(bad)))


def test_a_table_is_validated_without_time_or_entities(make_project, make_context):
    project = make_project(
        bare=True,
        project="table",
        problem={"kind": "table", "label": "y", "categorical": ["colour"]},
        data={"source": {"kind": "csv", "path": "t.csv"}},
    )
    frame = pd.DataFrame(
        {"y": [0, 1] * 50, "x": [float(n) for n in range(100)], "colour": ["red", None] * 50}
    )
    frame.to_csv(project.root / "t.csv", index=False)
    first = runner.execute(make_context(project, "validate-data"))
    assert first.exit_code == 0, first.report.summary
    frame.iloc[::-1].to_csv(project.root / "t.csv", index=False)
    second = runner.execute(make_context(project, "validate-data"))
    assert first.report.outputs["data/clean.parquet"] == second.report.outputs["data/clean.parquet"]
    sample = runner.execute(make_context(project, "validate-data", sample_size=20))
    assert sample.report.metrics["rows"] == 20
    assert sample.report.profile is Profile.FULL


def test_the_error_for_a_file_with_its_newest_row_first_has_the_setting(validate, bars):
    _, result = validate(bars.iloc[::-1])
    assert failed(result) == {"dates_increase"}
    assert "set data.tolerances.dates_increase to 1.0" in result.report.summary
    _, result = validate(bars.iloc[::-1], data={"tolerances": {"dates_increase": 1.0}})
    assert result.exit_code == 0


@pytest.mark.parametrize("form", [None, "%m/%d/%Y"])
def test_dates_of_bars_in_another_form_are_one_failure(validate, bars, form):
    written = pd.to_datetime(bars["date"]).dt.strftime("%d/%m/%Y")
    source = CSV["source"] | ({} if form is None else {"date_format": form})
    _, result = validate(bars.assign(date=written), data={"source": source})
    assert failed(result) == {"date_format"}
    assert result.report.summary.endswith('set data.source.date_format to "%d/%m/%Y"')
