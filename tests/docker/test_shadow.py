"""A live shadow where champion and challenger are containers: what it sees, and what it leaves."""

import json

import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import Verdict
from ml_pipeline.online import live_shadow
from ml_pipeline.targets.base import Deployment, Placement, ShadowSpec
from ml_pipeline.targets.docker.target import DockerTarget

from tests.servers import TOKEN, await_ready, free_port
from tests.stages.test_shadow import Clients, Delivery, named


class Containers(Delivery):
    """Environments of the target docker, all asking for a token."""

    def __init__(self, engine, *makers):
        super().__init__(*makers)
        self.engine = engine
        self.target = DockerTarget()

    @property
    def scope(self):
        return (self.home / "servers/containers").read_text().strip()

    def names_of(self, kind):
        """Return names of what this home has on the engine."""
        found = getattr(self.engine, kind).list(
            **{"all": True} if kind == "containers" else {},
            filters={"label": f"ml-pipeline.scope={self.scope}"},
        )
        return sorted(each.name for each in found)

    def container(self, end):
        name = next(name for name in self.names_of("containers") if name.endswith(end))
        return self.engine.containers.get(name)

    def server(self, environment):
        return self.container(f"-{environment}-{self.scope}.blue")

    def networks(self, container):
        container.reload()
        return set(container.attrs["NetworkSettings"]["Networks"])


@pytest.fixture
def delivery(
    engine, server_image, gateway_image, make_project, make_context, make_bundle, monkeypatch
):
    monkeypatch.setenv("ML_TEST_TOKEN", TOKEN)
    names = ("staging", "production")
    images = {"target": "docker", "image": server_image, "gateway_image": gateway_image}
    project = make_project(
        environments={name: {"port": free_port(), **images} for name in names},
        serving={"token_env": "ML_TEST_TOKEN"},
        shadow={"min_requests": 100, "p99_ms": 3000, "min_minutes": 0, "timeout_ms": 300},
    )
    containers = Containers(engine, project, make_context, make_bundle)
    yield containers
    for name in containers.names_of("containers"):
        engine.containers.get(name).remove(force=True)
    containers.stop()
    assert (
        containers.names_of("containers")
        == containers.names_of("volumes")
        == containers.names_of("networks")
        == []
    )


@pytest.fixture
def production(delivery):
    production = delivery.deploy("production", delivery.make_bundle("champion"), 1)
    delivery.challenge(weight=1.1)
    return production


def test_production_copies_its_requests_until_the_verdict(delivery, production):
    server = delivery.server("production")
    before = delivery.networks(server)
    with Clients(production.url, token=TOKEN) as clients:
        started = delivery.shadow(start=True)
        assert (started.exit_code, started.report.verdict) == (0, Verdict.SKIPPED)
        reader = delivery.container(".shadow.staging")
        assert delivery.networks(reader) == delivery.networks(delivery.server("staging"))
        assert TOKEN not in json.dumps(reader.attrs)
        assert delivery.networks(server) == before
        too_early = delivery.shadow(judge=True)
        assert too_early.report.verdict is Verdict.INCONCLUSIVE
        clients.wait_for(250)
        result = delivery.shadow(judge=True)
    assert result.exit_code == 0, result.report.summary
    metrics = result.report.metrics
    assert metrics["compared"] == metrics["offered"] - metrics["dropped"] >= 100
    assert 0 < metrics["distance"] < 1
    assert not clients.errors
    assert live_shadow.read(delivery.home, "staging") is None
    assert (delivery.home / "shadow/staging.jsonl").stat().st_mode & 0o777 == 0o600
    assert not [name for name in delivery.names_of("containers") if ".shadow" in name]


def test_a_failing_challenger_does_not_affect_the_champion(delivery, production):
    challenger = delivery.server("staging")
    with Clients(production.url, token=TOKEN) as clients:
        clients.wait_for(150)
        before = clients.p99()
        for spoil, repair in ((challenger.pause, challenger.unpause), (challenger.kill, None)):
            assert delivery.shadow(start=True).exit_code == 0
            spoil()
            since = len(clients.latencies)
            clients.wait_for(150)
            assert clients.p99(since) < 2 * before + 0.05
            result = delivery.shadow(judge=True)
            assert (result.exit_code, result.report.verdict) == (1, Verdict.FAIL)
            assert named(result, "missing answers").verdict is Verdict.FAIL
            if repair is not None:
                repair()
    assert not clients.errors


def test_a_replaced_server_ends_the_shadow_as_inconclusive(delivery, production):
    assert delivery.shadow(start=True).exit_code == 0
    delivery.server("production").restart(timeout=1)
    result = delivery.shadow(judge=True)
    assert (result.exit_code, result.report.verdict) == (1, Verdict.INCONCLUSIVE)
    assert "the server was replaced or stopped" in named(result, "requests were copied").why
    await_ready(production.url)
    assert delivery.shadow(start=True).exit_code == 0
    delivery.deploy("production", delivery.make_bundle("other", weight=2.0), 5)
    result = delivery.shadow(judge=True)
    assert (result.exit_code, result.report.verdict) == (1, Verdict.INCONCLUSIVE)
    assert "production serves another version by now" in result.report.summary
    assert delivery.shadow(start=True).exit_code == 0
    delivery.target.stop(Placement.of(delivery.project, "staging", delivery.home))
    assert not [name for name in delivery.names_of("containers") if ".shadow" in name]
    assert delivery.shadow(judge=True).report.verdict is Verdict.FAIL


def test_a_challenger_process_beside_a_container_is_refused(make_project, make_context, tmp_path):
    environments = {
        "staging": {"port": free_port()},
        "production": {"port": free_port(), "target": "docker"},
    }
    project = make_project(environments=environments)
    home = make_context(project, "shadow", "staging").home
    places = {name: Placement.of(project, name, home) for name in environments}
    served = Deployment(url="http://127.0.0.1:1", version=1, digest="d", pid=1, bundle=tmp_path)
    spec = ShadowSpec(served, places["staging"], served, None, None, 1.0, 1.0)
    with pytest.raises(UsageError, match="staging has the target process, which a container of"):
        DockerTarget().start_shadow(places["production"], spec)
