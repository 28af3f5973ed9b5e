"""The example's delivery with its data, its registry and its predictions on PostgreSQL."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from ml_pipeline import cli, config
from ml_pipeline.config import SimulatedSource, SqlSource
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.data.simulated import simulate
from ml_pipeline.data.sources import read_source
from ml_pipeline.data.sql import Database, read_sql
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.scoring.prediction_table import write_table
from ml_pipeline.scoring.predictions import Predictions

from tests.conftest import SMALL
from tests.fault_proxy import Fault, FaultProxy, Request, fault_proxy
from tests.integration.conftest import CommandLine, free_port
from tests.postgres import Postgres
from tests.promotion.conftest import Delivery
from tests.promotion.crash import Machine
from tests.promotion.crash import race as promote_concurrently
from tests.records import newest_record
from tests.registry.race import check, race
from tests.scoring.conftest import make_predictions

__all__ = ["make_predictions"]

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/nepse"
BARS = SimulatedSource(kind="simulated", symbols=30, days=420, seed=3)
QUERY = "select date, symbol, open, high, low, close, volume, sector from bars"
PASSWORD = "MARKET_PASSWORD"


@pytest.fixture(scope="module")
def market(postgres: Postgres) -> str:
    """A database with the simulated exchange as its table ``bars``."""
    bars = simulate(BARS)
    database = postgres.create("market")
    with postgres.connect(database) as connection:
        connection.execute(
            "create table bars (date date, symbol text, open double precision, "
            "high double precision, low double precision, close double precision, "
            "volume bigint, sector text, primary key (symbol, date))"
        )
        columns = ["date", "symbol", "open", "high", "low", "close", "volume", "sector"]
        assert set(columns) <= set(bars.columns), bars.dtypes
        with connection.cursor().copy(f"copy bars ({', '.join(columns)}) from stdin") as copy:
            for row in bars[columns].astype(object).itertuples(index=False):
                copy.write_row([None if pd.isna(value) else value for value in row])
    return database


@dataclass
class Delivered:
    """The example in production, and what its verbs did while the registry had a fault."""

    command: CommandLine
    proxy: FaultProxy
    home: Path
    faults: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Verb: its exit code with the fault, and when it was run again."""

    @property
    def root(self) -> Path:
        return self.command.project.root

    def run(self, *words: str) -> int:
        return cli.main([*words, "--project", str(self.root)])

    def registry(self) -> Registry:
        return Registry.of(self.command.project, Home(self.home))


def dies_at(proxy: FaultProxy, where: str) -> None:
    """Lose the answer to the first request to an address, and refuse all that come after it."""
    met: list[Request] = []

    def plan(request: Request) -> Fault | None:
        if met:
            return "refused"
        if where not in request.path:
            return None
        met.append(request)
        return "lost"

    proxy.does(plan)


@pytest.fixture(scope="module")
def delivered(
    postgres: Postgres,
    market: str,
    postgres_registry: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Delivered]:
    """``run cd`` to the approval, then gate, approve and promote, each with a fault first."""
    folder = tmp_path_factory.mktemp("delivered")
    root, home = folder / "nepse", folder / "home/nepse-direction"
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns(".ml", "build", "__pycache__"))
    values = yaml.safe_load((root / "ml.yaml").read_text())
    values["data"]["source"] = {
        "kind": "sql", "url": postgres.url(market), "query": QUERY, "password_env": PASSWORD,
    }  # fmt: skip
    values["split"] = {"holdout_days": 120, "validation_days": 40, "folds": 0}
    values["train"] = {"max_epochs": 60}
    values["load_test"] = SMALL["load_test"]
    values["shadow"] = SMALL["shadow"]
    values["environments"] = {n: {"port": free_port()} for n in ("staging", "production")}
    with fault_proxy(postgres_registry) as proxy, pytest.MonkeyPatch.context() as patch:
        values["registry"] = {"uri": proxy.url}
        (root / "ml.yaml").write_text(yaml.safe_dump(values))
        patch.setenv(PASSWORD, postgres.password)
        patch.setenv("ML_HOME", str(home.parent))
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        command = CommandLine(config.load(root, environment={}))
        made = Delivered(command, proxy, home)
        try:
            waiting = command("run", "cd")
            assert waiting.code == 4, waiting.out + waiting.err
            for where, *words in (
                ("registered-models/alias", "register"),
                ("records/gate.json", "gate"),
                ("records/approval", "approve", "--by", "asha", "--reason", "ranks better"),
                ("registered-models/alias", "promote"),
            ):
                dies_at(proxy, where)
                broken = made.run(*words)
                proxy.heals()
                made.faults[words[0]] = (broken, made.run(*words))
            yield made
        finally:
            made.run("stop")  # here, where the server of promote is a child to be waited for


def test_a_fault_of_the_registry_is_one_of_the_environment_and_a_retry_completes(
    delivered: Delivered,
) -> None:
    verbs = ("register", "gate", "approve", "promote")
    assert delivered.faults == dict.fromkeys(verbs, (3, 0))
    registry = delivered.registry()
    (version,) = registry.read().versions
    assert registry.read().champion == version
    assert newest_record(registry, version, GATE_RECORD) is not None
    row = delivered.command.status()["production"]
    assert (row["version"], row["alias"]) == (1, "champion, challenger")
    assert "approve by asha" in row["approved"]


def test_a_registry_that_is_away_is_said_and_nothing_is_believed(delivered: Delivered) -> None:
    delivered.proxy.does(lambda _: "refused")
    for words in (("register",), ("gate",), ("approve", "--yes"), ("promote",)):
        assert delivered.run(*words) == 3, words
    assert "does not answer" in delivered.command.status()["production"]["alias"]
    delivered.proxy.heals()
    assert delivered.run("promote") == 0


def test_the_same_bars_give_the_same_rows_as_from_a_file(
    delivered: Delivered, postgres: Postgres, market: str
) -> None:
    source = SqlSource(kind="sql", url=postgres.url(market), query=QUERY, password_env=PASSWORD)
    found = read_source(source, delivered.command.project).frame
    assert len(found) == len(simulate(BARS))
    report = delivered.command.report("validate-data")
    assert report.metrics["rows_quarantined"] == 0
    assert report.metrics["rows_clean"] == len(found)


def test_faults_of_the_database_are_told_without_its_password(
    postgres: Postgres, market: str, tmp_path: Path
) -> None:
    url = postgres.url(market)

    def read(query: str, password: str = postgres.password, at: str = url) -> pd.DataFrame:
        source = SqlSource(kind="sql", url=at, query=query, password_env=PASSWORD)
        return read_sql(source, tmp_path, {PASSWORD: password})

    assert read("select count(*) as n from bars")["n"].tolist() == [len(simulate(BARS))]
    with pytest.raises(EnvironmentFault, match="password authentication failed") as wrong:
        read("select 1", password="not-the-password")
    assert "not-the-password" not in str(wrong.value)
    with pytest.raises(UsageError, match="nowhere"):
        read("select * from nowhere")
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        read("select 1", at=url.replace(str(postgres.folder)[1:], "nonexistent"))


def test_a_reader_finds_what_the_api_answers(
    delivered: Delivered,
    postgres: Postgres,
    market: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Scored by a query on the source's connection; the example's own test is the reader."""
    words = ("score", "--in", f"sql:{QUERY}", "--out", "sql:predictions", "--since", "2013-06-01")
    assert delivered.run(*words) == 0
    assert "version 1, bundle" in capsys.readouterr().out
    written = table(postgres, market)
    assert len(written) > 500
    assert min(row[0] for row in written) >= date(2013, 6, 1)

    features = tmp_path / "features.parquet"
    rows = tmp_path / "bars.csv"
    simulate(BARS).to_csv(rows, index=False)
    assert delivered.run("features", "--in", str(rows), "--out", str(features)) == 0
    reader = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/downstream"],
        cwd=delivered.root,
        env=os.environ | {
            "NEPSE_DATABASE": postgres.url(market, password=postgres.password),
            "NEPSE_ENDPOINT": delivered.command.status()["production"]["url"],
            "NEPSE_FEATURES": str(features),
        },
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert reader.returncode == 0, reader.stdout + reader.stderr
    assert "3 passed" in reader.stdout


def test_a_version_is_scored_by_its_own_code_though_the_project_moved_on(
    delivered: Delivered, postgres: Postgres, market: str, tmp_path: Path
) -> None:
    """By the registry instead of the server, and the project's own source: the same, again."""
    code = delivered.root / "features/nepse.py"
    before = code.read_text()
    words = ("score", "--out", "sql:again", "--version", "1", "--json")
    try:
        code.write_text(before.replace("return ", "return 1 - 2 * "))
        assert delivered.run(*words) == 0
    finally:
        code.write_text(before)
    expected = [row[:5] for row in table(postgres, market)]
    found = {row[:2]: row[:5] for row in table(postgres, market, "again")}
    assert len(found) == len(simulate(BARS))
    assert [found[row[:2]] for row in expected] == expected


def table(postgres: Postgres, database: str, name: str = "predictions") -> list[tuple[Any, ...]]:
    with postgres.connect(database) as connection:
        return connection.execute(f"select * from {name} order by 1, 2, 5").fetchall()


def write(url: str, password: str, predictions: Predictions) -> None:
    os.environ[PASSWORD] = password
    write_table(predictions, Database(url, PASSWORD, "score"), "killed", Path.cwd())


def test_the_same_predictions_again_change_nothing(
    postgres: Postgres, market: str, make_predictions: Callable[..., Predictions], monkeypatch: Any
) -> None:
    monkeypatch.setenv(PASSWORD, postgres.password)
    database = Database(postgres.url(market), PASSWORD, "score")
    days = pd.date_range("1990-01-01", periods=6000).strftime("%Y-%m-%d")
    rows = [(day, "NABIL", 0.5) for day in days]
    assert write_table(make_predictions(*rows), database, "public.same", Path.cwd()) == 6000
    before = table(postgres, market, "same")
    later = datetime.now(UTC)
    assert write_table(make_predictions(*rows, at=later), database, "same", Path.cwd()) == 0
    assert table(postgres, market, "same") == before
    rows[7] = (days[7], "NABIL", 0.25)
    assert write_table(make_predictions(*rows, at=later), database, "same", Path.cwd()) == 1
    assert [row[5] == later for row in table(postgres, market, "same")].count(True) == 1
    with postgres.connect(market) as connection:
        assert connection.execute("select pg_typeof(scored_at)::text from same").fetchone() == (
            "timestamp with time zone",
        )


def test_a_killed_run_leaves_the_table_as_it_was(
    postgres: Postgres, market: str, make_predictions: Callable[..., Predictions], monkeypatch: Any
) -> None:
    """It has inserted a row and waits for another one's key, which another session holds."""
    monkeypatch.setenv(PASSWORD, postgres.password)
    days = pd.date_range("2024-01-01", periods=40).strftime("%Y-%m-%d")
    predictions = make_predictions(*((day, "NABIL", 0.5) for day in days))
    write(postgres.url(market), postgres.password, make_predictions((days[0], "NABIL", 0.1)))
    before = table(postgres, market, "killed")
    assert len(before) == 1
    with postgres.connect(market) as other:
        other.execute(
            "insert into killed values (%s, 'NABIL', 0.9, 3, %s, now())", (days[-1], "a" * 64)
        )
        runner = multiprocessing.get_context("spawn").Process(
            target=write, args=(postgres.url(market), postgres.password, predictions)
        )
        runner.start()
        waits_for_another(postgres, market)
        runner.kill()
        runner.join(30)
        other.rollback()
    assert table(postgres, market, "killed") == before
    write(postgres.url(market), postgres.password, predictions)
    assert [row[2] for row in table(postgres, market, "killed")] == [0.5] * 40


def waits_for_another(postgres: Postgres, database: str) -> None:
    deadline = time.monotonic() + 60
    query = "select count(*) from pg_stat_activity where wait_event = 'transactionid'"
    with postgres.connect(database) as connection:
        while connection.execute(query).fetchone() == (0,):
            assert time.monotonic() < deadline
            connection.rollback()
            time.sleep(0.05)


def test_a_reader_that_may_not_write(
    postgres: Postgres, market: str, make_predictions: Callable[..., Predictions], tmp_path: Path
) -> None:
    with postgres.connect(market) as connection:
        connection.execute("create role reader login password 'read'")
        connection.execute("grant select on bars to reader")
    url = postgres.url(market).replace("tester:", "reader:")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(PASSWORD, "read")
        with pytest.raises(UsageError, match="permission denied"):
            write_table(
                make_predictions(("2024-01-01", "NABIL", 0.5)),
                Database(url, PASSWORD, "score"),
                "mine",
                tmp_path,
            )


def test_of_two_processes_through_the_server_exactly_one_wins(
    postgres_registry: str, tmp_path: Path
) -> None:
    check(race(postgres_registry, tmp_path))


def test_of_two_machines_that_promote_through_the_server_one_wins(
    postgres_registry: str, tmp_path: Path, make_bundle: Callable[..., Path]
) -> None:
    home = Home(tmp_path / "home")
    home.make()
    delivery = Delivery(home, Registry(postgres_registry, "contested", home), make_bundle)
    version = delivery.register("one")
    delivery.gate(version)
    delivery.approve(version)
    machine = Machine.of(delivery, postgres_registry)
    machines = (machine, replace(machine, home=tmp_path / "other"))
    try:
        winner = promote_concurrently(*machines)
        assert delivery.registry.read().champion == version
        serving = winner.production.status()
        assert serving is not None
        assert serving.digest == version.digest
        last = delivery.registry.leases.read()[-1]
        assert last is not None
        assert (last.number, last.ended) == (1, "done")
    finally:
        for one in machines:
            one.production.target.stop(one.production.placement)
