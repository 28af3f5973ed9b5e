"""Bounds of a YAML document: size, depth and number of values, with aliases expanded.

Documents may come from untrusted branches. Nested aliases and recursive nodes would exhaust memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from strict_jenkins_jobs.errors import UsageError

MAX_CHARACTERS = 1 << 20
MAX_VALUES = 50_000
"""Values of a document, with aliases expanded."""
MAX_DEPTH = 64


def check(text: str, where: str) -> None:
    """Refuse a document beyond the bounds.

    Raises:
        UsageError: with the line.
        yaml.YAMLError: it is not YAML.
    """
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{where} is larger than {MAX_CHARACTERS >> 20} MiB")
    # libyaml's where it is built in: its messages are those of sources.HINTS
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    _check_events(yaml.parse(text, Loader=loader), where)


def read(path: Path) -> Any:
    """Return the content of a YAML file as plain objects.

    Raises:
        UsageError: it cannot be read, is not YAML, or is beyond the bounds.
    """
    try:
        text = path.read_text(encoding="utf-8")
        check(text, str(path))
        return yaml.safe_load(text)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not YAML: it is not UTF-8 ({error.reason})") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is not YAML: {' '.join(str(error).split())}") from None


@dataclass
class _Collection:
    """A collection whose end is not read yet, and how many values it holds so far."""

    anchor: str | None
    values: int = 1


def _check_events(events: Iterator[Any], where: str) -> None:
    sizes: dict[str, int] = {}
    unclosed: list[_Collection] = []
    for event in events:
        at = f"{where}: line {event.start_mark.line + 1}"
        size = 0
        if isinstance(event, yaml.AliasEvent):
            if any(one.anchor == event.anchor for one in unclosed):
                raise UsageError(f"{at}: '*{event.anchor}' is inside itself")
            size = sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionStartEvent):
            unclosed.append(_Collection(event.anchor))
            if len(unclosed) > MAX_DEPTH:
                raise UsageError(f"{at}: nested more than {MAX_DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = unclosed.pop()
            size = ended.values
            if ended.anchor is not None:
                sizes[ended.anchor] = size
        if unclosed:
            unclosed[-1].values += size
        if max(size, sum(one.values for one in unclosed)) > MAX_VALUES:
            raise UsageError(f"{at}: more than {MAX_VALUES:,} values, with aliases expanded")
