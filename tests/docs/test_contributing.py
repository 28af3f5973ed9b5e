"""CONTRIBUTING and the other root documents name files that exist."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
LIMITS = {
    "an estimator": 2,
    "a stage": 4,
    "a gate check": 2,
    "a step option": 2,
    "a task": 3,
    "a target": 3,
    "a problem": 3,
    "a data source or expectation": 3,
    "a metric": 2,
    "a configuration key": 2,
}
"""Most files that each change edits by hand, beside its tests."""
APACHE_2 = "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"
"""SHA-256 of https://www.apache.org/licenses/LICENSE-2.0.txt."""


def changes() -> dict[str, str]:
    """Return the text about each change of "Where do I add…"."""
    section = CONTRIBUTING.split("\n## Where do I add…\n")[1].split("\n## ")[0]
    _, *parts = re.split(r"^### (.+)\n", section, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_ten_changes_are_described() -> None:
    assert changes().keys() == LIMITS.keys()


@pytest.mark.parametrize("change", LIMITS)
def test_a_change_touches_few_files(change: str) -> None:
    text = changes()[change]
    stated = re.search(r"^(\d+) files", text, re.MULTILINE)
    assert stated
    listed = re.findall(r"^- `([^`]+)`: ", text, re.MULTILINE)
    assert len(listed) == len(re.findall("^- ", text, re.MULTILINE))
    assert int(stated[1]) == len(listed) <= LIMITS[change]


@pytest.mark.parametrize("change", LIMITS)
def test_the_files_of_a_change_exist(change: str) -> None:
    text = changes()[change]
    folder = ROOT
    named = re.findall(r"`([^`\s]+)`", text)
    paths = [name for name in named if "/" in name or name.endswith((".py", ".toml", ".groovy"))]
    assert paths
    for line in text.splitlines():
        for name in re.findall(r"`([^`\s]+)`", line):
            if name not in paths:
                continue
            if line.startswith(f"- `{name}`"):
                folder = ROOT / name
            assert (ROOT / name).exists() or (folder / name).exists(), f"{change}: {name}"


def test_files_that_the_rules_name_exist() -> None:
    for name in re.findall(r"`((?:bin|docs|pipeline|resources|vars)/[^`\s]*)`", CONTRIBUTING):
        assert (ROOT / name).exists(), name


def test_the_licence_is_apache_2() -> None:
    assert hashlib.sha256((ROOT / "LICENSE").read_bytes()).hexdigest() == APACHE_2


def test_the_changelog_has_the_format_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    for heading in headings[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds


def hooks() -> list[dict[str, object]]:
    values = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in values["repos"]] == ["local"]
    found: list[dict[str, object]] = values["repos"][0]["hooks"]
    return found


def test_hooks_are_local_and_need_no_network() -> None:
    assert [hook["id"] for hook in hooks()] == ["format", "lint", "types", "contracts"]
    test = (ROOT / "bin/test").read_text(encoding="utf-8")
    for hook in hooks():
        assert hook["language"] == "system"
        program = str(hook["entry"]).split()[0]
        assert program.startswith(".venv/bin/")
        assert f" {program.removeprefix('.venv/bin/')}" in test, "bin/test checks the same"


def test_the_format_hook_fails_on_an_unformatted_file(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text("x=1\n")
    entry = next(str(hook["entry"]).split() for hook in hooks() if hook["id"] == "format")
    program = shutil.which("ruff")
    assert program
    command = [program, *entry[1:], "--check", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "wrong.py" in done.stdout


@pytest.mark.parametrize(
    "name",
    ["ISSUE_TEMPLATE/bug_report.md", "ISSUE_TEMPLATE/feature_request.md"],
)
def test_an_issue_template_has_name_about_and_labels(name: str) -> None:
    _, front, body = (ROOT / ".github" / name).read_text(encoding="utf-8").split("---\n", 2)
    values = yaml.safe_load(front)
    assert values.keys() == {"name", "about", "labels"}
    assert body.strip()
