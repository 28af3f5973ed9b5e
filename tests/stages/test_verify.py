"""Stage verify against a running server, by its address."""

import shutil
import socket

import pytest
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CHAMPION
from ml_pipeline.serving.prediction_log import read
from ml_pipeline.stages.runner import execute
from ml_pipeline.targets.base import Placement, deploy
from ml_pipeline.targets.process.target import ProcessTarget

from tests.servers import log_predictions

USER_TEST = """
import httpx


def test_answers(endpoint):
    answer = httpx.post(f"{endpoint}/predict", json={"features": [1.0, "north"]})
    assert answer.json()["model_version"] == %d
"""


@pytest.fixture
def project(make_project):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return make_project(environments={"staging": {"port": port}})


@pytest.fixture
def verify(project, make_context):
    return lambda **flags: execute(make_context(project, "verify", "staging", **flags))


@pytest.fixture
def deployment(project, make_context, make_bundle):
    context = make_context(project, "verify", "staging")
    context.home.make()
    target, placement = ProcessTarget(), Placement.of(project, "staging", context.home)
    yield deploy(target, placement, make_bundle(), 3)
    target.stop(placement)


def test_what_is_deployed_keeps_its_contract(verify, deployment):
    result = verify()
    assert result.exit_code == 0
    assert "keeps its contract" in result.report.summary
    assert result.report.model.version == 3
    assert result.report.model.digest == deployment.digest
    assert "golden predictions" in {check.name for check in result.report.checks}
    assert result.report.metrics["latency_median_ms"] > 0


@pytest.mark.parametrize(("version", "exit_code"), [(3, 0), (4, 1)])
def test_the_projects_own_tests_count(verify, deployment, project, version, exit_code):
    folder = project.root / "tests/staging"
    folder.mkdir(parents=True)
    (folder / "test_own.py").write_text(USER_TEST % version)
    result = verify()
    assert result.exit_code == exit_code
    assert any("test_answers" in check.name for check in result.report.checks)


def test_nothing_of_it_counts_as_a_request_of_a_client(verify, deployment, project, make_context):
    folder = project.root / "tests/staging"
    folder.mkdir(parents=True)
    (folder / "test_own.py").write_text(USER_TEST % 3)
    assert verify().exit_code == 0
    home = make_context(project, "verify", "staging").home
    assert ProcessTarget().stop(Placement.of(project, "staging", home))
    logged = [entry for _, entry in read(home / "predictions/staging")]
    assert logged
    assert all(entry.is_probe for entry in logged)


def test_a_url_is_tested_without_knowing_what_should_be_there(verify, deployment):
    other = deployment.url.replace("127.0.0.1", "localhost")
    result = verify(url=f"{other}/")
    assert result.exit_code == 0
    assert "golden predictions" not in {check.name for check in result.report.checks}
    assert result.report.model is None  # the server's word alone proves no model to the gate


class TestChampionsRequests:
    """Staging serves a challenger, and the registry has a champion."""

    @pytest.fixture
    def crowned(self, project, make_context, make_bundle, registry_database):
        home = make_context(project, "verify", "staging").home
        home.make()
        shutil.copy(registry_database, home / "mlflow.db")
        registry = Registry.of(project, home)
        version = registry.register(make_bundle("champion", identity="c", weight=2.0)).version
        registry.aliases.set(CHAMPION, version)
        return version

    def check(self, result):
        found = [one for one in result.report.checks if one.name == "the champion's requests"]
        return found[0] if found else None

    def test_its_golden_rows_are_sent_where_nothing_is_recorded(self, crowned, deployment, verify):
        result = verify()
        assert result.exit_code == 0
        told = "3 golden rows of version 1 are answered, by name and by position"
        assert self.check(result).observed == told

    def test_what_clients_asked_is_sent(self, crowned, deployment, verify, project, make_context):
        home = make_context(project, "verify", "staging").home
        folder = home / "predictions/production"
        folder.mkdir(parents=True)
        asked = {f"r{number}": [[float(number), "north"]] for number in range(120)}
        log_predictions(folder / "1.jsonl", crowned.number, ["x", "c"], asked)
        check = self.check(verify())
        assert check.observed == (
            "120 recorded rows of version 1 are answered, by name and by position"
        )

    def test_a_challenger_that_takes_other_names_is_left_to_the_gate(
        self, crowned, verify, project, make_context, make_bundle
    ):
        home = make_context(project, "verify", "staging").home
        other = FeatureSchema(
            (Feature("z", "numeric"), Feature("c", "categorical", ("north", "south")))
        )
        target, placement = ProcessTarget(), Placement.of(project, "staging", home)
        deploy(target, placement, make_bundle("other", features=other.to_json()), 3)
        try:
            result = verify()
        finally:
            target.stop(placement)
        assert result.exit_code == 0
        check = self.check(result)
        assert (check.verdict, check.required) == ("fail", False)
        assert "3 of 3 golden rows of version 1 are refused" in check.observed
        assert "'z' is new and required: renamed?" in check.observed

    def test_an_address_of_somebody_else_is_not_asked(self, crowned, deployment, verify):
        other = deployment.url.replace("127.0.0.1", "localhost")
        assert self.check(verify(url=other)) is None


def test_nothing_deployed_says_what_to_do(verify):
    result = verify()
    assert result.exit_code == 3
    assert "run 'ml-pipeline deploy staging'" in result.report.summary


def test_nothing_at_the_url_is_a_fault_of_the_environment(verify):
    result = verify(url="http://127.0.0.1:1")
    assert result.exit_code == 3
    assert "no server responds at http://127.0.0.1:1" in result.report.summary


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http:// x",
        "http://127.0.0.1:99999",
        "http://127.0.0.1/?a=1",
        "http://127.0.0.1/#a",
    ],
)
def test_what_is_no_address_is_a_usage_error(verify, url):
    assert verify(url=url).exit_code == 2


def test_credentials_in_an_address_are_refused_and_not_repeated(verify):
    result = verify(url="http://me:secret@127.0.0.1:8001")
    assert result.exit_code == 2
    assert "secret" not in result.report.to_json()
