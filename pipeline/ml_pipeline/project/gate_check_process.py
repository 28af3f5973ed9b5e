"""The process that runs a gate check of the project's repository.

``python -m ml_pipeline.project.gate_check_process REQUEST``, inside the copy of the project that
``ml_pipeline.project.isolation`` makes.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.project_modules import load_object
from ml_pipeline.core.report import Check
from ml_pipeline.core.schema_errors import parse
from ml_pipeline.gate.checks.base import GateCheck
from ml_pipeline.gate.comparison_files import read_comparison
from ml_pipeline.gate.model_comparison import ModelComparison
from ml_pipeline.project.test_context import move_search_path

MODULE = "ml_pipeline.project.gate_check_process"
ANSWER = "answer.json"
KEY = "gate.checks"

Judge = Callable[[ModelComparison], Any]


@dataclass(frozen=True)
class Request:
    """The request to the process, in JSON: the check, its settings and the comparison."""

    original: str
    root: str
    reference: str
    settings: dict[str, Any]
    comparison: str
    """The folder that ``write_comparison`` filled."""
    out: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def load_judge(root: Path, reference: str, settings: Mapping[str, Any]) -> Judge:
    """Return the function that judges by a check of the repository: a class or a function.

    A function is called with the comparison, and with the settings as keyword arguments.

    Raises:
        UsageError: the check does not exist, or a setting is unknown or wrong.
    """
    found = load_object(root, reference, key=KEY)
    if isinstance(found, type) and issubclass(found, GateCheck):
        return found(parse(found.Settings, settings, f"{KEY}: {reference}")).judge
    if isinstance(found, type) or not callable(found):
        raise UsageError(
            f"{KEY}: {reference} is {found!r}",
            expected="a subclass of ml_pipeline.GateCheck, or a function of the comparison",
        )
    try:
        inspect.signature(found).bind(None, **settings)
    except TypeError as error:
        raise UsageError(
            f"{KEY}: {reference}: {error}",
            expected="a function of the comparison, with its settings as keyword arguments",
        ) from None
    return lambda comparison: found(comparison, **settings)


def main(arguments: Sequence[str]) -> int:
    """Judge the comparison and write the verdicts."""
    request = Request(**json.loads(arguments[0]))
    move_search_path(request.original, request.root)
    answer = Path(request.out, ANSWER)
    try:
        judge = load_judge(Path(request.root), request.reference, request.settings)
    except UsageError as error:
        reasons = {"fault": error.fault, "expected": error.expected, "hint": error.hint}
        answer.write_text(json.dumps(reasons), encoding="utf-8")
        return error.exit_code
    judged = judge(read_comparison(Path(request.comparison)))
    checks = [judged] if isinstance(judged, Check) else list(judged or ())
    answer.write_text(
        json.dumps({"checks": [check.model_dump(mode="json") for check in checks]}),
        encoding="utf-8",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
