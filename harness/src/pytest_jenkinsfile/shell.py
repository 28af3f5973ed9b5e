"""Replies of a scenario to ``sh``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from pytest_jenkinsfile.errors import HarnessError


@dataclass(frozen=True)
class Sh:
    """The result of a command, which takes ``seconds`` of the scenario's clock."""

    status: int = 0
    stdout: str = ""
    seconds: float = 0


@dataclass(frozen=True)
class ShCall:
    """A call of ``sh``: files may be read and written under ``workspace``."""

    script: str
    label: str | None
    cwd: Path
    workspace: Path
    stage: str | None
    branch: str | None
    node: str | None
    container: str | None
    environment: Mapping[str, str]
    build: int


# A result, an exit status, an output, None (status 0), a list of replies in turn, or a function.
Reply = Union[Sh, int, str, None, list["Reply"], Callable[[ShCall], "Reply"]]  # noqa: UP007  recursive

Shell = Callable[[ShCall], Reply] | Mapping[str, Reply]


class ShellReplies:
    """Replies to ``sh`` by a function, or by the first regular expression found in the script."""

    def __init__(self, shell: Shell | None) -> None:
        self._shell = shell
        self._turns: dict[str, int] = {}

    def reply(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return the response to a request of an ``sh`` step.

        Raises:
            HarnessError: a mapping has no pattern for the script.
        """
        call = ShCall(
            script=request["script"],
            label=request["label"],
            cwd=Path(request["cwd"]),
            workspace=Path(request["workspace"]),
            stage=request["stage"],
            branch=request["branch"],
            node=request["node"],
            container=request["container"],
            environment=request["environment"],
            build=request["build"],
        )
        result = self._result(call)
        return {"status": result.status, "stdout": result.stdout, "seconds": result.seconds}

    def _result(self, call: ShCall) -> Sh:
        if self._shell is None:
            return Sh()
        if callable(self._shell):
            return self._to_sh(self._shell, call, "")
        for pattern, reply in self._shell.items():
            if re.search(pattern, call.script):
                return self._to_sh(reply, call, pattern)
        raise HarnessError(
            f"the scenario has no reply for sh {call.script!r}",
            expected="a pattern of sh={...} that matches",
        )

    def _to_sh(self, reply: Reply, call: ShCall, key: str) -> Sh:
        if isinstance(reply, Sh):
            return reply
        if reply is None:
            return Sh()
        if isinstance(reply, int):
            return Sh(status=int(reply))
        if isinstance(reply, str):
            return Sh(stdout=reply)
        if isinstance(reply, list):
            turn = self._turns.get(key, 0)
            self._turns[key] = turn + 1
            return self._to_sh(reply[min(turn, len(reply) - 1)], call, f"{key}/{turn}")
        return self._to_sh(reply(call), call, key)
