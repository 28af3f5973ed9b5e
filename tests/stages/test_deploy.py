"""Stage deploy, through a real registry and a real server."""

import shutil
import socket

import httpx
import pytest
from ml_pipeline.registry.registry import Registry
from ml_pipeline.stages.runner import execute
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.process.target import ProcessTarget


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.fixture
def project(make_project, port):
    return make_project(environments={"staging": {"port": port}})


@pytest.fixture
def deploy(project, make_context):
    contexts = []

    def run(**flags):
        context = make_context(project, "deploy", "staging", **flags)
        contexts.append(context)
        return execute(context)

    yield run
    if contexts:
        ProcessTarget().stop(Placement.of(project, "staging", contexts[0].home))


@pytest.fixture
def registry(project, make_context, registry_database):
    context = make_context(project, "deploy", "staging")
    context.home.make()
    (context.home / "mlflow.db").write_bytes(registry_database.read_bytes())
    return Registry.of(project, context.home)


def served(port):
    answer = httpx.post(f"http://127.0.0.1:{port}/predict", json={"features": [1.0, None]})
    return answer.raise_for_status().json()["model_version"]


def test_the_challenger_then_nothing_then_another_version(deploy, registry, make_bundle, port):
    first = registry.register(make_bundle("one")).version
    result = deploy()
    assert result.exit_code == 0
    assert result.report.model.digest == first.digest
    assert result.report.summary == f"staging serves version 1 at http://127.0.0.1:{port}"
    assert served(port) == 1

    again = deploy()
    assert again.exit_code == 0
    assert again.report.summary.endswith("already; nothing to change")
    assert again.report.metrics["pid"] == result.report.metrics["pid"]

    registry.register(make_bundle("two", identity="b", weight=2.0))
    assert deploy().report.summary.endswith("; version 1 has ended")
    assert served(port) == 2

    assert deploy(version=1).exit_code == 0
    assert served(port) == 1

    gone = deploy(version=9)
    assert gone.exit_code == 2
    assert "no version 9" in gone.report.summary
    assert served(port) == 1


def test_nothing_registered_says_what_to_do(deploy, registry):
    result = deploy()
    assert result.exit_code == 2
    assert "run 'ml-pipeline register'" in result.report.summary


def test_a_port_in_use_is_a_fault_of_the_environment(deploy, registry, make_bundle, port):
    registry.register(make_bundle())
    with socket.create_server(("127.0.0.1", port)):
        result = deploy()
    assert result.exit_code == 3
    assert f"port {port} of 127.0.0.1 is in use by pid" in result.report.summary


def test_a_full_disk_is_a_fault_of_the_environment(
    deploy, registry, make_bundle, port, monkeypatch
):
    registry.register(make_bundle("one"))
    assert deploy().exit_code == 0
    registry.register(make_bundle("two", identity="b", weight=2.0))

    real = shutil.copyfile

    def full(source, destination, **options):
        if "released" in str(destination):
            raise OSError(28, "No space left on device", str(destination))
        return real(source, destination, **options)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        result = deploy()
    assert result.exit_code == 3
    assert "No space left on device" in result.report.summary
    assert served(port) == 1
    assert deploy().exit_code == 0
    assert served(port) == 2
