"""doctor on environments: whether their servers can run where they are to; tests/docker asks more.

Each thing that is amiss is told with what to do.
"""

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
        found = doctor_environments.examine(project, Home(tmp_path / "home"))
        return {check.name: check for check in found}

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

    def test_address_of_another_machine(self, examine):
        check = examine(host="192.0.2.1", port=80)["port of production"]
        assert check.verdict is Verdict.FAIL
        assert "assign" in check.observed

    def test_of_two_environments(self, make_project, tmp_path):
        environments = {"staging": {"port": 8031}, "production": {"port": 8031}}
        project = make_project(environments=environments)
        with pytest.raises(UsageError, match=r"production\.port and .*staging\.port are both 8031"):
            doctor_environments.check_ports(project, Home(tmp_path / "home"), ["staging"])

    def test_where_this_project_serves_already(self, make_project, tmp_path, monkeypatch):
        """Its own server hands the port over; at another port of its it does not."""
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

    def test_where_another_project_serves(self, make_project, tmp_path, monkeypatch):
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

    def test_of_containers_on_this_machine(self, examine, no_engine, monkeypatch):
        monkeypatch.setattr(container_detection, "container", lambda: None)
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            check = examine(port=port, target="docker")["port of production"]
            assert check.verdict is Verdict.FAIL
            assert f"pid {os.getpid()}" in check.observed
            monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example.org:2375")
            assert "port of production" not in examine(port=port, target="docker")

    @pytest.mark.parametrize("name", ["cd", "all"])
    def test_is_known_before_a_run_trains(self, name, make_project, tmp_path, capsys, monkeypatch):
        monkeypatch.setenv("ML_HOME", str(tmp_path / "home"))
        with socket.create_server(("127.0.0.1", 0)) as server:
            environments = {"staging": {"port": 0}, "production": {"port": server.getsockname()[1]}}
            project = make_project(environments=environments)
            assert cli.main(["run", name, "--project", str(project.root)]) == 3
        told = capsys.readouterr()
        assert "of environment production, is in use by pid" in told.err
        assert "set environments.production.port to another" in told.err
        assert told.out == ""

    def test_any_port_needs_no_check(self, examine):
        assert list(examine(port=0)) == ["target of production", "Docker"]


class TestProcess:
    def test_on_a_machine(self, examine, monkeypatch):
        monkeypatch.setattr(container_detection, "container", lambda: None)
        assert examine(port=0)["target of production"].verdict is Verdict.PASS

    def test_in_a_container(self, examine, monkeypatch):
        monkeypatch.setattr(container_detection, "container", lambda: "/.dockerenv")
        check = examine(port=0)["target of production"]
        assert (check.verdict, check.required) == (Verdict.FAIL, True)
        assert "in a container (/.dockerenv)" in check.observed
        assert "set environments.production.target to docker" in check.why
        assert "the variable ML_PROCESS_TARGET_IN_CONTAINER to allow" in check.why


class TestDocker:
    def test_an_engine_that_does_not_answer(self, examine, no_engine):
        check = examine(target="docker", port=8000)["target of production"]
        assert (check.verdict, check.required) == (Verdict.FAIL, True)
        assert f"does not answer at {no_engine}" in check.why
        assert "set DOCKER_HOST" in check.why

    def test_an_address_that_is_none(self, examine, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "nonsense://x")
        check = examine(target="docker", port=8000)["target of production"]
        assert check.verdict is Verdict.FAIL
        assert "nonsense" in check.why

    def test_without_an_environment_of_it_the_engine_is_advisory(self, examine, no_engine):
        check = examine(port=0)["Docker"]
        assert (check.verdict, check.required) == (Verdict.FAIL, False)
        assert "nothing but containers needs one" in check.why

    def test_targets_of_other_packages_are_not_looked_at(self, examine, no_engine):
        assert list(examine(target="lambda", port=8000)) == ["Docker"]
