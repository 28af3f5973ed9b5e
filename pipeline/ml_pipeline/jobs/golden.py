"""The XML that a folder of YAML makes, kept beside it: a change of a template shows all it changes.

One file per job and view, ``jobs/<full name>.xml`` and ``views/<name>.xml``, as
jenkins-job-builder writes it.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from ml_pipeline.core.workdir import atomic_folder, write_text
from ml_pipeline.jobs.builder import Rendered
from ml_pipeline.jobs.strict import Finding

RENEW = "look at the difference, then run check again with --renew"


def compare(rendered: Rendered, golden: Path) -> list[Finding]:
    """Return a finding for each file that differs, is missing or belongs to no job."""
    wanted = _files(rendered)
    held = {path.relative_to(golden).as_posix() for path in golden.rglob("*.xml")}
    findings = []
    for name in sorted(wanted.keys() | held):
        where = (golden / name).as_posix()
        if name not in held:
            findings.append(Finding(where, "golden", "missing", RENEW))
        elif name not in wanted:
            findings.append(Finding(where, "golden", "no job makes this file", RENEW))
        else:
            text = (golden / name).read_text(encoding="utf-8")
            if text != wanted[name]:
                line = _first_change(text, wanted[name])
                findings.append(Finding(where, "golden", f"differs: {line}", RENEW))
    return findings


def renew(rendered: Rendered, golden: Path) -> int:
    """Write the folder anew and return how many files it holds."""
    files = _files(rendered)
    with atomic_folder(golden) as folder:
        for name, text in files.items():
            write_text(folder / name, text)
    return len(files)


def _files(rendered: Rendered) -> dict[str, str]:
    jobs = {f"jobs/{name}.xml": xml for name, xml in rendered.jobs.items()}
    return jobs | {f"views/{name}.xml": xml for name, xml in rendered.views.items()}


def _first_change(old: str, new: str) -> str:
    changed = [
        line
        for line in difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
        if line[0] in "+-" and line[:3] not in ("---", "+++")
    ]
    return f"{changed[0][0]} {changed[0][1:].strip()}" if changed else "line ends"
