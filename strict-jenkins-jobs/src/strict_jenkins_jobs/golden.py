"""The XML that a folder of YAML makes, kept beside it: a change of a template shows all it changes.

One file per job and view, ``jobs/<full name>.xml`` and ``views/<name>.xml``, as
jenkins-job-builder writes it.
"""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strict_jenkins_jobs.builder import RenderedJobs
from strict_jenkins_jobs.strict import Finding

RENEW = "look at the difference, then run check again with --renew"


def compare(rendered: RenderedJobs, golden: Path) -> list[Finding]:
    """Return a finding for each file that differs, is missing or belongs to no job."""
    expected = _files(rendered)
    existing = {path.relative_to(golden).as_posix() for path in golden.rglob("*.xml")}
    findings = []
    for name in sorted(expected.keys() | existing):
        where = (golden / name).as_posix()
        if name not in existing:
            findings.append(Finding(where, "golden", "missing", RENEW))
        elif name not in expected:
            findings.append(Finding(where, "golden", "no job makes this file", RENEW))
        else:
            text = (golden / name).read_text(encoding="utf-8")
            if text != expected[name]:
                line = _first_change(text, expected[name])
                findings.append(Finding(where, "golden", f"differs: {line}", RENEW))
    return findings


def renew(rendered: RenderedJobs, golden: Path) -> int:
    """Write the folder anew and return how many files it holds."""
    files = _files(rendered)
    with _replaced(golden) as folder:
        for name, text in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
    return len(files)


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path``; it replaces ``path`` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        new = temporary / "new"
        new.mkdir()
        yield new
        if path.exists():
            path.replace(temporary / "old")
        new.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _files(rendered: RenderedJobs) -> dict[str, str]:
    jobs = {f"jobs/{name}.xml": xml for name, xml in rendered.jobs.items()}
    return jobs | {f"views/{name}.xml": xml for name, xml in rendered.views.items()}


def _first_change(old: str, new: str) -> str:
    changed = [
        line
        for line in difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
        if line[0] in "+-" and line[:3] not in ("---", "+++")
    ]
    return f"{changed[0][0]} {changed[0][1:].strip()}" if changed else "line ends"
