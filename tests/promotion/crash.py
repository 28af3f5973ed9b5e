"""A promotion in a process of its own that ends itself, by SIGKILL, at a named point."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_pipeline.approval.policy import Policy
from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.journal import FaultHook, no_faults
from ml_pipeline.promotion.promote import Promotion, promote
from ml_pipeline.promotion.rollback import rollback
from ml_pipeline.promotion.switch import SwitchResult
from ml_pipeline.registry.registry import Registry
from ml_pipeline.serving import control_socket
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.process import server_process
from ml_pipeline.targets.process.target import ProcessTarget
from securesystemslib.signer import SSlibKey


@dataclass(frozen=True)
class Machine:
    """A home with its production; several may share a registry."""

    home: Path
    registry_home: Path
    model: str
    key: dict[str, Any]
    uri: str | None = None

    @classmethod
    def of(cls, delivery: Any, uri: str | None = None) -> Machine:
        """Return the machine of a delivery; ``uri`` names a server, if it has one."""
        key = delivery.signer.public_key
        values = {name: value for name, value in key.to_dict().items() if name != "keyid"}
        return cls(
            delivery.home.root,
            delivery.registry._home.root,
            delivery.registry.name,
            {"keyid": key.keyid, "key": values},
            uri,
        )

    @property
    def registry(self) -> Registry:
        return Registry(self.uri, self.model, Home(self.registry_home))

    @property
    def keys(self) -> list[SSlibKey]:
        return [SSlibKey.from_dict(self.key["keyid"], dict(self.key["key"]))]

    @property
    def production(self) -> Production:
        section = EnvironmentSection(port=0)
        return Production(
            ProcessTarget(), Placement("production", section, ServingSection(), Home(self.home))
        )

    def promote(
        self, fault_point: Callable[[str], None] = lambda point: None, run: str = "r"
    ) -> Promotion:
        return promote(
            self.registry,
            Policy(),
            self.keys,
            self.production,
            profile=None,
            run_id=run,
            progress=lambda what, share: None,
            fault_point=fault_point,
        )

    def rollback(self, to: int, fault_point: FaultHook = no_faults) -> SwitchResult:
        return rollback(
            self.registry,
            self.keys,
            self.production,
            to=to,
            by="Bina",
            reason="alarms",
            run_id=f"back-to-{to}",
            fault_point=fault_point,
        )


def told(fault_point: Callable[[str], None]) -> None:
    """Report to a fault hook the target's own steps too: before and after each word to a server."""
    ask, start = control_socket.send_command, server_process.start

    def asked(path: Path, command: str, *more: Any, **options: Any) -> Any:
        if command == "status":
            return ask(path, command, *more, **options)
        fault_point(f"within deploy, before {command}")
        answer = ask(path, command, *more, **options)
        fault_point(f"within deploy, after {command}")
        return answer

    def started(*given: Any, **options: Any) -> Any:
        made = start(*given, **options)
        fault_point("within deploy, server started")
        return made

    control_socket.send_command, server_process.start = asked, started


def points(machine: Machine) -> list[str]:
    """Promote, and return every point that the promotion reached, in order."""
    context = multiprocessing.get_context("forkserver")
    answers = context.Queue()
    process = context.Process(target=_record, args=(machine, answers))
    process.start()
    found: list[str] = answers.get(timeout=60)
    process.join(30)
    assert process.exitcode == 0
    return found


def kill_at(machine: Machine, point: str, back_to: int | None = None) -> None:
    """Promote, or roll back, until the point is reached, where the process is killed."""
    process = multiprocessing.get_context("forkserver").Process(
        target=_die, args=(machine, point, back_to)
    )
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, (point, process.exitcode)


def _record(machine: Machine, answers: Any) -> None:
    met: list[str] = []

    def fault_point(point: str) -> None:
        if point not in met:
            met.append(point)

    told(fault_point)
    machine.promote(fault_point)
    answers.put(met)


def _die(machine: Machine, point: str, back_to: int | None) -> None:
    def fault_point(here: str) -> None:
        if here == point:
            os.kill(os.getpid(), signal.SIGKILL)

    told(fault_point)
    if back_to is None:
        machine.promote(fault_point)
    else:
        machine.rollback(back_to, fault_point)


def compete(machine: Machine, name: str, barrier: Any, answers: Any) -> None:
    """Promote at the same moment as another machine does, and tell how it ended."""
    from ml_pipeline.core.errors import PipelineError

    machine.registry.read()
    barrier.wait(60)
    try:
        done = machine.promote(run=name)
        answers.put((name, "changed" if done.changed else "nothing to promote"))
    except PipelineError as error:
        answers.put((name, f"{type(error).__name__}: {error}"))


def race(machine: Machine, other: Machine) -> Machine:
    """Let two machines promote at once; exactly one does, and the other is told who. Return it."""
    context = multiprocessing.get_context("forkserver")
    barrier, answers = context.Barrier(2), context.Queue()
    runners = [
        context.Process(target=compete, args=(one, name, barrier, answers))
        for one, name in ((machine, "here"), (other, "there"))
    ]
    for runner in runners:
        runner.start()
    told = dict(answers.get(timeout=120) for _ in runners)
    for runner in runners:
        runner.join(30)
    won = [name for name, said in told.items() if said == "changed"]
    assert len(won) == 1, told
    lost = told["there" if won == ["here"] else "here"]
    if lost != "nothing to promote":  # so it is where the other had ended before this one looked
        told_so = (
            *("belongs to Asha on ", "moved meanwhile (by Asha on ", "change 1 by Asha on "),
            f"the approval was used by promotion 1 of '{machine.registry.name}', by Asha on ",
        )
        assert any(words in lost for words in told_so), lost
        assert f"run {won[0]}" in lost
    return machine if won == ["here"] else other
