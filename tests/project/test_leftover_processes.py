"""Leftover processes of a project's code are ended; those of other programs are not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ml_pipeline.config import Project
from ml_pipeline.core import supervisor
from ml_pipeline.core.home import Home
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.project.isolation import isolated_copy
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.pytest_runner import Request, run_pytest

SECONDS = 60
"""After which a process of these tests ends by itself."""
on_linux = pytest.mark.skipif(not supervisor.LINUX, reason="Linux's prctl")


@pytest.fixture
def project(make_project) -> Project:
    return make_project()


@pytest.fixture
def protected(project) -> Protected:
    workdir = Workdir(project.root / "build/ml")
    workdir.make()
    return Protected(project, workdir, Home(project.root.parent / "home"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS / 2
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def pids(folder: Path, count: int = 1) -> list[int]:
    """Return the pids of processes that each made a file of that name."""
    wait_until(lambda: len(list(folder.glob("pid-*"))) == count)
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


SLEEP = f"""
import os, pathlib, signal, time
def sleep(folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(folder, f"pid-{{os.getpid()}}").touch()
    time.sleep({SECONDS})
    os._exit(0)
"""

DAEMON = f"""{SLEEP}
import sys
input()
if os.fork() == 0:
    os.setsid()
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.01)
        sleep(sys.argv[1])
    os._exit(0)
os.wait()
time.sleep({SECONDS})
"""


@pytest.fixture
def daemon(tmp_path) -> Iterator[Callable[[], int]]:
    """A process started earlier that has nothing to do with the project's code.

    When it is called it starts a process whose parent ends at once, as containerd does; that
    one's pid is returned.
    """
    folder = tmp_path / "daemon"
    folder.mkdir()
    process = subprocess.Popen([sys.executable, "-c", DAEMON, folder], stdin=subprocess.PIPE)

    def start() -> int:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        return pids(folder)[0]

    with process:
        yield start
        for pid in pids(folder):
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
        process.kill()


def test_processes_of_an_unrelated_daemon_keep_running(protected, daemon):
    with protected.detect_changes(), isolated_copy(protected) as place:
        pid = daemon()
        subprocess.run(place.command([sys.executable, "-c", "pass"]), check=True)
    assert is_running(pid)


LEFT = {
    "a child": "if os.fork() == 0: sleep(FOLDER)",
    "in a session of its own": "if os.fork() == 0: os.setsid(); sleep(FOLDER)",
    "whose parent has ended": """
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0: sleep(FOLDER)
            os._exit(0)
        os.wait()
    """,
    "with an empty environment": """
        code = sys.argv[2] + f"\\nsleep({FOLDER!r})"
        subprocess.Popen([sys.executable, "-c", code], env={}, start_new_session=True)
    """,
    "a whole tree": """
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0: sleep(FOLDER)
                sleep(FOLDER)
        COUNT = 6
    """,
}
PROGRAM = """
import subprocess, sys
exec(sys.argv[2])
FOLDER, COUNT = sys.argv[1], 1
{code}
while len(list(pathlib.Path(FOLDER).glob("pid-*"))) < COUNT:
    time.sleep(0.01)
{end}
"""


def program(folder: Path, code: str, end: str = "") -> list[str]:
    """Return a program that starts processes and, when all of them run, goes on with ``end``."""
    text = PROGRAM.format(code=textwrap.dedent(code), end=end)
    return [sys.executable, "-c", text, str(folder), SLEEP]


@on_linux
class TestLeftoverProcesses:
    @pytest.fixture(params=["confined", "not confined"], autouse=True)
    def confinement(self, request):
        if request.param == "not confined":
            request.getfixturevalue("without_landlock")

    @pytest.fixture
    def place(self, protected):
        with isolated_copy(protected) as place:
            yield place

    @pytest.mark.parametrize("left", LEFT)
    def test_are_ended_before_the_command_ends(self, place, left):
        done = subprocess.run(
            place.command(program(place.out, LEFT[left], "sys.exit(3)")),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (3, "")
        assert not any(map(is_running, pids(place.out, 6 if left == "a whole tree" else 1)))

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    def test_are_ended_by_a_signal_to_the_supervisor(self, place, number):
        """SIGKILL is what ``subprocess.run`` sends at a timeout."""
        process = subprocess.Popen(
            place.command(program(place.out, LEFT["a whole tree"], "sleep(FOLDER)"))
        )
        result = pids(place.out, 7)
        process.send_signal(number)
        assert process.wait() == -number
        wait_until(lambda: not any(map(is_running, result)))

    def test_are_ended_when_the_pipeline_is_killed(self, place):
        code = (
            "import json, os, subprocess, sys; sys.stdin.close()\n"
            "command = json.loads(sys.argv[1])\n"
            "command[command.index('PARENT')] = str(os.getpid())\n"
            "subprocess.run(command)"
        )
        command = place.command(program(place.out, LEFT["a child"], "sleep(FOLDER)"))
        command[command.index(str(os.getpid()))] = "PARENT"
        with subprocess.Popen([sys.executable, "-c", code, json.dumps(command)]) as pipeline:
            result = pids(place.out, 2)
            pipeline.kill()
        wait_until(lambda: not any(map(is_running, result)))


def supervised(code: str, setup: str = "pass") -> subprocess.CompletedProcess[str]:
    """Run Python code supervised, after some of the supervisor's settings were changed."""
    main = f"import sys; from ml_pipeline.core import supervisor; {setup}; "
    main += "sys.exit(supervisor.main(sys.argv[1:]))"
    program = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(
        [sys.executable, "-c", main, str(os.getpid()), *program],
        capture_output=True,
        text=True,
        check=False,
    )


class TestExitCode:
    @pytest.mark.parametrize("code", [0, 1, 5, 255, -signal.SIGKILL, -signal.SIGSEGV, -1])
    def test_is_that_of_the_program(self, code):
        end = f"os._exit({code})" if code >= 0 else f"os.kill(os.getpid(), {-code})"
        assert supervised(f"import os; {end}").returncode == code

    def test_of_a_program_that_does_not_start(self):
        done = subprocess.run(
            supervisor.command(["/no/program"]), capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (
            supervisor.FAILED,
            "cannot run the project's code: [Errno 2] No such file or directory: '/no/program'\n",
        )

    def test_nothing_runs_without_the_waiting_parent(self):
        command = supervisor.command([sys.executable, "-c", "print('ran')"])
        command[command.index(str(os.getpid()))] = "1"
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (supervisor.FAILED, "")

    @on_linux
    def test_if_a_leftover_process_cannot_be_ended(self):
        code = "import os, time\nif os.fork() == 0: os.closerange(0, 3); time.sleep(5)"
        done = supervised(code, "supervisor.END_SECONDS = -1")
        assert done.returncode == supervisor.FAILED
        assert "what it left running did not end in -1 s" in done.stderr

    def test_without_a_subreaper_the_process_group_is_ended(self, tmp_path):
        code = f"""
            {SLEEP.strip().replace(chr(10), chr(10) + " " * 12)}
            if os.fork() == 0: sleep({str(tmp_path)!r})
            while not list(pathlib.Path({str(tmp_path)!r}).glob("pid-*")):
                time.sleep(0.01)
        """
        assert supervised(code, "supervisor.LINUX = False").returncode == 0
        wait_until(lambda: not any(map(is_running, pids(tmp_path))))

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux's /proc")
    def test_the_program_has_the_original_signal_handlers(self):
        read = (
            "print(*[line for line in open('/proc/self/status') if line[:4] in ('SigB', 'SigI')])"
        )
        direct = subprocess.check_output([sys.executable, "-c", read], text=True)
        assert supervised(read).stdout == direct


@on_linux
@pytest.mark.usefixtures("without_landlock")
@pytest.mark.parametrize("killed", ["os.getppid()", "OUTER", "OUTER, os.getppid()"])
def test_tests_that_kill_their_supervisor_do_not_pass(project, protected, killed):
    """Where signals are not confined: without Landlock, and before its ABI 6."""
    code = f"""
        import atexit, os, signal
        with open(f"/proc/{{os.getppid()}}/stat") as stream:
            OUTER = int(stream.read().rpartition(")")[2].split()[1])

        def kill():
            for pid in [{killed}]:
                os.kill(pid, signal.SIGKILL)

        atexit.register(kill)

        def test_it():
            pass
    """
    (project.root / "tests").mkdir()
    (project.root / "tests/test_it.py").write_text(textwrap.dedent(code))
    log = project.root.parent / "log"
    result = run_pytest(project, Request("unit", Path("tests"), log), protected)
    assert result.exit_code == -signal.SIGKILL
    assert result.faults == ["pytest died with exit code -9"]
