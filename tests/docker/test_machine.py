"""tests/docker/machine.py: what it does on a machine without an engine, with programs that play."""

import contextlib
import os
import signal
import stat
import sys

import psutil
import pytest

from tests.docker import engine as images
from tests.docker import machine

IPTABLES = (
    'level=info msg="Starting up"\n'
    'time="x" level=warning msg="could not change group"\n'
    "failed to start daemon: Error initializing network controller: iptables failed: exit status 4"
)
STORAGE = "failed to start daemon: error initializing graphdriver: driver not supported"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Write programs of Python that are found before the machine's, and return how."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def write(name, code):
        file = folder / name
        file.write_text(f"#!{sys.executable}\nimport os, shutil, sys, time\n{code}\n")
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
        return file

    return write


@pytest.fixture
def start(tmp_path, programs):
    """Start a dockerd of this code, which is up when it has made the file UP."""
    up = tmp_path / "up"
    pids = []

    def start(code, seconds=10):
        record = f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))"
        programs("dockerd", f"UP = {str(up)!r}\n{record}\n{code}")
        fault = machine.start(up.exists, tmp_path / "log", seconds)
        if fault is None:
            pids.append(int((tmp_path / "pid").read_text()))
        return fault

    yield start
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


RUNS = "open(UP, 'w').write(' '.join(sys.argv[1:])); time.sleep(60)"


class TestStart:
    def test_a_started_dockerd_keeps_running(self, start, tmp_path):
        assert start(RUNS) is None
        assert (tmp_path / "up").read_text() == ""
        os.kill(int((tmp_path / "pid").read_text()), 0)

    def test_dockerd_is_no_descendant_of_this_process(self, start, tmp_path):
        """What ends the processes that a test started must not end the engine of other tests."""
        assert start(RUNS) is None
        dockerd = psutil.Process(int((tmp_path / "pid").read_text()))
        assert os.getpid() not in [parent.pid for parent in dockerd.parents()]

    def test_without_nf_tables_it_gets_the_other_iptables(self, start, programs, tmp_path):
        programs("iptables-legacy", "")
        code = f"if not os.path.islink(shutil.which('iptables')): sys.exit({IPTABLES!r})\n{RUNS}"
        assert start(code) is None
        assert (tmp_path / "up").read_text() == ""

    def test_without_any_iptables_it_goes_without_rules(self, start, tmp_path):
        assert start(f"if not sys.argv[1:]: sys.exit({IPTABLES!r})\n{RUNS}") is None
        assert (tmp_path / "up").read_text() == "--iptables=false"

    def test_without_a_storage_driver_it_copies(self, start, tmp_path):
        assert start(f"if not sys.argv[1:]: sys.exit({STORAGE!r})\n{RUNS}") is None
        assert (tmp_path / "up").read_text() == "--storage-driver=vfs"

    def test_the_error_has_the_decisive_line_of_the_log(self, start, tmp_path):
        (tmp_path / "log").write_text("failed to start daemon: of yesterday\n")
        log = "level=error msg=other\nfailed to start daemon: Devices cgroup isn't mounted\nbye"
        assert start(f"sys.exit({log!r})") == (
            "failed to start daemon: Devices cgroup isn't mounted"
        )

    def test_a_dockerd_that_hangs_is_ended(self, start, tmp_path):
        code = 'print(\'level=error msg="waiting for \\\\"x\\\\""\', flush=True); time.sleep(60)'
        assert start(code, seconds=1.5) == 'waiting for \\"x\\"'
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)

    def test_a_dockerd_without_output(self, start):
        assert start("sys.exit(7)") == "exit code 7"


class TestStarted:
    """What a test is told that finds no engine."""

    @pytest.fixture(autouse=True)
    def nowhere(self, monkeypatch):
        monkeypatch.setattr(machine, "connect", lambda: (None, "connection refused"))
        monkeypatch.setattr(machine, "START_SECONDS", 0)
        monkeypatch.setattr(machine, "may_install", lambda: True)
        monkeypatch.setenv("CI", "true")
        monkeypatch.delenv("DOCKER_HOST", raising=False)

    def failure(self):
        with pytest.raises(pytest.fail.Exception) as caught:
            machine.started()
        return str(caught.value)

    def test_a_configured_engine_is_not_replaced(self, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "tcp://engine:2376")
        assert "start tcp://engine:2376, or unset DOCKER_HOST" in self.failure()

    def test_a_running_engine_that_does_not_respond(self, monkeypatch):
        monkeypatch.setattr(machine, "running", lambda: 42)
        assert "dockerd runs (pid 42) and does not answer" in self.failure()

    def test_an_engine_that_does_not_start(self, programs, monkeypatch, tmp_path):
        programs("dockerd", "sys.exit('failed to start daemon: no')")
        for name in ("mount_cgroups", "make_room_in_cgroup"):
            monkeypatch.setattr(machine, name, lambda: None)
        monkeypatch.setattr(machine, "running", lambda: None)
        monkeypatch.setattr(machine.start, "__defaults__", (tmp_path / "log", 10))
        assert "dockerd does not start: failed to start daemon: no" in self.failure()

    def test_without_permission_the_error_has_the_commands(self, monkeypatch):
        monkeypatch.setattr(machine, "may_install", lambda: False)
        assert "apt-get install docker.io" in self.failure()
        monkeypatch.delenv("CI")
        with pytest.raises(pytest.skip.Exception, match=r"apt-get install docker\.io"):
            machine.started()

    def test_a_process_that_reuses_the_pid_is_no_engine(self, tmp_path):
        file = tmp_path / "docker.pid"
        assert machine.running(file) is None
        file.write_text(f"{os.getpid()}\n")
        assert machine.running(file) is None


class TestInstall:
    def test_a_failed_package_index_is_retried(self, programs, tmp_path):
        count = f"path = {str(tmp_path / 'count')!r}\nopen(path, 'a').write('x')"
        code = f"{count}\nsys.exit(len(open(path).read()) < 4 and 'E: not now' or 0)"
        programs("apt-get", code)
        machine.install("thing", pause=0)
        assert (tmp_path / "count").read_text() == "xxxx"  # update and install, twice

    def test_the_error_has_the_decisive_line_of_apt(self, programs):
        programs("apt-get", "sys.exit('E: Unable to locate package thing\\nother')")
        with pytest.raises(pytest.fail.Exception) as caught:
            machine.install("thing", pause=0)
        assert str(caught.value) == (
            "apt-get install thing: E: Unable to locate package thing; fix apt's sources, or "
            "install thing by hand"
        )


class TestReportedOnce:
    def test_the_tests_after_the_first_are_skipped(self, monkeypatch):
        monkeypatch.setattr(machine, "faults", {})
        with pytest.raises(pytest.fail.Exception), machine.told_once("engine"):
            pytest.fail("dockerd does not start: no\nmore")

        with pytest.raises(pytest.skip.Exception, match="engine failed before: dockerd does not"):
            machine.skip_if_failed(["tmp_path", "engine"])

    def test_a_skip_is_no_failure(self, monkeypatch):
        monkeypatch.setattr(machine, "faults", {})
        with pytest.raises(pytest.skip.Exception), machine.told_once("engine"):
            pytest.skip("needs an engine")
        assert machine.faults == {}


class TestCgroup:
    def test_the_processes_of_a_container_get_their_own_group(self, tmp_path):
        (tmp_path / "init").mkdir()
        for name, text in (
            ("cgroup.type", "domain"),
            ("cgroup.procs", "1\n"),
            ("cgroup.controllers", "cpu memory"),
        ):
            (tmp_path / name).write_text(text)
        machine.make_room_in_cgroup(tmp_path)
        assert (tmp_path / "init/cgroup.procs").read_text() == "1"
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"

    def test_the_root_group_of_a_host_is_not_changed(self, tmp_path):
        machine.make_room_in_cgroup(tmp_path)
        assert list(tmp_path.iterdir()) == []


class TestMirrors:
    @pytest.mark.parametrize(
        ("targets", "mirrors"),
        [
            (
                (
                    "Debian bookworm main http://m.example/debian/\n"
                    "Debian bookworm main http://m.example/debian/\n"
                    "Debian bookworm-security main http://m.example/security/\n"
                    "Debian bookworm contrib http://m.example/debian/\n"
                    "other bookworm main http://elsewhere.example/\n"
                ),
                [
                    "deb http://m.example/debian/ bookworm main",
                    "deb http://m.example/security/ bookworm-security main",
                ],
            ),
            (
                (
                    "Debian trixie-updates main http://m.example/up/\n"
                    "Debian trixie main http://m.example/debian/\n"
                ),
                ["deb http://m.example/debian/ bookworm main"],
            ),
            ("Ubuntu noble main http://u.example/ubuntu/\n", []),
        ],
    )
    def test_mirrors_follow_the_machines_sources(self, monkeypatch, targets, mirrors):
        monkeypatch.setattr(images, "told_by", lambda *command: targets.splitlines())
        assert images.mirrors() == mirrors

    def test_proxies_and_certificates_of_apt_are_used(self, monkeypatch):
        told = [
            'Acquire::http::Proxy "http://proxy.example:3142";',
            'Acquire::https::m.example::Proxy "DIRECT";',
            'Acquire::https::CaInfo "";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::IndexTargets "";',
            'DPkg::Post-Invoke:: "rm x";',
        ]
        monkeypatch.setattr(images, "told_by", lambda *command: told)
        assert images.apt_options() == [f"--aptopt={told[each]}" for each in (0, 1, 3)]
