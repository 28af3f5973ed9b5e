"""Confines a program, and all that it starts, to writing below some folders, by Linux's Landlock.

``python -I -S confinement.py RULES PROGRAM ARGUMENT...`` gives up the rights and becomes the
program. It does so in a process of its own: what is given up cannot be taken back. It needs no
privileges, imports the standard library only, and holds for root too.

What Landlock does not restrict: modes, owners, times and extended attributes of files, and
connecting to a Unix socket that has a path (before ABI 9), that of Docker among them.
"""

from __future__ import annotations

import ctypes
import json
import os
import stat
import struct
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

MIN_ABI = 3
"""Linux 6.2. Before it, files outside could be emptied by truncate(2)."""
SCOPES_ABI = 6
"""Linux 6.12: no signals to, and no abstract sockets of, processes outside."""
FAILED = 125
"""Exit code where the rights could not be given up: the program did not run."""

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on every architecture but Alpha."""
VERSION, PATH_BENEATH = 1, 1
SET_NO_NEW_PRIVS, DROP_CAPABILITY = 38, 24
CAPABILITIES = {
    "DAC_READ_SEARCH": 2,
    "SYS_MODULE": 16,
    "SYS_RAWIO": 17,
    "SYS_PTRACE": 19,
    "SYS_ADMIN": 21,
    "SYS_BOOT": 22,
    "MKNOD": 27,
    "PERFMON": 38,
    "BPF": 39,
}
"""Taken from root too: with one of them it reads or changes processes outside, or the kernel."""

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_DIR, REMOVE_FILE = (1 << n for n in range(6))
MAKE_CHAR, MAKE_DIR, MAKE_REG, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (
    1 << n for n in range(6, 13)
)
REFER, TRUNCATE = 1 << 13, 1 << 14
HANDLED = (1 << 15) - 1
SCOPED = 0b11
"""Abstract Unix sockets, signals."""

DEVICES = MAKE_CHAR | MAKE_BLOCK
"""Not allowed anywhere: through a device node root could write to the disk."""
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
WRITABLE_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm")
GRAPHICS = ("nvidia*", "dri", "dxg", "kfd")


@dataclass(frozen=True)
class Rules:
    """What the confined program may do beside reading everything that is not hidden.

    Attributes:
        writable: folders and files. Links are followed now, never when the program runs.
        hidden: files and folders that it cannot read either.
    """

    writable: tuple[Path, ...]
    hidden: tuple[Path, ...] = ()


def abi() -> int:
    """Return the version of Landlock that this system has; 0 where it has none that is enough."""
    if not sys.platform.startswith("linux"):
        return 0
    found = _call(CREATE_RULESET, None, 0, VERSION)
    return found if found >= MIN_ABI else 0


def command(rules: Rules, program: Sequence[str]) -> list[str]:
    """Return the command that runs ``program`` confined; ``program`` itself without Landlock."""
    if not abi():
        return list(program)
    values = {  # absolute: the program may start in another folder
        "writable": [*map(os.path.realpath, rules.writable)],
        "hidden": [*map(os.path.realpath, rules.hidden)],
    }
    return [sys.executable, "-I", "-S", __file__, json.dumps(values), *program]


def confine(rules: Rules) -> None:
    """Give up the rights, for good.

    Raises:
        OSError: the system does not do it, or a folder that is to be writable is not there.
    """
    scoped = SCOPED if abi() >= SCOPES_ABI else 0
    content = ctypes.create_string_buffer(struct.pack("=QQQ", HANDLED, 0, scoped), 24)
    ruleset = _checked("landlock_create_ruleset", CREATE_RULESET, content, 24, 0)
    _allow(ruleset, "/", READ_DIR | EXECUTE)
    for readable in _readable(frozenset(os.path.realpath(path) for path in rules.hidden)):
        _allow(ruleset, readable, READ_FILE, lenient=True)
    for path in rules.writable:
        _allow(ruleset, str(path), HANDLED & ~DEVICES)
    for device in _devices():
        _allow(ruleset, device, HANDLED & ~DEVICES & ~EXECUTE, lenient=True)
    for capability in CAPABILITIES.values():
        _libc().prctl(DROP_CAPABILITY, capability, 0, 0, 0)  # refused to who has none anyway
    if _libc().prctl(SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS)")
    _checked("landlock_restrict_self", RESTRICT_SELF, ruleset, 0, 0)
    os.close(ruleset)


def main(arguments: Sequence[str]) -> int:
    values = json.loads(arguments[0])
    program = list(arguments[1:])
    try:
        if os.getsid(0) != os.getpid():
            os.setsid()  # no terminal of this session: by ioctl it takes input for the shell
        confine(Rules(tuple(map(Path, values["writable"])), tuple(map(Path, values["hidden"]))))
        os.execv(program[0], program)  # noqa: S606  no shell is wanted
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]} confined by Landlock: {error}\n")
    return FAILED


def _readable(hidden: frozenset[str]) -> Iterator[str]:
    """Yield paths that together contain every file except the hidden ones.

    Links are left out: their targets are below another path, or hidden.
    """
    if not hidden:
        yield "/"
        return
    waiting = ["/"]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                found = list(entries)
        except OSError:
            continue  # this user reads nothing there
        for entry in found:
            if entry.path in hidden or entry.is_symlink():
                continue
            if any(path.startswith(f"{entry.path}/") for path in hidden):
                waiting.append(entry.path)
            else:
                yield entry.path


def _devices() -> Iterator[str]:
    yield from (f"/dev/{name}" for name in WRITABLE_DEVICES)
    for pattern in GRAPHICS:
        yield from map(str, Path("/dev").glob(pattern))


def _allow(ruleset: int, path: str, rights: int, *, lenient: bool = False) -> None:
    """Add the rights on a file, or on all below a folder; lenient: unless it is not there."""
    try:
        handle = os.open(path, getattr(os, "O_PATH", 0) | os.O_CLOEXEC)
    except OSError:
        if lenient:
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= OF_FILES
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle), 12)
        _checked(f"landlock_add_rule {path}", ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
    finally:
        os.close(handle)


def _checked(name: str, number: int, *arguments: object) -> int:
    found = _call(number, *arguments)
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
    return found


def _call(number: int, *arguments: object) -> int:
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    function = _libc().syscall
    function.restype = ctypes.c_long
    return int(function(ctypes.c_long(number), *given))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
