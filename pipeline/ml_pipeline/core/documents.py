"""Reads YAML and JSON documents, bounded in size, depth, number of nodes and range of numbers.

A document may come from an untrusted author. What would take
minutes or memory without end (aliases of aliases, a node inside itself, deep nesting, integers of
thousands of digits), what Python and other readers understand differently (a key twice, NaN) and
what no path or comparison can take (NUL, halves of characters) is refused with its line.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import UsageError

if TYPE_CHECKING:
    import yaml

MAX_YAML = 1 << 20
"""Bytes of a YAML document; about ten thousand lines are parsed per second."""
MAX_JSON = 16 << 20
MAX_NODES = 50_000
"""Nodes of a YAML document; an alias counts as all nodes of its anchor."""
MAX_DEPTH = 64
MAX_INTEGER = 2**63
DIGITS = 40
"""Characters of an integer, in any base."""
OTHER_BASE = re.compile(r"[-+]?(0_*[0-9][0-9_]*|[0-9][0-9_]*(:[0-9_]+)+(\.[0-9_]*)?)")
"""Numbers that YAML 1.1 reads unlike most people: ``010`` is 8, ``1:30`` is 90."""
NO_TEXT = "a text with a NUL or half a character"

TAG = "tag:yaml.org,2002:"
PLAIN_TAGS = frozenset(TAG + name for name in ("str", "int", "float", "bool", "null", "map", "seq"))
MERGE = TAG + "merge"
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')
_SURROGATE = re.compile("[\ud800-\udfff]")


class DocumentError(UsageError):
    """A document was rejected; has the place and the reason."""


class NotYamlError(DocumentError):
    """A text is not YAML, or has values other than plain ones."""


def read_yaml(path: Path, where: str = "") -> Any:
    """Return the content of a YAML file as plain objects; see :func:`parse_yaml`.

    Raises:
        OSError: the file cannot be read.
        DocumentError: it is no regular file, is larger than 1 MiB, or is not read for its content.
    """
    where = where or str(path)
    return parse_yaml(read_bytes(path, where, MAX_YAML), where)


def read_json(path: Path, where: str = "") -> Any:
    """Return the content of a JSON file as plain objects; see :func:`parse_json`.

    Raises:
        OSError: the file cannot be read.
        DocumentError: it is no regular file, is larger than 16 MiB, or is not read for its content.
    """
    where = where or str(path)
    return parse_json(read_bytes(path, where, MAX_JSON), where)


def parse_yaml(content: bytes | str, where: str) -> Any:
    """Return a YAML document as plain objects: no tags of types beyond those of JSON, and dates.

    Args:
        content: UTF-8.
        where: What messages call it.

    Raises:
        DocumentError: with the line, where there is one.
    """
    import yaml

    text = _text(content, where, MAX_YAML)
    base = _base()
    try:
        _check_events(yaml.parse(text, Loader=base), where)
        return _construct(_loader(base)(text), where)
    except _ValueError as error:
        raise DocumentError(f"{where}: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NotYamlError(f"{where} is not YAML: {place}{error.problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise NotYamlError(f"{where} is not YAML: line {line}: {error.reason}") from None
    except yaml.YAMLError as error:
        raise NotYamlError(f"{where} is not YAML: {error}") from None


def reason(error: Exception) -> str:
    """Return in a few words why a document was rejected or does not match its schema."""
    if isinstance(error, DocumentError):
        return error.fault
    from pydantic import ValidationError

    from ml_pipeline.core import schema_errors

    return schema_errors.reason(error) if isinstance(error, ValidationError) else str(error)


def parse_json(content: bytes | str, where: str) -> Any:
    """Return a JSON document as plain objects.

    Raises:
        DocumentError: with the line, where there is one.
    """
    text = _text(content, where, MAX_JSON)
    try:
        value = json.loads(
            text,
            object_pairs_hook=unique,
            parse_constant=_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        _check_values(value)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DocumentError(f"{where} is not JSON: {place}: {error.msg}") from None
    except KeyTwiceError:
        name, line = _key_twice(text)
        raise _twice(where, name, line) from None
    except RecursionError:
        raise _too_deep(where) from None
    except _ValueError as error:
        raise DocumentError(f"{where}: {error}") from None
    return value


# --- YAML -------------------------------------------------------------------------------------


@dataclass
class _Open:
    """An open collection and the number of nodes read so far, with aliases expanded."""

    anchor: str | None
    nodes: int = 1


def _base() -> Any:
    """Return the safe loader of libyaml, or of Python if PyYAML was built without it."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_events(events: Iterator[Any], where: str) -> None:
    """Refuse what is too large, too deep, inside itself or of a type of its own."""
    import yaml

    sizes: dict[str, int] = {}
    open_: list[_Open] = []
    total = 0
    for event in events:
        line = event.start_mark.line + 1
        size = 0
        if isinstance(event, yaml.AliasEvent):
            if any(node.anchor == event.anchor for node in open_):
                raise DocumentError(f"{where}: line {line}: '*{event.anchor}' is inside itself")
            size = sizes.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            size = 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if "\0" in event.value or _SURROGATE.search(event.value):
                raise DocumentError(f"{where}: line {line}: {NO_TEXT}")
        elif isinstance(event, yaml.CollectionStartEvent):
            open_.append(_Open(event.anchor))
            if len(open_) > MAX_DEPTH:
                raise _too_deep(f"{where}: line {line}")
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = open_.pop()
            size = ended.nodes
            if ended.anchor is not None:
                sizes[ended.anchor] = size
        tag = getattr(event, "tag", None)
        if tag not in (None, "!") and tag not in PLAIN_TAGS:
            raise NotYamlError(
                f"{where}: line {line}: tag {tag.removeprefix(TAG)!r}",
                expected="plain values: texts, numbers, true and false, lists and mappings",
            )
        if open_:
            open_[-1].nodes += size
        total = sum(node.nodes for node in open_)
        if max(total, size) > MAX_NODES:
            raise DocumentError(
                f"{where}: line {line}: more than {MAX_NODES:,} values, with aliases expanded",
                expected="a document that a person could read",
            )


def _loader(base: Any) -> Any:
    class Loader(base):  # type: ignore[misc]
        """The safe loader, whose numbers are bounded."""

    Loader.add_constructor(TAG + "int", _yaml_integer)
    Loader.add_constructor(TAG + "float", _yaml_float)
    Loader.add_constructor(TAG + "timestamp", _yaml_timestamp)
    return Loader


def _construct(loader: Any, where: str) -> Any:
    """Return the value of a loader's one document, without a key twice."""
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(loader, node, where)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_keys(loader: Any, root: yaml.Node, where: str) -> None:
    import yaml

    waiting, seen = deque([root]), {id(root)}
    while waiting:
        node = waiting.popleft()
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            keys: set[Any] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise DocumentError(f"{where}: line {line}: a key is no single value")
                name = key.value if key.tag == MERGE else loader.construct_object(key)
                if name in keys:
                    raise _twice(where, key.value, line)
                keys.add(name)
                children.append(value)
        elif isinstance(node, yaml.SequenceNode):
            children = list(node.value)
        for child in children:
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)


def _yaml_integer(loader: Any, node: yaml.ScalarNode) -> int:
    text = _decimal(loader, node)
    if len(text) <= DIGITS:
        try:
            value: int = _standard().construct_yaml_int(loader, node)
        except ValueError:
            raise _bad(node, "no integer") from None
        if abs(value) <= MAX_INTEGER:
            return value
    raise _bad(node, "an integer beyond 64 bits")


def _yaml_float(loader: Any, node: yaml.ScalarNode) -> float:
    text = _decimal(loader, node)
    try:
        value: float = _standard().construct_yaml_float(loader, node) if len(text) <= 400 else 0.0
    except (ValueError, OverflowError):
        raise _bad(node, "no number") from None
    if len(text) > 400 or not math.isfinite(value):
        raise _bad(node, "not a finite number")
    return value


def _decimal(loader: Any, node: yaml.ScalarNode) -> str:
    text: str = loader.construct_scalar(node)
    if OTHER_BASE.fullmatch(text[:DIGITS]):
        raise _bad(node, "another number in YAML than it looks; quote a text, write a decimal")
    return text


def _yaml_timestamp(loader: Any, node: yaml.ScalarNode) -> Any:
    try:
        return _standard().construct_yaml_timestamp(loader, node)
    except (ValueError, OverflowError) as error:
        raise _bad(node, f"no date: {error}") from None


def _standard() -> Any:
    from yaml.constructor import SafeConstructor

    return SafeConstructor


def _bad(node: yaml.ScalarNode, why: str) -> _ValueError:
    return _ValueError(f"line {node.start_mark.line + 1}: {_short(node.value)} is {why}")


# --- JSON -------------------------------------------------------------------------------------


class _ValueError(Exception):
    """A value that is not accepted."""


class KeyTwiceError(ValueError):
    """An object has a key twice; it is in ``args``."""


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a mapping, as ``object_pairs_hook`` does.

    Raises:
        KeyTwiceError: naming the key.
    """
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise KeyTwiceError(name)
        found[name] = value
    return found


def _constant(name: str) -> None:
    raise _ValueError(f"{name} is not a JSON number")


def _integer(text: str) -> int:
    if len(text) > DIGITS or abs(int(text)) > MAX_INTEGER:
        raise _ValueError(f"{_short(text)} is an integer beyond 64 bits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _ValueError(f"{_short(text)} is not a finite number")
    return value


def _check_values(root: Any) -> None:
    """Refuse deep nesting, and texts that cannot be a path or be written as UTF-8."""
    level, depth = [root], 0
    while level:
        if depth > MAX_DEPTH:
            raise RecursionError
        depth += 1
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.keys()
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, str) and ("\0" in value or _SURROGATE.search(value)):
                raise _ValueError(f"{_short(ascii(value))}: {NO_TEXT}")
        level = below


def _key_twice(text: str) -> tuple[str, int]:
    """Return the first key that an object has again, and its line, in what is JSON up to there."""
    objects: list[set[str] | None] = []
    before = ""
    at = 0
    for token in _JSON_TOKEN.finditer(text):
        word = token.group()
        if word == "{":
            objects.append(set())
        elif word == "[":
            objects.append(None)
        elif word in "}]":
            objects.pop()
        elif word == ":" and objects and (keys := objects[-1]) is not None:
            name = str(json.loads(before))
            if name in keys:
                return name, text.count("\n", 0, at) + 1
            keys.add(name)
        before, at = word, token.start()
    return "a key", 1


# --- both -------------------------------------------------------------------------------------


def read_bytes(path: Path, where: str = "", limit: int = MAX_YAML) -> bytes:
    """Return the bytes of a regular file, at most one more than the limit.

    Raises:
        OSError: it cannot be read.
        DocumentError: it is no regular file.
    """
    where = where or str(path)
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DocumentError(f"{where} is no regular file", expected="a file")
        return stream.read(limit + 1)


def _text(content: bytes | str, where: str, limit: int) -> str:
    if len(content) > limit:
        raise DocumentError(f"{where} is larger than {limit >> 20} MiB")
    if isinstance(content, str):
        if surrogate := _SURROGATE.search(content):
            line = content.count("\n", 0, surrogate.start()) + 1
            raise DocumentError(f"{where} is not UTF-8 text: line {line}", expected="UTF-8")
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(
            f"{where} is not UTF-8 text: line {line}: {error.reason}", expected="a file in UTF-8"
        ) from None


def _twice(where: str, name: str, line: int) -> DocumentError:
    return DocumentError(
        f"{where}: '{_short(name)}' occurs twice, again in line {line}", expected="each key once"
    )


def _too_deep(where: str) -> DocumentError:
    return DocumentError(f"{where}: nested more than {MAX_DEPTH} deep", expected="fewer levels")


def _short(text: str) -> str:
    return text if len(text) <= DIGITS else f"{text[:DIGITS]}…"
