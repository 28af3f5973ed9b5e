"""doctor reports faults of environments with their fix; tests/docker has further tests."""

from __future__ import annotations

import os
import socket
from dataclasses import replace

import pytest
from ml_pipeline import cli
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Verdict
from ml_pipeline.project import doctor_environments
from ml_pipeline.targets import container_detection, ports
from ml_pipeline.targets.base import Deployment
from ml_pipeline.targets.process.target import ProcessTarget


@pytest.fixture
def examine(make_project, tmp_path):
    """Return the checks of one environment, production, with these settings."""

    def examine(**section):
        project = make_project(environments={"production": section})
        result = doctor_environments.examine(project, Home(tmp_path / "home"))
        return {check.name: check for check in result}

    return examine


@pytest.fixture
def no_engine(tmp_path, monkeypatch):
    path = tmp_path / "none.sock"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    return path


class TestPort:
    def test_owner_of_a_taken_port_is_named(self, examine):
        with socket.create_server(("127.0.0.1", 0)) as server:
            check = examine(port=server.getsockname()[1])["port of production"]
        assert check.verdict is Verdict.FAIL
        assert f"pid {os.getpid()}" in check.observed
        assert "environments.production.port" in check.why

    def test_an_address_of_another_machine_fails(self, examine):
        check = examine(host="192.0.2.1", port=80)["port of production"]
        assert check.verdict is Verdict.FAIL
        assert "assign" in check.observed

    def test_one_port_for_two_environments_fails(self, make_project, tmp_path):
        environments = {"staging": {"port": 8031}, "production": {"port": 8031}}
        project = make_project(environments=environments)
        with pytest.raises(UsageError, match=r"production\.port and .*staging\.port are both 8031"):
            doctor_environments.check_ports(project, Home(tmp_path / "home"), ["staging"])

    def test_a_port_of_the_environments_own_server_passes(
        self, make_project, tmp_path, monkeypatch
    ):
        """The environment's own server hands the port over only at the same port."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            project = make_project(environments={"production": {"port": port}})
            home = Home(tmp_path / "home")
            serving = Deployment(f"http://127.0.0.1:{port}", 3, "a" * 64, 1, tmp_path)
            monkeypatch.setattr(ProcessTarget, "status", lambda self, placement: serving)
            doctor_environments.check_ports(project, home, ["production"])
            serving = replace(serving, url="http://127.0.0.1:1")
            with pytest.raises(EnvironmentFault, match=f"is in use by pid {os.getpid()}"):
                doctor_environments.check_ports(project, home, ["production"])

    def test_a_port_of_another_projects_server_fails(self, make_project, tmp_path, monkeypatch):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            project = make_project(environments={"production": {"port": port}})
            other = tmp_path / "other"
            monkeypatch.setattr(ports, "own_server", lambda _port: (other, "staging"))
            with pytest.raises(UsageError, match=f"held by .* environment staging, home {other}"):
                doctor_environments.check_ports(project, Home(tmp_path / "home"), ["production"])
            monkeypatch.setattr(
                ports, "own_server", lambda _port: (tmp_path / "home", "production")
            )
            doctor_environments.check_ports(project, Home(tmp_path / "home"), ["production"])

    def test_ports_of_containers_on_this_machine_are_checked(self, examine, no_engine, monkeypatch):
        monkeypatch.setattr(container_detection, "container_marker", lambda: None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            check = examine(port=port, target="docker")["port of production"]
            assert check.verdict is Verdict.FAIL
            assert f"pid {os.getpid()}" in check.observed
            monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example.org:2375")
            assert "port of production" not in examine(port=port, target="docker")

    @pytest.mark.parametrize("name", ["cd", "all"])
    def test_a_port_conflict_fails_a_run_before_training(
        self, name, make_project, tmp_path, capsys, monkeypatch
    ):
        monkeypatch.setenv("ML_HOME", str(tmp_path / "home"))
        with socket.create_server(("127.0.0.1", 0)) as server:
            environments = {"staging": {"port": 0}, "production": {"port": server.getsockname()[1]}}
            project = make_project(environments=environments)
            assert cli.main(["run", name, "--project", str(project.root)]) == 3
        message = capsys.readouterr()
        assert "of environment production, is in use by pid" in message.err
        assert "set environments.production.port to another" in message.err
        assert message.out == ""

    def test_port_0_is_not_checked(self, examine):
        assert list(examine(port=0)) == ["target of production", "Docker"]


class TestProcess:
    def test_a_process_on_a_machine_passes(self, examine, monkeypatch):
        monkeypatch.setattr(container_detection, "container_marker", lambda: None)
        assert examine(port=0)["target of production"].verdict is Verdict.PASS

    def test_a_process_in_a_container_fails(self, examine, monkeypatch):
        monkeypatch.setattr(container_detection, "container_marker", lambda: "/.dockerenv")
        check = examine(port=0)["target of production"]
        assert (check.verdict, check.required) == (Verdict.FAIL, True)
        assert "in a container (/.dockerenv)" in check.observed
        assert "set environments.production.target to docker" in check.why
        assert "the variable ML_PROCESS_TARGET_IN_CONTAINER to allow" in check.why


class TestDocker:
    def test_an_unavailable_engine_fails(self, examine, no_engine):
        check = examine(target="docker", port=8000)["target of production"]
        assert (check.verdict, check.required) == (Verdict.FAIL, True)
        assert f"does not answer at {no_engine}" in check.why
        assert "set DOCKER_HOST" in check.why

    def test_an_invalid_docker_host_fails(self, examine, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "nonsense://x")
        check = examine(target="docker", port=8000)["target of production"]
        assert check.verdict is Verdict.FAIL
        assert "nonsense" in check.why

    def test_the_engine_is_advisory_without_a_docker_environment(self, examine, no_engine):
        check = examine(port=0)["Docker"]
        assert (check.verdict, check.required) == (Verdict.FAIL, False)
        assert "only containers need it" in check.why

    def test_targets_of_plugins_are_not_checked(self, examine, no_engine):
        assert list(examine(target="lambda", port=8000)) == ["Docker"]
