"""One call of a verb: its flags and words, the screen, and the session that it opens."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ml_pipeline.cli.console import Screen, console_on
from ml_pipeline.cli.verb import CommonFlags, Verb
from ml_pipeline.core.errors import UsageError
from ml_pipeline.stages.record import values_of
from ml_pipeline.stages.session import Session

F = TypeVar("F")
"""The dataclass of the verb's flags."""


@dataclass(frozen=True)
class Call(Generic[F]):
    """One call of a verb."""

    verb: Verb
    flags: F
    common: CommonFlags
    options: Mapping[str, Any]
    screen: Screen

    @classmethod
    def of(cls, verb: Verb, options: Mapping[str, Any]) -> Call[Any]:
        common: CommonFlags = values_of(CommonFlags, options)
        # progress must not come between the lines of a report as JSON
        screen = Screen(console_on(sys.stderr if common.json else sys.stdout))
        return Call(verb, values_of(verb.flags, options), common, options, screen)

    @property
    def name(self) -> str:
        """The word ``name``, such as ``show`` in ``config show``."""
        return str(self.options["name"])

    @property
    def environment(self) -> str | None:
        return self.options.get("environment")

    def open(self) -> Session:
        """Load the project that the flags and the environment variables name."""
        interactive = sys.stdin.isatty() and sys.stdout.isatty()
        return Session.open(self.options, self.screen.progress, interactive=interactive)

    def required_environment(self, session: Session) -> str:
        """Return the environment of the call.

        Raises:
            UsageError: it has none, or ml.yaml has not this one.
        """
        if not self.environment:
            known = " or ".join(session.project.config.environments)
            raise UsageError(f"{self.verb.name} needs an environment", expected=known)
        session.check_environment(self.environment)
        return self.environment

    @contextlib.contextmanager
    def own_output(self) -> Iterator[None]:
        """Keep standard output for the result where it is asked for as JSON."""
        if self.common.json:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        else:
            yield

    def show(self, values: Any, lines: Sequence[str]) -> None:
        """Print the result: as JSON if it is asked for, else as lines."""
        if self.common.json:
            print_json(values)
        else:
            for line in lines:
                self.screen.line(line)


def print_json(values: Any) -> None:
    sys.stdout.write(json.dumps(values, indent=2) + "\n")


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Let SIGTERM, by which a build server aborts, end a stage as Ctrl-C does.

    What the stage began is reverted, and its report says that it was interrupted.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
