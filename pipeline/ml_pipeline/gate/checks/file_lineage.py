"""Whether every file that one stage made is the file that the other stages read."""

from __future__ import annotations

from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.gate.checks.base import GateCheck
from ml_pipeline.gate.model_comparison import ModelComparison, StageReports


class FileLineage(GateCheck):
    """Files have the same SHA-256 in the reports of the stages that made and read them."""

    name = "files from stage to stage"

    def judge(self, comparison: ModelComparison) -> Check:
        return check_lineage(comparison.reports)


def check_lineage(reports: StageReports) -> Check:
    """Return whether every file that one stage reports is the file that the others read."""
    producers: dict[str, tuple[str, str]] = {}
    for name, report in reports.items():
        for path, digest in (report.outputs if report else {}).items():
            producers[path] = (name, digest)
    followed, broken = 0, []
    for name, report in reports.items():
        for path, digest in (report.inputs if report else {}).items():
            if path in producers and producers[path][1] != digest:
                broken.append(f"{name} read another {path} than {producers[path][0]} made")
            followed += path in producers
    verdict = Verdict.FAIL if broken else Verdict.PASS if followed else Verdict.INCONCLUSIVE
    return Check(
        name=FileLineage.name,
        verdict=verdict,
        observed=broken[0] if broken else f"{followed} files followed",
        expected="the same SHA-256 wherever a file is made and read",
        why="run the delivery again from the stage that made it" if broken else "",
    )
