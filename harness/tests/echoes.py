"""Echoes of a script; ``tell(name) { … }`` echoes a value, or the exception that it throws."""

from __future__ import annotations

import textwrap

from pytest_jenkinsfile import Jenkins

TELL = (
    'def tell(String what, Closure c) { try { echo "${what}: ${c()}" } '
    'catch (Throwable e) { echo "${what}: ${e.class.name}: ${e.message}" } }\n'
)


def echoes(jenkins: Jenkins, script: str, **options: object) -> list[str]:
    return jenkins.run(TELL + textwrap.dedent(script) + "\n", **options).echoes  # type: ignore[arg-type]
