"""Run pytest on a project's tests in a separate process, and read its results."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Literal
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from ml_pipeline.config import Project
from ml_pipeline.core import documents, workdir
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.report import junit_names, xml_text
from ml_pipeline.project.isolation import IsolatedCopy, isolated_copy
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.test_context import TEST_CONTEXT

Outcome = Literal["passed", "failed", "error", "skipped"]
OUTCOMES: tuple[Outcome, ...] = ("passed", "failed", "error", "skipped")

PLUGIN = "ml_pipeline.project.pytest_plugin"
"""Loaded by name: importing it would import pytest."""
TESTS_FAILED = 1
NO_TESTS = 5
EXIT_CODES = {
    2: "pytest was interrupted or could not collect the tests",
    3: "pytest ended with an internal error",
    4: "pytest refused its command line or configuration",
    NO_TESTS: "no tests were collected",
}
TAIL_LINES = 12
MAX_OUTPUT = 16 << 20
"""Last bytes of pytest's output that are kept."""
COLLECTED, JUNIT = "collected", "junit.xml"
COVERAGE_XML, COVERAGE_JSON = "coverage.xml", "coverage.json"
_CRASH_LINE = re.compile(
    r"^(\S+?):(\d+): [A-Za-z_.]+(?:Error|Exception|Failed|Exit)?\b", re.MULTILINE
)
_FOREIGN_VARIABLES = ("PYTEST_CURRENT_TEST", "PYTEST_XDIST_", "COV_CORE_", "COVERAGE_")


@dataclass(frozen=True)
class Case:
    """A test: its node id, its outcome, and the assertion or reason in one line."""

    name: str
    outcome: Outcome
    why: str = ""
    text: str = ""
    file: str = ""
    line: int | None = None
    seconds: float = 0.0
    compares: bool = False
    """The test uses ``baseline_model``: it is a comparison, which the gate enforces."""
    exception: str = ""
    """Name of the exception that failed it, for example AssertionError."""


@dataclass(frozen=True)
class PytestRun:
    """The result of a pytest process."""

    exit_code: int
    cases: tuple[Case, ...]
    collected: int | None
    """Number of collected tests; None if the collection did not finish."""
    log: Path
    tail: str
    coverage_xml: bytes | None = None
    """Coverage as Cobertura XML, if it was measured."""
    coverage: bytes | None = None
    """Coverage as JSON of coverage.py. Untrusted: the tests could write the file."""

    def count(self, outcome: Outcome) -> int:
        return sum(case.outcome == outcome for case in self.cases)

    @property
    def faults(self) -> list[str]:
        """Faults of the run other than failing tests; if empty, its result is reliable."""
        found = []
        if self.exit_code in EXIT_CODES:
            found.append(EXIT_CODES[self.exit_code])
        elif self.exit_code not in (0, TESTS_FAILED):
            found.append(f"pytest died with exit code {self.exit_code}")
        elif self.collected is None:
            found.append(f"pytest ended with {self.exit_code} without running the tests")
        elif not self.cases:
            found.append("no tests were run")
        elif (ran := len({case.name for case in self.cases})) < self.collected:
            found.append(f"only {ran} of {self.collected} collected tests were run")
        elif self.exit_code == TESTS_FAILED and not (self.count("failed") or self.count("error")):
            found.append("pytest failed although no test failed")
        return found


@dataclass(frozen=True)
class Request:
    """The request of a run: path of the tests, further arguments, inputs of the fixtures."""

    kind: Literal["unit", "data", "model", "staging"]
    tests: Path
    log: Path
    inputs: Mapping[str, str] = field(default_factory=dict)
    args: Sequence[str] = ()
    measure: Sequence[str] = ()
    """Packages and folders whose coverage is measured."""


def run_pytest(project: Project, request: Request, protected: Protected) -> PytestRun:
    """Run pytest in a copy of the project and read its JUnit file and its coverage.

    The tests get copies of the files in ``request.inputs`` and none of this process's credentials.
    They may write in the copy and a temporary folder; see ``ml_pipeline.project.isolation``. Files
    of ``protected`` that they change are listed in ``protected.changed``.

    The root is appended to ``sys.path`` by the plug-in, and ``-P`` keeps the current folder off its
    start, so that a file of the project named as a standard module does not replace it. No shell is
    involved.

    Raises:
        EnvironmentFault: the copy cannot be made, or the process cannot be started.
    """
    with isolated_copy(protected) as place, tempfile.TemporaryFile() as stream:
        context = place.out / "context.json"
        context.write_text(
            json.dumps(
                {
                    "kind": request.kind,
                    "original": str(place.original),
                    "copy": str(place.root),
                    "root": str(place.root),
                    "collected": str(place.out / COLLECTED),
                    "inputs": _copy_inputs(request.inputs, place.out / "inputs"),
                }
            )
        )
        measure = [f"--cov={source}" for source in request.measure]
        if measure:
            measure += [
                "--cov-report=",
                f"--cov-report=xml:{place.out / COVERAGE_XML}",
                f"--cov-report=json:{place.out / COVERAGE_JSON}",
            ]
        command = [
            sys.executable, "-P", "-m", "pytest",
            "-p", PLUGIN,
            "--import-mode=importlib",
            f"--rootdir={place.root}",
            f"--junitxml={place.out / JUNIT}",
            "-o", "junit_family=xunit1",
            "-o", "junit_logging=no",
            "-o", f"cache_dir={place.out / '.pytest_cache'}",
            "--color=no", "-q",
            *measure,
            *request.args,
            place.path_in_copy(str(project.path(request.tests))),
        ]  # fmt: skip
        try:
            with protected.detect_changes():
                done = subprocess.run(
                    place.command(command),
                    cwd=place.root,
                    env=_environment(context, place),
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
        except OSError as error:
            raise EnvironmentFault(f"pytest cannot be started: {error}") from None
        output = place.with_original_paths(_end_of(stream))
        workdir.write_text(request.log, output)
        xml = place.read(COVERAGE_XML, documents.MAX_JSON)
        return PytestRun(
            exit_code=done.returncode,
            cases=_cases(place),
            collected=_count(place),
            log=request.log,
            tail=tail(output),
            coverage_xml=None if xml is None else _with_original_paths_in_xml(xml, place),
            coverage=place.read(COVERAGE_JSON, documents.MAX_JSON),
        )


def write_junit(cases: Iterable[Case], suite: str, path: Path) -> Path:
    """Write cases as a JUnit test suite, each with its file and line."""
    root = ElementTree.Element("testsuite", name=suite)
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    for case in cases:
        names = junit_names(suite, case.name)
        element = ElementTree.SubElement(root, "testcase", names, time=f"{case.seconds:.3f}")
        if case.file:
            element.set("file", xml_text(case.file))
        if case.line is not None:
            element.set("line", str(case.line))
        counts["tests"] += 1
        seconds += case.seconds
        if case.outcome != "passed":
            tag = {"failed": "failure", "error": "error", "skipped": "skipped"}[case.outcome]
            detail = ElementTree.SubElement(element, tag, message=xml_text(case.why))
            detail.text = xml_text(case.text)
            counts[{"failure": "failures", "error": "errors"}.get(tag, tag)] += 1
    root.attrib |= {name: str(value) for name, value in counts.items()}
    root.set("time", f"{seconds:.3f}")
    return workdir.write_bytes(
        path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    )


def tail(output: str, lines: int = TAIL_LINES) -> str:
    """Return the last non-blank lines of an output."""
    return "\n".join([line.rstrip() for line in output.splitlines() if line.strip()][-lines:])


def _copy_inputs(inputs: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Copy the input files, and return the inputs with the paths of the copies."""
    folder.mkdir()
    found = {}
    for key, value in inputs.items():
        text = str(value)
        if Path(text).is_absolute() and Path(text).is_file():
            text = str(shutil.copyfile(text, folder / f"{key}{Path(text).suffix}"))
        found[key] = text
    return found


def _environment(context: Path, place: IsolatedCopy) -> dict[str, str]:
    kept = {
        name: value
        for name, value in place.environment.items()
        if not name.startswith(_FOREIGN_VARIABLES) and name != "PYTHONPATH"
    }
    python_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept_path = [place.path_in_copy(each) for each in python_path if each]
    if kept_path:
        kept["PYTHONPATH"] = os.pathsep.join(kept_path)
    return kept | {TEST_CONTEXT: str(context), "COVERAGE_FILE": str(place.out / ".coverage")}


def _end_of(stream: IO[bytes]) -> str:
    """Return the last ``MAX_OUTPUT`` bytes of the file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - MAX_OUTPUT))
    return stream.read(MAX_OUTPUT).decode(errors="replace")


def _with_original_paths_in_xml(content: bytes, place: IsolatedCopy) -> bytes:
    return content.replace(
        os.fsencode(escape(str(place.root))), os.fsencode(escape(str(place.original)))
    )


def _count(place: IsolatedCopy) -> int | None:
    """Return the number of collected tests that the plug-in wrote; None if it is invalid."""
    try:
        return int(place.read(COLLECTED, limit=32) or b"")
    except ValueError:
        return None


def _cases(place: IsolatedCopy) -> tuple[Case, ...]:
    """Return the tests of pytest's JUnit file; none if it is not valid JUnit."""
    content = place.read(JUNIT, documents.MAX_JSON)
    try:
        root = ElementTree.fromstring(content or b"")  # noqa: S314  expat bounds what entities expand to
        found = [_case(element) for element in root.iter("testcase")]
    except (ElementTree.ParseError, ValueError):
        return ()
    return tuple(
        replace(
            case, why=place.with_original_paths(case.why), text=place.with_original_paths(case.text)
        )
        for case in found
    )


def _case(element: ElementTree.Element) -> Case:
    properties = {item.get("name", ""): item.get("value", "") for item in element.iter("property")}
    classname, name = element.get("classname", ""), element.get("name", "")
    found: dict[str, ElementTree.Element] = {child.tag: child for child in element}
    tags: dict[str, Outcome] = {"error": "error", "failure": "failed", "skipped": "skipped"}
    tag = next((tag for tag in tags if tag in found), None)
    outcome: Outcome = tags[tag] if tag else "passed"
    detail = found[tag] if tag else None
    message = detail.get("message", "") if detail is not None else ""
    text = (detail.text or "") if detail is not None else ""
    file, line = element.get("file", ""), element.get("line")
    node = properties.get("ml_pipeline_node")
    if outcome == "passed" and node is None:
        outcome, message = "error", "the test did not end"
    return Case(
        name=node or (f"{classname}::{name}" if classname else name),
        outcome=outcome,
        why=_why(outcome, message, text),
        text=text or message,
        file=file,
        line=int(line) + 1 if line is not None else None,
        seconds=float(element.get("time", "0")),
        compares=properties.get("ml_pipeline_compares") == "yes",
        exception=properties.get("ml_pipeline_exception", ""),
    )


def _why(outcome: Outcome, message: str, text: str) -> str:
    """Return the assertion in one line, with its file and line."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if outcome in ("passed", "skipped") or not lines:
        return lines[0] if lines else ""
    if message == "collection failure" or message.startswith("failed on setup"):
        causes = re.findall(r"^E\s+(.+)$", text, re.MULTILINE)
        lines = [": ".join([lines[0].split(" with ")[0], causes[-1].strip()])] if causes else lines
    picked = lines[0]
    second = next((line for line in lines[1:] if line.startswith("assert ")), "")
    if second and not picked.removeprefix("AssertionError: ").startswith("assert "):
        picked += f"; {second}"
    places = _CRASH_LINE.findall(text)
    return f"{picked} ({places[-1][0]}:{places[-1][1]})" if places else picked
