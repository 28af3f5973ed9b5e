"""Every command line and every piece of YAML in README, docs and help pages is valid.

Others run some of them to the end: tests/integration (README, own data, rolling back),
tests/docs/test_jenkinsfile_commands.py (Jenkinsfiles).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_pipeline import cli
from ml_pipeline.approval.policy import Policy
from ml_pipeline.cli.parser import all_verbs
from ml_pipeline.config import Config
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.schema_errors import parse
from ml_pipeline.stages.table import STAGES

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "vars").glob("*.txt")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`(ml-pipeline [^`\n]+)`")
NUMBER = re.compile("[A-Z]")
"""A placeholder of one letter stands for a number."""
ENDS = {"|", ">", "&&", "||", ";", "2>&1", "…", "...", "<"}


def typed(line: str) -> list[str]:
    """Return the words of a command line, up to where the shell's own begin.

    ``[--to V]`` is typed with what may be left out, ``check|diff`` as its first word.
    """
    words = []
    for word in shlex.split(re.sub(r"[\[\]]", "", line), comments=True):
        if word in ENDS:
            break
        words.append("1" if NUMBER.fullmatch(word) else word.partition("|")[0])
    return words


def commands() -> dict[str, str]:
    """Return every command line with the page where it stands first."""
    found: dict[str, str] = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = [match[1] for match in INLINE.finditer(text)]
        for fence in FENCE.finditer(text):
            joined = fence[2].replace("\\\n", " ")
            lines += [line.removeprefix("$ ").strip() for line in joined.splitlines()]
        for line in lines:
            if line.startswith("ml-pipeline "):
                found.setdefault(line, str(page.relative_to(ROOT)))
    return found


def pieces() -> Iterator[tuple[str, Any]]:
    """Yield the pieces of YAML that are mappings, with their page and number."""
    for page in PAGES:
        for number, fence in enumerate(FENCE.finditer(page.read_text(encoding="utf-8"))):
            if fence[1] == "yaml":
                values = yaml.safe_load(fence[2].replace("…", ""))
                if isinstance(values, dict):
                    yield f"{page.relative_to(ROOT)}-{number}", values


COMMANDS = commands()


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 70
    assert {"README.md", "docs/how-to/own-data.md"} <= set(COMMANDS.values())


@pytest.mark.parametrize("line", sorted(COMMANDS))
def test_a_command_line_is_accepted(line: str) -> None:
    _, *words = typed(line)
    if words[:1] == ["jenkinsfile"]:
        return  # typed by tests/docs/test_jenkinsfile_commands.py
    if len(words) == 1 and words[0] not in STAGES:
        assert words[0] in [verb.name for verb in all_verbs()], "a verb that is only named"
        return
    if "--help" in words or "--version" in words:
        with pytest.raises(SystemExit, match="0"):
            cli.parse(words)
        return
    try:
        cli.parse(words)
    except UsageError as error:
        pytest.fail(f"{COMMANDS[line]}: {error}")


@pytest.mark.parametrize(("where", "values"), [pytest.param(*one, id=one[0]) for one in pieces()])
def test_a_piece_of_configuration_is_valid(where: str, values: dict[str, Any]) -> None:
    if set(values) <= set(Config.model_fields):
        parse(Config, {"project": "churn"} | values, where)
    elif set(values) <= set(Policy.model_fields):
        parse(Policy, values, where)
