"""Finds values that YAML or jenkins-job-builder reads differently from how they are written.

Files are checked before jenkins-job-builder reads them, when each value still has its line and its
original form: afterwards ``no`` is ``False``, and ``1.10`` is ``1.1``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from strict_jenkins_jobs import yaml_bounds
from strict_jenkins_jobs.errors import UsageError
from strict_jenkins_jobs.strict import Finding

TAG = "tag:yaml.org,2002:"
BOOLEAN_WORDS = frozenset({"true", "false"})
"""Accepted spellings of booleans; others are probably meant as text."""

TEMPLATED_KINDS = frozenset({"job", "job-template", "view", "view-template"})
"""Definitions whose texts jenkins-job-builder always reads for ``{parameters}``."""

NAME_KEYS = {"id": "the id", "name": "the name"}
LISTS = frozenset({"jobs", "views"})
"""Keys of a project or group whose value is a list of names."""

PARAMETER = re.compile(r"(?:obj:)?\w+(?:\|[^{}]*)?|\w[\w.\[\]]*(?:![rsa])?(?::[^{}]*)?")
TYPE_NAMES = {
    "bool": "boolean",
    "int": "number",
    "float": "number",
    "timestamp": "date",
    "null": "null",
}
BRACES_HINT = (
    "in a definition braces name parameters: write '{{' and '}}' where the text has braces"
)

HINTS = (
    ("while scanning an alias", "put a value that begins with '*', such as a timer, in quotes"),
    ("while scanning an anchor", "put a value that begins with '&' in quotes"),
    ("found undefined alias", "put a value that begins with '*' in quotes, or define the anchor"),
    ("'\\t' that cannot start any token", "indent with spaces, not with a tab"),
    ("that cannot start any token", "put a value that begins with '@', '%' or '`' in quotes"),
    ("mapping values are not allowed", "put a text with ': ' in it in quotes"),
    (
        "did not find expected",
        "put a value that begins with '{', '[' or a quote in quotes as a whole",
    ),
    ("could not determine a constructor", "put a value that begins with '!' in quotes"),
)


@dataclass(frozen=True)
class Definition:
    """One entry of a file: ``- job: {name: ...}``."""

    kind: str
    name: str
    where: str


def read_strictly(path: Path, folder: Path) -> tuple[list[Finding], list[Definition]]:
    """Return what is wrong in one file, and what it defines by name.

    Raises:
        UsageError: the file cannot be read, is not YAML, or cannot be made into jobs at all.
    """
    shown = path.resolve().relative_to(folder.resolve().parent).as_posix()
    root = _compose(path, shown)
    findings: list[Finding] = []
    definitions: list[Definition] = []
    for node, above in _nodes(root):
        where = f"{shown}:{node.start_mark.line + 1}"
        if node.tag.startswith(f"{TAG}python/"):
            raise UsageError(f"{where}: {node.tag} makes Python objects", expected="plain YAML")
        if isinstance(node, yaml.MappingNode):
            findings += _duplicate_keys(node, shown)
        elif isinstance(node, yaml.ScalarNode) and not (above and node.tag == f"{TAG}merge"):
            findings += _misread_scalars(node, where)
    for kind, body in _entries(root):
        defined = list(_definition(kind, body, shown))
        definitions += defined
        _check_lists(kind, body, shown)
        if kind in TEMPLATED_KINDS:
            for text, _ in _nodes(body):
                _check_braces(text, " ".join([kind, *(f"'{one.name}'" for one in defined)]), shown)
    return findings, definitions


def check_unique(definitions: Iterable[Definition]) -> None:
    """Refuse two definitions of one kind and name, in one file or in two.

    Raises:
        UsageError: naming both places.
    """
    seen: dict[tuple[str, str], Definition] = {}
    for one in definitions:
        first = seen.setdefault((one.kind, one.name), one)
        if first is not one:
            raise duplicate_error(one.where, f"{one.kind} '{one.name}'", first.where)


def duplicate_error(where: str, what: str, first: str) -> UsageError:
    """Return the error of a second definition."""
    return UsageError(
        f"{where}: {what} is defined twice, first at {first}",
        hint="rename or remove one: only one would be made",
    )


# --- one file -----------------------------------------------------------------------------------


def _compose(path: Path, shown: str) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        yaml_bounds.check(text, shown)
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{shown} is not YAML: it is not UTF-8 ({error.reason})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(f"{error.context or ''}, {error.problem or ''}".strip(", ").split())
        hint = next((hint for text, hint in HINTS if text in said), "")
        at = f"{shown}:{mark.line + 1}" if mark else shown
        raise UsageError(f"{at}: the file is not YAML: {said}", hint=hint) from None
    except yaml.YAMLError as error:
        raise UsageError(f"{shown} is not YAML: {' '.join(str(error).split())}") from None


def _nodes(root: Any) -> Iterator[tuple[Any, bool]]:
    """Yield every node once, and whether it is a key."""
    todo: list[tuple[Any, bool]] = [(root, False)] if root is not None else []
    seen: set[int] = set()
    while todo:
        node, is_key = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        yield node, is_key
        if isinstance(node, yaml.SequenceNode):
            todo += [(item, False) for item in reversed(node.value)]
        elif isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):
                todo += [(value, False), (key, True)]


def _duplicate_keys(node: Any, shown: str) -> Iterator[Finding]:
    keys: set[str] = set()
    for key, _ in node.value:
        name = str(key.value)
        if name in keys and key.tag != f"{TAG}merge":
            at = f"{shown}:{key.start_mark.line + 1}"
            yield Finding(at, "YAML", f"key '{name}' is repeated", "only one is used")
        keys.add(name)


def _misread_scalars(node: Any, where: str) -> Iterator[Finding]:
    """Yield a finding for a value that YAML reads differently from how it is written."""
    kind = node.tag.removeprefix(TAG)
    if node.style is not None or kind not in ("bool", "int", "float", "timestamp"):
        return
    written = node.value
    value = yaml.SafeLoader("").construct_object(node, deep=True)
    if kind == "bool" and written.lower() in BOOLEAN_WORDS:
        return
    if kind in ("int", "float") and str(value) == written.removeprefix("+"):
        return
    meant = str(value).lower() if kind == "bool" else str(value)
    remedy = f"write '{written}' in quotes"
    if kind != "timestamp":
        remedy += f", or {meant} if that is meant"
    fault = f"{written} is read as the {TYPE_NAMES[kind]} {value}"
    yield Finding(where, "YAML", fault, remedy)


# --- definitions --------------------------------------------------------------------------------


def _entries(root: Any) -> Iterator[tuple[str, Any]]:
    """Yield the kind and content of each ``- KIND: {...}`` of a file."""
    for entry in root.value if isinstance(root, yaml.SequenceNode) else ():
        if isinstance(entry, yaml.MappingNode) and len(entry.value) == 1:
            key, body = entry.value[0]
            if isinstance(body, yaml.MappingNode):
                yield str(key.value), body


def _definition(kind: str, body: Any, shown: str) -> Iterator[Definition]:
    names: dict[str, Definition] = {}
    for key, value in body.value:
        if key.value not in NAME_KEYS:
            continue
        where = f"{shown}:{value.start_mark.line + 1}"
        if not isinstance(value, yaml.ScalarNode):
            raise UsageError(
                f"{where}: {NAME_KEYS[key.value]} of a {kind} is a {value.id}",
                expected="a text",
                hint="put it in quotes: in YAML '{' begins a mapping and '[' a list",
            )
        if value.tag != f"{TAG}str" and value.tag.startswith(TAG):
            raise UsageError(
                f"{where}: {NAME_KEYS[key.value]} of a {kind} is {value.value or 'empty'}, which "
                f"YAML reads as a {TYPE_NAMES.get(value.tag.removeprefix(TAG), 'value')}",
                expected="a text",
                hint=f"write '{value.value}' in quotes",
            )
        names[key.value] = Definition(kind, value.value, where)
    definition = names.get("id") or names.get("name")
    if definition is not None:
        yield definition


def _check_lists(kind: str, body: Any, shown: str) -> None:
    for key, value in body.value:
        if key.value not in LISTS or kind not in ("project", "job-group", "view-group"):
            continue
        where = f"{shown}:{value.start_mark.line + 1}"
        if not isinstance(value, yaml.SequenceNode):
            raise UsageError(
                f"{where}: '{key.value}' of a {kind} is no list",
                expected="a list of names, such as [template-name]",
            )
        for item in value.value:
            if isinstance(item, yaml.ScalarNode) and item.tag != f"{TAG}str":
                raise UsageError(
                    f"{shown}:{item.start_mark.line + 1}: '{key.value}' of a {kind} names "
                    f"{item.value or 'nothing'}, which YAML reads as a "
                    f"{TYPE_NAMES.get(item.tag.removeprefix(TAG), 'value')}",
                    hint=f"write '{item.value}' in quotes",
                )


def _check_braces(node: Any, kind: str, shown: str) -> None:
    """Refuse a text whose braces jenkins-job-builder cannot read as parameters."""
    if not isinstance(node, yaml.ScalarNode) or node.tag != f"{TAG}str":
        return
    for number, line in enumerate(node.value.splitlines()):
        fault = _brace_error(line)
        if fault:
            block = node.style in ("|", ">")
            at = node.start_mark.line + 1 + (number + 1 if block else 0)
            raise UsageError(f"{shown}:{at}: {kind}: {fault}", hint=BRACES_HINT)


def _brace_error(line: str) -> str | None:
    """Return what is wrong with the braces of a line."""
    at = 0
    while at < len(line):
        if line[at] not in "{}":
            at += 1
        elif line[at : at + 2] in ("{{", "}}"):
            at += 2
        elif line[at] == "}":
            return f"'}}' without a '{{' before it in {line.strip()[:60]!r}"
        else:
            end = line.find("}", at)
            if end < 0:
                return f"'{{' without a '}}' behind it in {line.strip()[:60]!r}"
            if not PARAMETER.fullmatch(line[at + 1 : end]):
                return f"{line[at : end + 1][:60]!r} is no parameter"
            at = end + 1
    return None
