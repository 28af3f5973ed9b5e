"""Brings to a machine what the container tests need: packages by apt, and a running engine.

Only with CI=true and as root, on Debian and Ubuntu; otherwise a test is skipped with the command
that would enable it. What was started stays up, since the lanes of a run share it. What fails is
told in a line with what to do, and the other tests that need it are then skipped.
"""

import gc
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

SOCKET = "/var/run/docker.sock"
PID_FILE = Path("/var/run/docker.pid")
LOG = Path(tempfile.gettempdir()) / "ml-pipeline-dockerd.log"
START_SECONDS = 60
APT = ("-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3")
APT_TRIES = 3
APT_PAUSE = 5.0
HOW = "apt-get install docker.io iptables && dockerd &   (as root; CI=true does so itself)"


def ci():
    return os.environ.get("CI") == "true"


def may_install():
    return ci() and os.geteuid() == 0


def lacking(what, command):
    """Skip the test and say how to get what it needs; with CI=true fail instead."""
    text = f"needs {what}: {command}"
    if ci():
        pytest.fail(text)
    pytest.skip(text)


# --- one failure instead of forty -----------------------------------------------------------------

faults = {}
"""What went wrong, by the fixture that could not be made."""


@contextmanager
def told_once(name):
    """The body of the shared fixture ``name``: where it fails, other tests are spared that."""
    try:
        yield
    except pytest.skip.Exception:
        raise
    except BaseException as error:
        faults[name] = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise


def pytest_runtest_setup(item):
    skip_if_failed(item.fixturenames)


def skip_if_failed(names):
    """Skip what needs a shared fixture that failed before: the first test has told why."""
    for name in names:
        if name in faults:
            pytest.skip(f"{name} failed before: {faults[name]}")


# --- packages -------------------------------------------------------------------------------------


def install(*packages, run=subprocess.run, pause=APT_PAUSE):
    """Install packages; an index that cannot be read at once is asked again."""
    by_hand = f"install {' '.join(packages)} by hand"
    if shutil.which("apt-get") is None:
        pytest.fail(f"there is no apt-get: {by_hand}")
    options = {"capture_output": True, "text": True, "check": False, "stdin": subprocess.DEVNULL}
    options["env"] = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    wanted = ["apt-get", "install", "-y", "--no-install-recommends", *APT, *packages]
    for left in reversed(range(APT_TRIES)):
        updated = run(["apt-get", "update", *APT], **options)
        done = run(wanted, **options)
        if done.returncode == 0:
            return
        if left:
            time.sleep(pause)
    lines = [*updated.stderr.splitlines(), *done.stderr.splitlines()]
    last = next((line for line in reversed(lines) if line.startswith("E: ")), "".join(lines[-1:]))
    pytest.fail(f"apt-get install {' '.join(packages)}: {last}; fix apt's sources, or {by_hand}")


# --- the engine -----------------------------------------------------------------------------------


@contextmanager
def sdk_leaves_sockets():
    """The SDK does not close the socket of a connection that fails."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def connect():
    """Return a client of the engine and nothing, or nothing and why there is none."""
    with sdk_leaves_sockets():
        try:
            return docker.from_env(), ""
        except DockerException as error:
            return None, str(error)


def started():
    """Return a client of the engine; bring the engine up where that may be done."""
    client, why = connect()
    if client is not None:
        return client
    host = os.environ.get("DOCKER_HOST")
    if host:
        lacking("the engine of DOCKER_HOST", f"start {host}, or unset DOCKER_HOST; {why}")
    if not may_install():
        lacking("a Docker engine", f"{HOW}; {why}")
    if (pid := running()) is not None:
        client, why = awaited()
        if client is None:
            pytest.fail(
                f"dockerd runs (pid {pid}) and does not answer at {SOCKET} within "
                f"{START_SECONDS} s: {why}; see its log, end it or fix it"
            )
        return client
    if shutil.which("dockerd") is None:
        install("docker.io", "iptables", *(["fuse-overlayfs"] if layered() else []))
    mount_cgroups()
    make_room_in_cgroup()
    fault = start(lambda: connect()[0] is not None)
    if fault is not None:
        pytest.fail(
            f"dockerd does not start: {fault}; all of it is in {LOG}. Start an engine by hand, or "
            "set DOCKER_HOST to one"
        )
    return connect()[0]


def running(pid_file=PID_FILE):
    """Return the number of the dockerd that runs already."""
    try:
        pid = int(pid_file.read_text())
        return pid if Path(f"/proc/{pid}/comm").read_text().strip() == "dockerd" else None
    except (OSError, ValueError):
        return None


def awaited():
    deadline = time.monotonic() + START_SECONDS
    while (found := connect())[0] is None and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


MENDS = (
    (re.compile("iptables|nf_tables|ip6tables"), "legacy"),
    (re.compile("iptables|nf_tables|ip6tables"), "--iptables=false"),
    (re.compile("storage|graphdriver|overlay|snapshotter"), "--storage-driver=vfs"),
)
"""What may be wrong with a machine by the words of the log, and how dockerd does without."""


def start(answers, log=LOG, seconds=START_SECONDS):
    """Start dockerd so that it stays up; return None, or the line of its log that says why not."""
    options, environment, left = [], dict(os.environ), list(MENDS)
    while True:
        fault = attempt(["dockerd", *options], environment, answers, log, seconds)
        if fault is None:
            return None
        repair = next((repair for repair in left if repair[0].search(fault)), None)
        if repair is None:
            return fault
        left.remove(repair)
        if repair[1] == "legacy":
            environment["PATH"] = f"{legacy_iptables()}:{environment['PATH']}"
        else:
            options.append(repair[1])


LAUNCHER = """
import contextlib, os, subprocess, sys
if os.fork():
    os._exit(0)
os.setsid()
with contextlib.suppress(BrokenPipeError):
    process = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
    print(process.pid, flush=True)
    print(process.wait(), flush=True)
"""
"""Starts a program that is no descendant of this process, and writes its pid and exit code."""


def attempt(command, environment, answers, log, seconds):
    with log.open("ab") as stream:
        before = stream.tell()
        launcher = subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=environment,
            bufsize=0,  # select sees what was not read yet
        )
    with launcher:
        pid = int(launcher.stdout.readline())
        deadline = time.monotonic() + seconds
        while not (ended := has_output(launcher.stdout)) and time.monotonic() < deadline:
            if answers():
                return None
            time.sleep(0.2)
        if not ended:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        code = int(launcher.stdout.readline())
    if not ended:
        code = f"no answer within {seconds} s"
    return decisive(log.read_bytes()[before:].decode(errors="replace")) or f"exit code {code}"


def has_output(stream):
    return bool(select.select([stream], [], [], 0)[0])


def decisive(log):
    """Return the line of a dockerd's log that says why it ended."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for mark in ("failed to start daemon", "level=fatal", "level=error", ""):
        found = [line for line in lines if mark in line]
        if found:
            told = re.search(r'msg="((?:[^"\\]|\\.)*)"', found[-1])
            return told[1] if told else found[-1]
    return ""


def legacy_iptables():
    """Return a folder in which iptables is the one that does not need nf_tables."""
    folder = Path(tempfile.mkdtemp(prefix="ml-pipeline-iptables-"))
    for name in ("iptables", "ip6tables"):
        for suffix in ("", "-save", "-restore"):
            program = shutil.which(f"{name}-legacy{suffix}")
            if program is not None:
                (folder / f"{name}{suffix}").symlink_to(program)
    return folder


def layered(place=Path("/var/lib")):
    """Whether layers on top of layers need fuse: overlayfs does not lie on itself."""
    told = subprocess.run(
        ["stat", "-f", "-c", "%T", str(place)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip() == "overlayfs" and Path("/dev/fuse").exists()


def mount_cgroups():
    """Mount the control groups where nobody has, as in a chroot: those that the kernel uses."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    if any(mount[2] in ("cgroup", "cgroup2") for mount in mounts):
        return
    root = Path("/sys/fs/cgroup")
    groups = {}
    for line in Path("/proc/cgroups").read_text().splitlines()[1:]:
        name, hierarchy = line.split()[:2]
        groups.setdefault(hierarchy, []).append(name)
    groups.pop("0", None)
    if not groups:
        mount("cgroup2", root)
        return
    mount("tmpfs", root)
    for names in groups.values():
        folder = root / ",".join(names)
        folder.mkdir()
        mount("cgroup", folder, ",".join(names))


def mount(kind, place, options="rw"):
    command = ["mount", "-t", kind, "-o", options, kind, str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}: {done.stderr.strip()}; mount the control groups by hand")


def make_room_in_cgroup(root=Path("/sys/fs/cgroup")):
    """Move this container's processes into a group of their own.

    In version 2 a group that holds processes cannot hand its controllers on, and a container's
    processes lie in what it sees as the root. The machine's own root is free of that rule.
    """
    if not (root / "cgroup.type").exists():
        return
    inner = root / "init"
    inner.mkdir(exist_ok=True)
    for pid in (root / "cgroup.procs").read_text().split():
        try:
            (inner / "cgroup.procs").write_text(pid)
        except ProcessLookupError:
            continue  # ended meanwhile
    controllers = (root / "cgroup.controllers").read_text().split()
    (root / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in controllers))
