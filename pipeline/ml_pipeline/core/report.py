"""Reports of stages: checks and verdict, as JSON and as JUnit XML."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ml_pipeline.core import documents, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import UsageError, masked

SCHEMA: Literal["ml-pipeline/report/1"] = "ml-pipeline/report/1"

Progress = Callable[[str, float], None]
"""Called during long operations with the present step and the share done, 0 to 1."""


class Verdict(StrEnum):
    """The outcome of a check or of a stage; only ``pass`` lets a delivery continue."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    SKIPPED = "skipped"
    ERROR = "error"

    @property
    def blocks(self) -> bool:
        """Whether a required check of this verdict keeps its stage from passing."""
        return self not in (Verdict.PASS, Verdict.SKIPPED)


class Profile(StrEnum):
    QUICK = "quick"
    FULL = "full"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Check(_Record):
    """One check of a stage. Numbers that are not finite are stored as text: JSON has no NaN."""

    name: str
    verdict: Verdict
    required: bool = True
    observed: Any = None
    expected: str = ""
    why: str = ""

    @field_validator("name", "expected", "why", mode="after")
    @classmethod
    def _masked(cls, value: str) -> str:
        return masked(value)

    @field_validator("observed", mode="after")
    @classmethod
    def _finite(cls, value: Any) -> Any:
        return jsonable(value)

    @property
    def blocks(self) -> bool:
        """Whether the check keeps its stage from passing: required, and not passed or skipped."""
        return self.required and self.verdict.blocks

    @property
    def shown(self) -> str:
        """What was observed, with at most six significant digits."""
        return f"{self.observed:.6g}" if isinstance(self.observed, float) else str(self.observed)


class ModelRef(_Record):
    """Which model a report is about."""

    name: str
    version: int | None = None
    identity: str = ""
    digest: str = ""


class StageReport(_Record):
    """The published contract between stages, and between Python and Jenkins."""

    schema_: Literal["ml-pipeline/report/1"] = Field(default=SCHEMA, alias="schema")
    stage: str
    environment: str | None = None
    profile: Profile = Profile.FULL
    verdict: Verdict
    summary: str
    checks: tuple[Check, ...] = ()
    metrics: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict)
    outputs: dict[str, str] = Field(default_factory=dict)
    model: ModelRef | None = None
    run_id: str
    started: datetime
    finished: datetime
    versions: dict[str, str] = Field(default_factory=dict)
    overrides: dict[str, str] = Field(
        default_factory=dict,
        description="Keys that the environment or --set changed, and who set them.",
    )

    @field_validator("summary", mode="after")
    @classmethod
    def _masked(cls, value: str) -> str:
        return masked(value)

    @field_validator("metrics", mode="after")
    @classmethod
    def _finite(cls, value: dict[str, Any]) -> dict[str, Any]:
        return {name: jsonable(item) for name, item in value.items()}

    @property
    def seconds(self) -> float:
        return (self.finished - self.started).total_seconds()

    def to_json(self) -> str:
        return self.model_dump_json(by_alias=True, indent=2) + "\n"


def jsonable(value: Any) -> Any:
    """Return ``value`` with plain Python scalars in place of numpy's, and text for NaN and inf.

    Passwords in URLs are masked.
    """
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def judge(checks: Iterable[Check]) -> Verdict:
    """Return the worst verdict of the required checks; a stage that checked nothing has not passed.

    Skipped checks neither help nor harm, unless nothing else is left.
    """
    required = [check.verdict for check in checks if check.required]
    for verdict in (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS):
        if verdict in required:
            return verdict
    return Verdict.SKIPPED if required else Verdict.INCONCLUSIVE


def file_name(stage: str, environment: str | None) -> str:
    return f"{stage}-{environment}" if environment else stage


def write(report: StageReport, folder: workdir.Workdir) -> Path:
    """Write ``reports/<stage>[-<env>].json`` and, where the stage made none, its JUnit file."""
    name = file_name(report.stage, report.environment)
    junit = folder / f"junit/{name}.xml"
    if not junit.exists():
        workdir.write_bytes(junit, to_junit(report))
    return workdir.write_text(folder / f"reports/{name}.json", report.to_json())


def read(path: Path) -> StageReport:
    """Return the report in a file.

    Raises:
        UsageError: the file is not a report.
    """
    try:
        return StageReport.model_validate(documents.read_json(path, "it"))
    except (ValidationError, DocumentError) as error:
        raise UsageError(
            f"{path} is no report of a stage: {documents.reason(error)}",
            hint="run the stage again",
        ) from None


_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SAME = 24
"""Number of last characters by which a text is searched for in a summary."""
NODE_ID = re.compile(r"(?P<file>[^:\[]+)\.py::(?P<classes>(?:\w+::)*)(?P<test>.+)", re.DOTALL)


def xml_text(text: str) -> str:
    """Return the text without the characters that XML 1.0 cannot hold."""
    return _NOT_IN_XML.sub("?", text)


def junit_names(suite: str, name: str) -> dict[str, str]:
    """Return JUnit's ``classname`` and ``name`` of a check or of a pytest node id.

    Everything before the last dot of ``classname`` is the package on Jenkins' page of tests, so
    every case of a stage has a package that begins with the stage's name.
    """
    name = xml_text(name)
    found = NODE_ID.fullmatch(name)
    if found is None:
        return {"classname": f"{suite}.checks", "name": name}
    path = found["file"].replace("\\", "/").strip("./")
    parts = [*path.split("/"), *found["classes"].split("::")]
    words = [re.sub(r"[^\w-]", "_", part) for part in parts if part]
    return {"classname": ".".join([suite, *words]), "name": found["test"]}


def blocking(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that keep a stage from passing, in their order."""
    return [check for check in checks if check.blocks]


def first_failure(checks: Iterable[Check]) -> Check | None:
    """Return the first required check that has the stage's verdict; None if the stage passed."""
    checks = tuple(checks)
    verdict = judge(checks)
    if not verdict.blocks:
        return None
    return next((check for check in checks if check.required and check.verdict is verdict), None)


def headline(summary: str, checks: Iterable[Check]) -> str:
    """Return the summary of a stage, preceded by the first check that failed, if any.

    The summary is unchanged if it already has the check's name, or the end of its reason or of the
    observed value.
    """
    failed = first_failure(checks)
    if failed is None or failed.name in summary:
        return summary
    contained = [
        text[-SAME:] for text in (failed.why, str(failed.observed)) if len(text) >= SAME // 2
    ]
    if any(text in summary for text in contained):
        return summary
    fault = failed.why or f"observed {failed.shown}, expected {failed.expected}"
    return f"{failed.name}: {fault}; {summary}"


def to_junit(report: StageReport) -> bytes:
    """Return the checks as a JUnit test suite, one case a check; advisory ones never fail."""
    name = file_name(report.stage, report.environment)
    suite = ElementTree.Element("testsuite", name=name, time=f"{report.seconds:.3f}")
    counts = {"failures": 0, "errors": 0, "skipped": 0}
    for check in report.checks:
        case = ElementTree.SubElement(suite, "testcase", junit_names(name, check.name))
        text = xml_text(f"observed {check.shown}, expected {check.expected}. {check.why}".strip())
        message = xml_text(check.why) or text
        if check.verdict is not Verdict.PASS and not check.blocks:
            counts["skipped"] += 1
            ElementTree.SubElement(case, "skipped", message=message)
        elif check.verdict is Verdict.ERROR:
            counts["errors"] += 1
            ElementTree.SubElement(case, "error", message=message).text = text
        elif check.verdict is not Verdict.PASS:
            counts["failures"] += 1
            ElementTree.SubElement(case, "failure", message=message).text = text
    suite.attrib |= {"tests": str(len(report.checks))} | {k: str(v) for k, v in counts.items()}
    content: bytes = ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True)
    return content
