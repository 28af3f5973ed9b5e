"""Writes the pages of docs/reference that are made from the code; a test finds drift.

Run: .venv/bin/python docs/generate.py
"""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.project.settings import schema
from pipeline.report import StageReport
from pipeline.stages import RUNS, STAGES

REFERENCE = Path(__file__).resolve().parent / "reference"


def pages() -> dict[str, str]:
    """Return the content of each generated page by its file name."""
    report = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    report |= StageReport.model_json_schema(by_alias=True)
    return {
        "report.schema.json": json.dumps(report, indent=2) + "\n",
        "ml.schema.json": json.dumps(schema(), indent=2) + "\n",
        "stages.md": stages(),
    }


def stages() -> str:
    lines = [
        "# Stages",
        "",
        "Made from the stage table in `pipeline/stages/__init__.py`; do not edit by hand.",
        "",
        "| stage | does | says no when |",
        "|---|---|---|",
    ]
    for stage in STAGES.values():
        name = f"{stage.name} ENV" if stage.environment else stage.name
        lines.append(f"| `{name}` | {stage.summary} | {stage.says_no_when} |")
    lines += ["", "## Runs", ""]
    for name, steps in RUNS.items():
        words = [f"{step} {environment or ''}".strip() for step, environment, _ in steps]
        lines.append(f"- `run {name}`: {', '.join(words)}")
    lines += ["", "## Flags", ""]
    for stage in STAGES.values():
        if stage.flags:
            lines += [
                f"### {stage.name}",
                "",
                "| flag | key in `--args` | kind | |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| `--{flag.name}` | `{flag.key}` | {flag.kind} | {flag.help} |"
                for flag in stage.flags
            ]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    for name, content in pages().items():
        (REFERENCE / name).write_text(content)


if __name__ == "__main__":
    main()
