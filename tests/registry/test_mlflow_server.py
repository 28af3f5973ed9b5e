"""The same registry behind a tracking server, which keeps the artefacts itself: as it should be,
away, slow, and failing at each request of a delivery.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, Refused
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.production_history import read_history
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION, list_versions

from tests.fault_proxy import Fault, FaultProxy, Plan, Request, fault_proxy
from tests.mlflow_server import mlflow_server
from tests.promotion.conftest import NUMBERS, Delivery
from tests.records import newest_record

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, registry_database: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "server.db").write_bytes(registry_database.read_bytes())
    with mlflow_server(folder, "sqlite:///server.db") as url:
        yield url


def test_a_version_with_its_records_and_aliases(
    server: str,
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    home = Home(tmp_path / "home")
    registry = Registry(server, "small", home, stages=True)
    assert registry.read().champion is None
    bundle = make_bundle()
    version = registry.register(bundle, {"git.commit": "f" * 40}).version
    assert registry.register(bundle).version == version
    assert registry.read().challenger == version

    registry.records.attach(version, "gate.json", b"one")
    registry.records.attach(version, "gate.json", b"two")
    assert newest_record(registry, version, "gate.json") == b"two"

    fetched = registry.bundles.download(version, tmp_path / "fetched")
    assert (fetched / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()

    registry.aliases.set(CHAMPION, version)
    assert registry.read().champion == version
    assert [item.current_stage for item in list_versions(registry._session, registry.name)] == [
        "Production"
    ]
    registry.aliases.set(CHAMPION, None)
    assert registry.read().champion is None

    left = [".gitignore", "registry.lock", "version-numbers.json"]
    assert sorted(item.name for item in home.root.iterdir()) == left
    assert capfd.readouterr() == ("", "")


# --- faults ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shared_proxy(server: str) -> Iterator[FaultProxy]:
    with fault_proxy(server) as found:
        yield found


@pytest.fixture
def proxy(shared_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch) -> FaultProxy:
    """The server with a proxy before it, whose faults MLflow does not cover by asking again."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    shared_proxy.heals()
    return shared_proxy


@pytest.fixture
def delivery(proxy: FaultProxy, tmp_path: Path, make_bundle: Callable[..., Path]) -> Delivery:
    """A model of its own behind the proxy, and its way to production."""
    home = Home(tmp_path / "home")
    home.make()
    return Delivery(home, Registry(proxy.url, f"model-{next(NUMBERS)}", home), make_bundle)


def truth(server: str, delivery: Delivery) -> Registry:
    """The same model, asked past the proxy."""
    return Registry(server, delivery.registry.name, delivery.home)


def dies_at(where: str) -> tuple[Plan, threading.Event]:
    """Lose the answer to the first request to an address, and refuse all that come after it."""
    broken = threading.Event()

    def plan(request: Request) -> Fault | None:
        if broken.is_set():
            return "refused"
        if where not in request.path:
            return None
        broken.set()
        return "lost"

    return plan, broken


def dies_after(number: int) -> Plan:
    """Lose the answer to request ``number``, and refuse all that come after it."""
    return lambda r: None if r.number < number else ("lost", "refused")[r.number > number]


WAY = (
    "registered-models/search", "registered-models/create", "experiments/create", "runs/create",
    "bundle/model.onnx", "runs/update",
    "model-versions/create", "model-versions/search", "registered-models/alias",
)  # fmt: skip
"""Where a registration may break, in its order."""


@pytest.mark.parametrize("where", WAY)
def test_a_registry_that_dies_while_it_registers(
    server: str, proxy: FaultProxy, delivery: Delivery, tmp_path: Path, where: str
) -> None:
    """The server does what it was asked, the answer is lost, and then nothing answers any more."""
    plan, broken = dies_at(where)
    proxy.does(plan)
    bundle = delivery.make_bundle("one")
    with pytest.raises(EnvironmentFault):
        delivery.registry.register(bundle)
    assert broken.is_set()

    left = truth(server, delivery)
    made = where in WAY[WAY.index("model-versions/create") :]
    assert len(left.read().versions) == int(made)
    assert (left.read().challenger is not None) == (where == "registered-models/alias")

    proxy.heals()
    version = delivery.registry.register(bundle).version
    assert list(left.read().versions) == [version]
    assert left.read().challenger == version
    assert left.read().champion is None
    fetched = left.bundles.download(version, tmp_path / "fetched")
    assert (fetched / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()


def test_a_lost_response_creates_no_second_version(
    server: str, proxy: FaultProxy, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow sends the request again; what came of the first one is found and withdrawn."""
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    lost: set[str] = set()

    def plan(request: Request) -> Fault | None:
        path = request.path.partition("?")[0]
        first = request.method != "GET" and path not in lost
        lost.add(path)
        return "lost" if first else None

    proxy.does(plan)
    version = delivery.registry.register(delivery.make_bundle("one")).version
    assert len(lost) > 12
    left = truth(server, delivery)
    assert list(left.read().versions) == [version]
    assert len(list_versions(left._session, left.name)) == 1
    assert left.read().challenger == version


def test_a_second_version_of_one_identity_is_not_believed(
    server: str, proxy: FaultProxy, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made twice, as above, and the machine ended before it could withdraw one."""
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    made = {"times": 0}

    def plan(request: Request) -> Fault | None:
        if "model-versions/create" in request.path:
            made["times"] += 1
            return "lost" if made["times"] == 1 else None
        return "refused" if made["times"] == 2 else None

    proxy.does(plan)
    bundle = delivery.make_bundle("one")
    with pytest.raises(EnvironmentFault):
        delivery.registry.register(bundle)
    left = truth(server, delivery)
    assert {int(item.version) for item in list_versions(left._session, left.name)} == {1, 2}
    assert [version.number for version in left.read().versions] == [1]
    proxy.heals()
    assert delivery.registry.register(bundle).version.number == 1


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_an_upload_that_the_server_does_not_store_is_detected(
    server: str, proxy: FaultProxy, delivery: Delivery, name: str
) -> None:
    def plan(request: Request) -> Fault | None:
        return "not json" if request.method == "PUT" and request.path.endswith(name) else None

    proxy.does(plan)
    bundle = delivery.make_bundle("one")
    with pytest.raises(EnvironmentFault, match=f"has not kept {name}"):
        delivery.registry.register(bundle)
    assert list(truth(server, delivery).read().versions) == []
    proxy.heals()
    assert delivery.registry.register(bundle).version.number == 1


def test_a_bundle_that_the_registry_lost_is_uploaded_again(
    server: str, delivery: Delivery, tmp_path: Path
) -> None:
    version = delivery.register("one")
    left = truth(server, delivery)
    artefacts = httpx.delete(
        f"{server}/api/2.0/mlflow-artifacts/artifacts/"
        f"{left._session.client.get_run(version.run_id).info.experiment_id}/{version.run_id}"
        "/artifacts/model/artifacts/bundle/model.onnx",
        trust_env=False,
    )
    assert artefacts.is_success
    with pytest.raises(PipelineError):
        left.bundles.download(version, tmp_path / "lost")
    assert delivery.registry.register(tmp_path / "one").version == version
    left.bundles.download(version, tmp_path / "found")


@pytest.mark.parametrize("fault", ["refused", "lost", "cut", "error", "not json"])
def test_whatever_is_asked_of_a_registry_with_a_fault(
    proxy: FaultProxy, delivery: Delivery, tmp_path: Path, fault: Fault
) -> None:
    """Each request in turn gets the fault. What is read is right, or there is an error: one of the
    environment, or that the content is not what was stored, where a page came in its place.
    """
    version = delivery.register("one")
    delivery.gate(version)
    registry = delivery.registry
    calls: list[tuple[Callable[[], object], object]] = [
        (lambda: registry.read().champion, None),
        (lambda: registry.read().challenger, version),
        (lambda: newest_record(registry, version, GATE_RECORD) is not None, True),
        (registry.leases.read, ()),
    ]
    if fault == "cut":
        calls.append(
            (lambda: registry.bundles.download(version, tmp_path / "fetched").name, "fetched")
        )
    allowed = (EnvironmentFault, Refused) if fault == "not json" else EnvironmentFault
    for call, expected in calls:
        proxy.heals()
        assert call() == expected
        survived = 0
        numbers = range(len(proxy.seen))
        for number in numbers:
            proxy.does(lambda request, number=number: fault if request.number == number else None)
            with suppress(allowed):
                assert call() == expected
                survived += 1
        assert survived < len(numbers)


def test_a_record_is_the_old_one_or_the_new_one(
    server: str, proxy: FaultProxy, delivery: Delivery
) -> None:
    version = delivery.register("one")
    delivery.registry.records.attach(version, GATE_RECORD, b"0")
    proxy.heals()
    delivery.registry.records.attach(version, GATE_RECORD, b"1")
    left, kept = truth(server, delivery), b"1"
    for number in range(len(proxy.seen)):
        new = str(number + 2).encode()
        proxy.does(dies_after(number))
        with pytest.raises(EnvironmentFault):
            delivery.registry.records.attach(version, GATE_RECORD, new)
        found = newest_record(left, version, GATE_RECORD)
        assert found in (kept, new)
        kept = found
    proxy.heals()
    delivery.registry.records.attach(version, GATE_RECORD, b"last")
    assert newest_record(left, version, GATE_RECORD) == b"last"


@pytest.mark.parametrize(
    "where", ["registered-models/search", "records/approval", "registered-models/alias"]
)
def test_a_registry_that_dies_while_it_promotes(
    server: str, proxy: FaultProxy, delivery: Delivery, where: str
) -> None:
    """One champion, the former or the new one, and a retry completes the promotion."""
    former = delivery.deliver("one")
    version = delivery.register("two", identity="b", weight=2.0)
    delivery.gate(version)
    delivery.approve(version)
    plan, broken = dies_at(where)
    proxy.does(plan)
    with pytest.raises(EnvironmentFault):
        delivery.promote()
    assert broken.is_set()
    left = truth(server, delivery)
    assert left.read().champion == (version if where.endswith("alias") else former)
    assert delivery.target.running.digest == former.digest
    proxy.heals()
    delivery.promote()
    assert left.read().champion == version
    assert delivery.target.running.digest == version.digest
    assert [entry.version for entry in read_history(delivery.home)] == [1, 2]


def test_a_slow_registry_is_waited_for_but_not_for_ever(
    proxy: FaultProxy, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy.seconds = 0.3
    proxy.does(lambda _: "late")
    assert delivery.registry.read().champion is None
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    proxy.seconds = 3.0
    with pytest.raises(EnvironmentFault, match="does not answer"):
        delivery.registry.read()


# --- leases -----------------------------------------------------------------------------------


def test_a_lease_with_a_lost_response_is_recognised_by_its_token(
    proxy: FaultProxy, delivery: Delivery
) -> None:
    registry, token = delivery.registry, "a" * 32
    delivery.register("one")
    plan, broken = dies_at("runs/log-batch")
    proxy.does(plan)
    with pytest.raises(EnvironmentFault):
        registry.leases.acquire(1, token, by="asha", run_id="r1")
    assert broken.is_set()
    proxy.heals()
    other = registry.leases.acquire(1, "b" * 32, by="bela", run_id="r2")
    assert not other
    assert (other.holder.by, other.holder.run_id) == ("asha", "r1")
    assert registry.leases.acquire(1, token, by="asha", run_id="r1")
    assert registry.leases.acquire(2, "b" * 32, by="bela", run_id="r2")
