"""shadow against running servers: replayed and live, with challengers of every kind."""

import json
import shutil
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime

import httpx
import pandas as pd
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import report, workdir
from ml_pipeline.core.report import Check, ModelRef, StageReport, Verdict
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.online import live_shadow
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION
from ml_pipeline.stages.runner import execute
from ml_pipeline.targets.base import Placement, deploy
from ml_pipeline.targets.process.target import ProcessTarget
from ml_pipeline.traffic import mirror_reader

from tests.servers import free_port, log_predictions

ROWS = 120
ALIKE = {"identity_parts": {"source": "s", "config": "c"}}
"""Both models' features come of the same code."""


class Delivery:
    """A project with a champion in production and a challenger in staging, of bundles by hand."""

    def __init__(self, project, make_context, make_bundle):
        self.project, self.make_context, self.make_bundle = project, make_context, make_bundle
        context = make_context(project, "shadow", "staging")
        self.home, self.workdir = context.home, context.workdir
        self.home.make()
        self.workdir.make()
        self.target = ProcessTarget()

    @property
    def registry(self):
        return Registry.of(self.project, self.home)

    def deploy(self, name, bundle, version):
        return deploy(self.target, Placement.of(self.project, name, self.home), bundle, version)

    def crown(self, **bundle):
        path = self.make_bundle("champion", identity="c", training=ALIKE, **bundle)
        version = self.registry.register(path).version
        self.registry.aliases.set(CHAMPION, version)
        return path, version.number

    def challenge(self, version=2, **bundle):
        path = self.make_bundle("challenger", training=ALIKE, **bundle)
        return self.deploy("staging", path, version), path

    def trained(self, bundle, by=0.0):
        """Lay the holdout of the challenger's training run into the working folder."""
        rows = pd.DataFrame(
            {
                "__group": ["A", "B"] * (ROWS // 2),
                "x": [index / ROWS * 4 - 2 for index in range(ROWS)],
                "c": ["north", None, "south"] * (ROWS // 3),
            }
        )
        opened = Bundle.open(bundle)
        values = rows[["x", "c"]].astype(object).where(rows[["x", "c"]].notna(), None)
        scores = opened.predict_rows(values.to_numpy().tolist())
        files = {
            "train": ("data/holdout.parquet", rows),
            "evaluate": (
                "data/predictions.parquet",
                pd.DataFrame({"model": scores + by}),
            ),
        }
        for stage, (name, frame) in files.items():
            frame.to_parquet(self.workdir / name)
            about = ModelRef(name="small", identity=opened.identity)
            self._report(stage, {name: workdir.digest(self.workdir / name)}, about)

    def _report(self, stage, outputs, model):
        now = datetime.now(UTC)
        made = StageReport(
            stage=stage,
            verdict=Verdict.PASS,
            summary="",
            checks=(Check(name="x", verdict=Verdict.PASS),),
            outputs=outputs,
            model=model,
            run_id="test-run",
            started=now,
            finished=now,
        )
        report.write(made, self.workdir)

    def shadow(self, **flags):
        return execute(self.make_context(self.project, "shadow", "staging", **flags))

    def stop(self):
        """End what a test left running."""
        running = live_shadow.read(self.home, "staging")
        if running is not None:
            live_shadow.end(running)
        for name in ("staging", "production"):
            self.target.stop(Placement.of(self.project, name, self.home))


@pytest.fixture
def make_delivery(make_project, make_context, make_bundle, registry_database):
    made = []

    def make(**section):
        project = make_project(
            environments={name: {"port": free_port()} for name in ("staging", "production")},
            shadow={
                "min_requests": 100,
                "rate": 200,
                "p99_ms": 3000,
                "min_minutes": 0,
                "timeout_ms": 3000,
            }
            | section,
        )
        delivery = Delivery(project, make_context, make_bundle)
        shutil.copy(registry_database, delivery.home / "mlflow.db")
        made.append(delivery)
        return delivery

    yield make
    for delivery in made:
        delivery.stop()


def named(result, name):
    return next(check for check in result.report.checks if check.name == name)


def test_without_a_champion_the_answers_are_the_trained_models(make_delivery):
    delivery = make_delivery()
    deployment, bundle = delivery.challenge()
    delivery.trained(bundle)
    result = delivery.shadow()
    assert result.exit_code == 0, result.report.summary
    assert result.report.metrics["compared"] == ROWS
    assert result.report.metrics["champion_version"] is None
    assert result.report.model.digest == deployment.digest
    assert named(result, "distance").why == "skipped: no champion"
    delivery.trained(bundle, by=0.01)
    assert delivery.shadow().exit_code == 1


def test_the_holdout_is_replayed_to_champion_and_challenger(make_delivery):
    delivery = make_delivery()
    delivery.crown()
    _, bundle = delivery.challenge(weight=1.1)
    delivery.trained(bundle)
    result = delivery.shadow()
    assert result.exit_code == 0, result.report.summary
    metrics = result.report.metrics
    assert (metrics["source"], metrics["compared"], metrics["champion_version"]) == (
        "holdout",
        ROWS,
        1,
    )
    assert set(metrics["groups"]) == {"A", "B"}
    assert 0 < metrics["distance"] < 0.2
    assert not list(delivery.home.root.glob(".shadow-*"))


def test_recorded_requests_are_preferred_and_a_challenger_that_turns_them_around_fails(
    make_delivery,
):
    delivery = make_delivery()
    _, number = delivery.crown(weight=3.0)
    delivery.challenge(weight=-3.0)
    folder = delivery.home / "predictions/production"
    folder.mkdir(parents=True)
    asked = {str(index): [[index / 60 - 1, "north"]] for index in range(ROWS)}
    log_predictions(folder / "0.jsonl", number, ["x", "c"], asked)
    result = delivery.shadow()
    assert result.exit_code == 1
    assert result.report.metrics["source"] == "recorded"
    assert result.report.metrics["compared"] == ROWS
    assert named(result, "extreme disagreements").verdict is Verdict.FAIL


def test_what_cannot_be_asked_is_said(make_delivery):
    delivery = make_delivery()
    nothing = delivery.shadow()
    assert (nothing.exit_code, "run 'ml-pipeline deploy staging'" in nothing.report.summary) == (
        3,
        True,
    )
    delivery.challenge()
    assert "does not hold the holdout" in delivery.shadow().report.summary
    assert delivery.shadow(start=True, judge=True).exit_code == 2
    assert "run 'ml-pipeline shadow staging --start'" in delivery.shadow(judge=True).report.summary
    assert delivery.shadow(start=True).exit_code == 3  # production serves nothing


# --- live -------------------------------------------------------------------------------------


class Clients:
    """Asks production at a constant pace; keeps latencies in seconds and what went wrong."""

    def __init__(self, url, pace=0.004, token=None):
        self.url, self.pace = url, pace
        self.headers = {} if token is None else {"authorization": f"Bearer {token}"}
        self.latencies, self.errors = [], []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def work(self):
        with httpx.Client(trust_env=False, headers=self.headers) as client:
            index = 0
            while not self.over.is_set():
                start = time.perf_counter()
                row = [index % 40 / 10 - 2, "north"]
                try:
                    answer = client.post(f"{self.url}/predict", json={"features": row})
                    answer.raise_for_status()
                except httpx.HTTPError as error:
                    self.errors.append(error)
                self.latencies.append(time.perf_counter() - start)
                index += 1
                time.sleep(self.pace)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.thread.join()

    def wait_for(self, count):
        wanted = len(self.latencies) + count
        deadline = time.monotonic() + 60
        while len(self.latencies) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)

    def p99(self, since=0):
        return sorted(self.latencies[since:])[int(0.99 * len(self.latencies[since:]))]


@pytest.fixture
def live_delivery(make_delivery):
    delivery = make_delivery()
    return delivery, delivery.deploy("production", delivery.make_bundle("champion"), 1)


def test_production_copies_its_requests_until_the_verdict(live_delivery):
    delivery, production = live_delivery
    delivery.challenge(weight=1.1)
    with Clients(production.url) as clients:
        started = delivery.shadow(start=True)
        assert (started.exit_code, started.report.verdict) == (0, Verdict.SKIPPED)
        too_early = delivery.shadow(judge=True)
        assert too_early.report.verdict is Verdict.INCONCLUSIVE
        assert too_early.report.summary.endswith("the shadow continues")
        again = delivery.shadow(start=True)
        assert again.exit_code == 2
        assert "on these versions; run 'ml-pipeline shadow staging --judge'" in str(again.error)
        clients.wait_for(250)
        result = delivery.shadow(judge=True)
    assert result.exit_code == 0, result.report.summary
    metrics = result.report.metrics
    assert metrics["source"] == "live"
    assert metrics["compared"] == metrics["offered"] - metrics["dropped"] >= 100
    page = httpx.get(f"{production.url}/metrics", trust_env=False).text
    assert f"ml_serving_shadow_offered_total {float(metrics['offered'])}\n" in page
    assert 0 < metrics["distance"] < 1
    assert not clients.errors
    assert live_shadow.read(delivery.home, "staging") is None
    assert delivery.shadow(judge=True).exit_code == 2


BAD = """
import socket, sys, threading, time
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=256)
held = []
def answer(connection):
    while connection.recv(65536):
        if sys.argv[2] == "garbage":
            connection.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-length: 7\\r\\n\\r\\n{\\"p\\": 1")
        elif sys.argv[2] == "noise":
            connection.sendall(b"\\x00\\xff" * 500)
            break
while True:
    connection, _ = server.accept()
    held.append(connection)
    threading.Thread(target=answer, args=(connection,), daemon=True).start()
"""


def replace_by_a_bad_one(delivery, deployment, kind):
    """Kill the challenger's server; unless it is to be gone, put a bad one onto its port."""
    import psutil

    port = int(deployment.url.rsplit(":", 1)[1])
    process = psutil.Process(deployment.pid)
    process.kill()
    process.wait(10)
    if kind == "gone":
        return None
    return subprocess.Popen([sys.executable, "-c", BAD, str(port), kind])


@pytest.mark.parametrize("kind", ["hangs", "gone", "garbage", "noise"])
def test_a_failing_challenger_does_not_affect_the_champion(make_delivery, kind):
    delivery = make_delivery(timeout_ms=300)
    production = delivery.deploy("production", delivery.make_bundle("champion"), 1)
    deployment, _ = delivery.challenge(weight=1.1)
    bad = None
    try:
        with Clients(production.url) as clients:
            clients.wait_for(150)
            before = clients.p99()
            assert delivery.shadow(start=True).exit_code == 0
            bad = replace_by_a_bad_one(delivery, deployment, kind)
            since = len(clients.latencies)
            clients.wait_for(300)
            after = clients.p99(since)
            result = delivery.shadow(judge=True)
    finally:
        if bad is not None:
            bad.kill()
            bad.wait()
    assert not clients.errors
    assert after < 2 * before + 0.05
    assert (result.exit_code, result.report.verdict) == (1, Verdict.FAIL)
    spoiled = {"garbage": "errors"}.get(kind, "missing answers")
    assert named(result, spoiled).verdict is Verdict.FAIL
    assert live_shadow.read(delivery.home, "staging") is None


def test_a_production_that_was_replaced_leaves_nothing_to_judge(live_delivery):
    delivery, production = live_delivery
    delivery.challenge(weight=1.1)
    delivery.shadow(start=True)
    with Clients(production.url) as clients:
        clients.wait_for(50)
    delivery.deploy("production", delivery.make_bundle("other", weight=2.0), 5)
    result = delivery.shadow(judge=True)
    assert (result.exit_code, result.report.verdict) == (1, Verdict.INCONCLUSIVE)
    assert "production serves another version by now" in result.report.summary


def test_a_challenger_with_features_of_its_own_cannot_be_mirrored():
    def of(names, **about):
        return FeatureSchema(tuple(Feature(name, "numeric", **about) for name in names))

    assert live_shadow.positions(of("abc"), of("ca")) == (2, 0)
    assert live_shadow.positions(of("ab"), of("ab")) is None
    with pytest.raises(Exception, match="lack the challenger's feature 'd'"):
        live_shadow.positions(of("ab"), of("ad"))


def test_what_a_challenger_may_be_asked_without_is_left_out():
    a, b = Feature("a", "numeric"), Feature("b", "numeric", optional=True)
    places = live_shadow.positions(FeatureSchema((a,)), FeatureSchema((a, b)))
    assert places == (0, None)
    assert (
        mirror_reader.reorder_request(b'{"features": [[1.5]]}', places)
        == b'{"features": [[1.5, null]]}'
    )
    with_digest = mirror_reader.reorder_request(b'{"features": [1.5]}', None, "abc")
    assert json.loads(with_digest) == {"features": [1.5], "contract": "abc"}


def test_a_feature_of_another_kind_cannot_be_mirrored():
    number, text = Feature("a", "numeric"), Feature("a", "categorical", ("x",))
    with pytest.raises(Exception, match="give feature 'a' as numeric, the challenger expects"):
        live_shadow.positions(FeatureSchema((number,)), FeatureSchema((text,)))
