"""Runs a program and terminates every process that it leaves running, and no other.

``python -I -S supervisor.py PARENT PROGRAM ARGUMENT...`` ends with the program's exit code or
signal. It imports the standard library only, and runs outside of what confines the program
(``ml_pipeline.core.landlock``). PARENT is the process that waits for it: its end ends the program.

On Linux the supervisor is a child subreaper: what the program started becomes the supervisor's
child when its own parent ends, whatever its session and environment are. There are two, one the
child of the other: if one is killed, as a timeout does, the other ends what is left. Other systems
have no subreaper: there the process group of the program is ended.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

LINUX = sys.platform.startswith("linux")
FAILED = 125
"""Exit code where the program did not run, or where what it left cannot be ended."""
END_SECONDS = 10.0
POLL_SECONDS = 0.002
PARENT_SECONDS = 0.5
"""Interval of looking for the parent where the system does not signal its end."""
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Signals that end the program and what it started."""
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
SET_PDEATHSIG, SET_DUMPABLE, SET_CHILD_SUBREAPER = 1, 4, 36
"""Of Linux's prctl."""

Run = Callable[[int], int]
"""The body of a process: takes the pid of its parent and returns the exit code."""


def command(program: Sequence[str]) -> list[str]:
    """Return the command by which this process runs the program supervised."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *program]


def main(arguments: Sequence[str]) -> int:
    parent, program = int(arguments[0]), list(arguments[1:])
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _awaited())

    def become_program(supervisor: int) -> int:
        _end_with(supervisor, signal.SIGKILL)
        os.setsid()
        for number in IGNORED_BY_PYTHON:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            os.execv(program[0], program)  # noqa: S606  no shell is wanted
        except OSError as error:
            raise OSError(error.errno, error.strerror, program[0]) from None

    def supervise_program(supervisor: int) -> int:
        return _supervise(supervisor, become_program)

    return _reporting(
        lambda given: _supervise(given, supervise_program if LINUX else become_program), parent
    )


def _reporting(run: Run, parent: int) -> int:
    try:
        return run(parent)
    except OSError as error:
        sys.stderr.write(f"cannot run the project's code: {error}\n")
        return FAILED


def _supervise(parent: int, run: Run) -> int:
    """Run a function in a child and return its exit code, with nothing left that it started.

    A signal that ended the child ends this process too.

    Raises:
        OSError: the system does not let this process supervise, or end what is left.
    """
    _end_with(parent, signal.SIGTERM)
    if LINUX:
        _prctl(SET_CHILD_SUBREAPER, 1)
        _prctl(SET_DUMPABLE, 0)  # the program cannot trace this process
    else:
        signal.setitimer(signal.ITIMER_REAL, PARENT_SECONDS, PARENT_SECONDS)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # where it is ignored, no child is reported
    me = os.getpid()
    child = os.fork()
    if child == 0:
        os._exit(_reporting(run, me))
    code = _wait(child, parent)
    _end_all(child)
    if code < 0:
        _die_of(-code)
    return code


def _wait(child: int, parent: int) -> int:
    """Return the child's exit code, or the signal to end by, as a negative number."""
    awaited = _awaited()
    while True:
        number = signal.sigwait(awaited)
        if number in ENDING:
            return -number
        with suppress(ChildProcessError):
            for pid, status in _reaped():
                if pid == child:
                    return os.waitstatus_to_exitcode(status)
        if os.getppid() != parent:
            return -signal.SIGTERM


def _awaited() -> list[signal.Signals]:
    """Return the signals that wake this process; ignored ones (``nohup``) stay ignored."""
    others = [each for each in ENDING[1:] if signal.getsignal(each) is not signal.SIG_IGN]
    return [signal.SIGCHLD, signal.SIGALRM, signal.SIGTERM, *others]


def _reaped() -> Iterator[tuple[int, int]]:
    """Yield pid and status of each child that has ended.

    Raises:
        ChildProcessError: there is no child any more.
    """
    while (found := os.waitpid(-1, os.WNOHANG))[0]:
        yield found


def _end_all(child: int) -> None:
    """End the children, and those that become children by that, until there are none."""
    deadline = time.monotonic() + END_SECONDS
    with suppress(ChildProcessError):
        while True:
            if not LINUX:
                with suppress(ProcessLookupError, PermissionError):  # there is no such group
                    os.killpg(child, signal.SIGKILL)
            for _ in _reaped():
                continue
            if time.monotonic() > deadline:
                raise TimeoutError(f"what it left running did not end in {END_SECONDS:g} s")
            for pid in _children() if LINUX else ():
                with suppress(PermissionError):  # it took another user; the deadline reports it
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)


def _children() -> Iterator[int]:
    """Yield the children of this process. Their pids are theirs until this process reaps them."""
    me = os.getpid()
    for name in os.listdir("/proc"):  # noqa: PTH208  pathlib takes longer to import
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as stream:  # noqa: PTH123
                    content = stream.read()
            except OSError:
                continue  # it has ended
            if int(content.rpartition(b")")[2].split()[1]) == me:
                yield int(name)


def _end_with(parent: int, number: signal.Signals) -> None:
    """Get the signal when the parent ends (Linux).

    Raises:
        ProcessLookupError: it has ended.
    """
    if LINUX:
        _prctl(SET_PDEATHSIG, number)
    if os.getppid() != parent:
        raise ProcessLookupError(f"process {parent}, which waits for it, has ended")


def _die_of(number: int) -> None:
    with suppress(OSError):  # SIGKILL has no handler
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    os.kill(os.getpid(), number)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, f"prctl {option}: {os.strerror(error)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
