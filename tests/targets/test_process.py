"""The process target: start, switch, revert, end; whatever fails, the old server serves."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import ClassVar

import httpx
import psutil
import pytest
from ml_pipeline.config import PredictionLogSection
from ml_pipeline.core import process_identity
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.serving.prediction_log import read
from ml_pipeline.serving.redaction import hashed_value
from ml_pipeline.targets import (
    container_detection,
    ports,
    redaction_key,
    server_arguments,
    server_records,
)
from ml_pipeline.targets.base import Placement, Target
from ml_pipeline.targets.docker.target import DockerTarget
from ml_pipeline.targets.loader import load_target
from ml_pipeline.targets.process import server_process
from ml_pipeline.targets.process.target import ProcessTarget
from ml_pipeline.targets.server_records import EnvironmentRecord

from tests.servers import falsify_golden, served_version
from tests.targets.clients import Clients


class TestStart:
    BUILD: ClassVar = {
        "BUILD_ID": "5",
        "BUILD_TAG": "jenkins-shop-5",
        "HUDSON_COOKIE": "6d3c",
        "HUDSON_SERVER_COOKIE": "0f1e",
        "JENKINS_NODE_COOKIE": "9a7b",
        "JENKINS_SERVER_COOKIE": "durable-2c4d",
        "JENKINS_URL": "http://ci.example/",
    }
    """Variables by which Jenkins finds the processes of a build to end them."""

    def test_it_reads_a_released_copy_and_not_the_bundle(self, place, make_bundle):
        bundle = make_bundle()
        deployment = place.deploy(bundle, 3)
        assert deployment.bundle == place.home / "released" / deployment.digest
        (bundle / "model.onnx").unlink()
        assert served_version(place.url) == 3

    def test_a_long_path_of_the_home_works(self, place, tmp_path, make_bundle):
        home = Home(tmp_path / ("deep/" * 20))
        home.make()
        deep = place.with_changes(home=home)
        deep.deploy(make_bundle(), 1)
        assert deep.stop()

    def test_the_server_outlives_the_command_and_gets_none_of_its_secrets(self, place, make_bundle):
        code = (
            "import sys; from pathlib import Path; from ml_pipeline.core.home import Home;"
            "from ml_pipeline.targets.base import Placement, deploy;"
            "from ml_pipeline.targets.process.target import ProcessTarget;"
            "from ml_pipeline.config import EnvironmentSection, ServingSection;"
            "section = EnvironmentSection(port=int(sys.argv[3]));"
            "home = Home(Path(sys.argv[2]));"
            "placement = Placement('staging', section, ServingSection(), home);"
            "deploy(ProcessTarget(), placement, Path(sys.argv[1]), 3)"
        )
        command = [sys.executable, "-W", "error", "-c", code, str(make_bundle())]
        done = subprocess.run(
            [*command, str(place.home.root), str(place.port)],
            env=os.environ | self.BUILD | {"REGISTRY_PASSWORD": "s3cret"},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, "")
        deployment = place.status()
        assert served_version(place.url) == 3
        process = psutil.Process(deployment.pid)
        found = process.environ()
        assert found["JENKINS_NODE_COOKIE"] == "dontKillMe"
        assert not (set(self.BUILD) - {"JENKINS_NODE_COOKIE"} | {"REGISTRY_PASSWORD"}) & set(found)
        assert not set(self.BUILD.values()) & set(found.values())
        assert os.getsid(deployment.pid) != os.getsid(0)

    def test_the_server_gets_the_token(self, place, make_bundle, monkeypatch):
        monkeypatch.setenv("API_TOKEN", "s3cret")
        place.with_changes(host="0.0.0.0", token_env="API_TOKEN").deploy(make_bundle(), 1)
        assert place.status().url == place.url
        assert httpx.get(f"{place.url}/metadata").status_code == 401
        assert "s3cret" not in place.state.read_text()

    def test_a_port_in_use_is_named_with_its_owner(self, place, make_bundle):
        with (
            socket.create_server(("127.0.0.1", place.port)),
            pytest.raises(EnvironmentFault) as caught,
        ):
            place.deploy(make_bundle(), 1)
        text = str(caught.value)
        assert f"port {place.port} of 127.0.0.1 is in use by pid {os.getpid()} (" in text
        assert psutil.Process().cmdline()[0] in text

    def test_a_port_published_by_a_container_is_named_as_such(
        self, place, make_bundle, monkeypatch
    ):
        monkeypatch.setattr(ports, "DOCKER_PROXY", psutil.Process().name())
        with (
            socket.create_server(("127.0.0.1", place.port)),
            pytest.raises(EnvironmentFault, match="in use by a container that publishes it"),
        ):
            place.deploy(make_bundle(), 1)

    def test_a_server_of_another_home_is_named_with_the_command_to_end_it(
        self, place, make_bundle, tmp_path
    ):
        place.deploy(make_bundle(), 1)
        other = place.with_changes(name="production", home=Home(tmp_path / "elsewhere"))
        with pytest.raises(UsageError) as caught:
            other.deploy(make_bundle("other"), 1)
        home = place.home.root
        assert str(caught.value) == (
            f"port {place.port} is held by a server of ml-pipeline, environment staging, "
            f"home {home}; "
            "set environments.production.port to another, or end that server with "
            f"'ML_HOME={home} ml-pipeline stop staging' in its project"
        )
        assert other.status() is None


class TestSettings:
    def test_predictions_are_logged_in_the_home_by_environment(self, place, make_bundle):
        place.deploy(make_bundle(), 3)
        body = {"features": [1.0, "north"]}
        sent = {"x-request-id": "mine"}
        assert httpx.post(f"{place.url}/predict", json=body, headers=sent).status_code == 200
        place.stop()
        logged = read(place.home / "predictions/staging")
        asked = [entry.request_id for _, entry in logged if not entry.is_probe]
        assert asked == ["mine"]

    def test_features_are_hashed_with_a_key_of_the_home_that_is_no_argument(
        self, place, make_bundle
    ):
        deployment = place.with_changes(redact={"c": "hash", "x": "omit"}).deploy(make_bundle(), 3)
        key = redaction_key.key_file(place.home)
        assert key.stat().st_mode & 0o777 == 0o600
        secret = key.read_text().strip()
        command = psutil.Process(deployment.pid).cmdline()
        assert str(key) in command
        assert secret not in " ".join(command) + place.state.read_text()
        body = {"features": [1.0, "north"]}
        assert httpx.post(f"{place.url}/predict", json=body).status_code == 200
        place.stop()
        ((source, entry),) = [
            one for one in read(place.home / "predictions/staging") if not one[1].is_probe
        ]
        assert (source.features, source.omitted) == (["c"], ["x"])
        assert entry.features == [[hashed_value(secret.encode(), "c", "north")]]

    def test_a_relative_folder_is_relative_to_the_project(self, place, make_project):
        project = make_project(serving={"prediction_log": {"folder": "kept"}})
        serving = Placement.of(project, "staging", place.home).serving
        found = server_arguments.prediction_folder(serving, place.home, "staging")
        assert found == project.root / "kept/staging"

    def test_the_prediction_log_may_be_disabled_or_in_another_folder(
        self, place, make_bundle, tmp_path
    ):
        bundle, folder = make_bundle(), tmp_path / "elsewhere"
        place.with_changes(prediction_log=PredictionLogSection(folder=folder)).deploy(bundle, 3)
        assert served_version(place.url) == 3
        first = place.status()
        off = place.with_changes(prediction_log=PredictionLogSection(enabled=False))
        second = off.deploy(bundle, 3)
        assert second.pid != first.pid, "other settings are another server"
        place.stop()
        assert list(read(folder / "staging"))
        assert not (place.home / "predictions").exists()


class TestRollover:
    @pytest.mark.parametrize("keep_alive", [True, False])
    def test_refuses_no_connection_and_drops_no_request(self, place, make_bundle, keep_alive):
        place.deploy(make_bundle(), 1)
        with Clients(place.url, keep_alive=keep_alive) as clients:
            time.sleep(0.3)
            place.deploy(make_bundle("b", identity="b", weight=2.0), 2)
            time.sleep(0.3)
        assert clients.errors == []
        assert set(clients.versions) == {1, 2}
        assert clients.versions[-4:] == [2, 2, 2, 2]

    def test_the_old_server_ends_after_a_rollover(self, place, make_bundle):
        first = place.deploy(make_bundle(), 1)
        second = place.deploy(make_bundle("b", identity="b", weight=2.0), 2)
        assert not psutil.pid_exists(first.pid)
        assert place.status() == second
        control = server_records.read(place.state).serving.control
        assert [str(path) for path in (place.home / "servers").glob("*.sock")] == [control]

    def test_a_revert_loses_no_request(self, place, make_bundle):
        first = place.deploy(make_bundle(), 1)
        with Clients(place.url, keep_alive=True) as clients:
            with place.handover(make_bundle("b", identity="b", weight=2.0), 2) as handover:
                assert served_version(place.url) == 2
                assert handover.former == first
                new = handover.deployment
            time.sleep(0.3)
        assert clients.errors == []
        assert served_version(place.url) == 1
        assert place.status() == first
        assert not psutil.pid_exists(new.pid)

    def test_after_a_revert_of_the_first_deployment_nothing_serves(self, place, make_bundle):
        with place.handover(make_bundle(), 1):
            assert served_version(place.url) == 1
        assert place.status() is None
        assert not place.state.exists()


class TestFailure:
    @pytest.mark.parametrize("damage", ["golden", "file"])
    def test_a_bad_bundle_leaves_the_old_one(self, place, make_bundle, damage):
        first = place.deploy(make_bundle(), 1)
        bad = make_bundle("b", identity="b", weight=2.0)
        if damage == "golden":
            falsify_golden(bad)
        else:
            (bad / "model.onnx").write_bytes(b"x")
        with pytest.raises(Refused):
            place.deploy(bad, 2)
        assert place.status() == first
        assert served_version(place.url) == 1
        assert len(list((place.home / "servers").glob("*.sock"))) == 1

    def test_the_error_has_the_last_line_of_the_servers_log(self, place, make_bundle):
        bad = make_bundle()
        falsify_golden(bad)
        with pytest.raises(
            Refused, match=r"did not start: a golden prediction is 0\.8.*staging.log"
        ):
            place.deploy(bad, 2)

    def test_a_damaged_released_copy_is_replaced(self, place, make_bundle):
        bundle = make_bundle()
        first = place.deploy(bundle, 1)
        place.stop()
        (first.bundle / "model.onnx").write_bytes(b"x")
        assert place.deploy(bundle, 1).digest == first.digest

    def test_a_server_that_dies_after_the_switch_is_reverted(self, place, make_bundle, monkeypatch):
        first = place.deploy(make_bundle(), 1)
        from ml_pipeline.traffic import probe

        real = probe.probe

        def dies(url, *rest):
            if url == place.url:
                new = server_records.read(place.state).serving
                os.kill(new.pid, signal.SIGKILL)
            return real(url, *rest)

        monkeypatch.setattr(probe, "probe", dies)
        with pytest.raises(Refused):
            place.deploy(make_bundle("b", identity="b", weight=2.0), 2)
        monkeypatch.undo()
        assert place.status() == first
        assert served_version(place.url) == 1

    def test_an_interrupted_switch_is_recovered_by_the_next_command(self, place, make_bundle):
        first = place.deploy(make_bundle(), 1)
        handover = place.handover(make_bundle("b", identity="b", weight=2.0), 2)
        handover._lock.release()
        handover._decided = True
        second = place.deploy(make_bundle("c", identity="c", weight=3.0), 3)
        assert place.status() == second
        assert not psutil.pid_exists(first.pid)
        assert not psutil.pid_exists(handover.deployment.pid)

    def test_an_invalid_record_is_an_error(self, place, make_bundle):
        place.state.parent.mkdir()
        place.state.write_text('{"schema": "other"}')
        with pytest.raises(EnvironmentFault, match=r"cannot read .*staging\.json"):
            place.deploy(make_bundle(), 1)
        place.state.unlink()


class TestStopAndStatus:
    def test_stop_ends_the_server_and_returns_true(self, place, make_bundle):
        deployment = place.deploy(make_bundle(), 1)
        assert place.stop()
        assert not psutil.pid_exists(deployment.pid)
        assert place.status() is None
        assert not place.stop()

    def test_a_killed_server_is_not_serving(self, place, make_bundle):
        first = place.deploy(make_bundle(), 1)
        os.kill(first.pid, signal.SIGKILL)
        psutil.Process(first.pid).wait(5)
        assert place.status() is None

    def test_a_stopped_process_is_not_serving(self, place, make_bundle):
        deployment = place.deploy(make_bundle(), 1)
        os.kill(deployment.pid, signal.SIGSTOP)
        try:
            assert place.status() is None
        finally:
            os.kill(deployment.pid, signal.SIGCONT)

    def test_a_zombie_that_is_never_reaped_counts_as_ended(self):
        """As in a container without an init process."""
        code = (
            "import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', 'input()'],"
            " stdin=subprocess.PIPE); print(child.pid, flush=True); input()"
        )
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with subprocess.Popen([sys.executable, "-c", code], **pipes) as parent:
            child = psutil.Process(int(parent.stdout.readline()))
            server_process.end(child)
            assert child.status() == psutil.STATUS_ZOMBIE
            parent.communicate("\n")

    def test_a_process_that_reuses_the_pid_is_never_ended(self, place):
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
            started = process_identity.start_of(other.pid)
            server = server_records.ServerRecord(
                pid=other.pid,
                started=started + "0",
                version=1,
                digest="d",
                bundle="b",
                host="127.0.0.1",
                asked_port=place.port,
                port=place.port,
                control=str(place.home / "servers/none.sock"),
                token_env=None,
                settings="",
            )
            assert replace(server, started=started).process() is not None
            place.state.parent.mkdir()
            server_records.write(place.state, EnvironmentRecord(server))
            assert place.status() is None
            assert not place.stop()
            assert other.poll() is None
            other.communicate(b"\n")


class TestMovedHome:
    def test_the_server_of_a_moved_home_is_found_and_replaced(self, place, make_bundle, tmp_path):
        first = place.deploy(make_bundle(), 1)
        moved = place.with_changes(
            home=Home(place.home.root.rename(tmp_path / "moved")), port=place.port
        )
        assert moved.status() == first
        with Clients(place.url, keep_alive=False, pause=0.02) as clients:
            moved.deploy(make_bundle("second", weight=2.0), 2)
        assert clients.errors == []
        assert served_version(place.url) == 2
        assert ended(first.pid)
        assert moved.stop()

    def test_a_link_to_the_home_is_the_same_home(self, place, make_bundle, tmp_path):
        first = place.deploy(make_bundle(), 1)
        (tmp_path / "link").symlink_to(place.home.root)
        linked = place.with_changes(home=Home(tmp_path / "link"), port=place.port)
        assert linked.status() == first
        linked.deploy(make_bundle("second", weight=2.0), 2)
        assert ended(first.pid)
        assert place.status() == linked.status()

    def test_a_copied_home_does_not_touch_the_original_server(self, place, make_bundle, tmp_path):
        first = place.deploy(make_bundle(), 1)
        subprocess.run(["cp", "-a", place.home.root, tmp_path / "copy"], check=True)
        copy = place.with_changes(home=Home(tmp_path / "copy"), port=place.port)
        assert copy.status() is None
        with pytest.raises(UsageError, match=f"held by .* home {re.escape(str(place.home.root))};"):
            copy.deploy(make_bundle("second", weight=2.0), 2)
        assert not copy.stop()
        assert place.status() == first
        assert served_version(place.url) == 1


class TestClockChanges:
    """A process is identified independently of the wall clock."""

    @pytest.mark.parametrize("seconds", [-86_400, 86_400])
    def test_status_handover_and_stop_find_their_server(
        self, place, make_bundle, monkeypatch, seconds
    ):
        first = place.deploy(make_bundle(), 1)
        created = psutil.Process.create_time
        monkeypatch.setattr(psutil.Process, "create_time", lambda one: created(one) + seconds)
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + seconds)
        assert place.status() == first
        second = place.deploy(make_bundle("second", weight=2.0), 2)
        assert second.pid != first.pid
        assert ended(first.pid)
        assert served_version(place.url) == 2
        assert place.stop()
        assert place.status() is None

    def test_a_record_with_a_wall_clock_time_is_verified_over_the_control_socket(
        self, place, make_bundle
    ):
        """Earlier versions recorded seconds since the epoch."""
        deployment = place.deploy(make_bundle(), 1)
        values = json.loads(place.state.read_text())
        del values["serving"]["started"]
        values["serving"]["created"] = psutil.Process(deployment.pid).create_time() - 3600
        place.state.write_text(json.dumps(values))
        assert place.status() == deployment
        assert place.stop()
        assert ended(deployment.pid)


def ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class TestTargets:
    def test_targets_are_loaded_by_name(self):
        target: Target = load_target("process")
        assert isinstance(target, ProcessTarget)
        assert isinstance(load_target("docker"), DockerTarget)

    def test_an_unknown_target_names_the_nearest(self):
        with pytest.raises(UsageError, match="did you mean 'process'"):
            load_target("proces")


class TestInsideContainer:
    def test_the_process_target_refuses_and_names_the_docker_target(
        self, place, make_bundle, monkeypatch
    ):
        monkeypatch.setattr(container_detection, "container_marker", lambda: "/.dockerenv")
        with pytest.raises(UsageError) as caught:
            place.deploy(make_bundle(), 1)
        text = str(caught.value)
        assert "staging: this is a container (/.dockerenv), and a server process would end" in text
        assert "set environments.staging.target to docker" in text
        assert place.status() is None
