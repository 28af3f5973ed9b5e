"""Validation errors of pydantic in plain words: the key, its value, and the violated rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ml_pipeline.core.errors import UsageError, nearest

M = TypeVar("M", bound=BaseModel)

LONGEST = 80
TAG = re.compile(
    r"(bool|int|float|str|path|date|datetime)|(constrained|function|literal|list|tuple|dict|nullable|lax-or-strict|is-instance)\b.*"
)
"""Pydantic's name of a union member that did not match."""

_PATTERNS: dict[str, str] = {}


def pattern(regex: str, rule: str) -> str:
    """Return a regular expression for a field, and remember the rule in words for messages."""
    _PATTERNS[regex] = rule
    return regex


def rule_of(regex: str) -> str | None:
    """Return the words of a field's regular expression; None where it has none."""
    return _PATTERNS.get(regex)


def _items(context: Mapping[str, Any], word: str, key: str) -> str:
    number = context[key]
    return f"{word} {number} {'item' if number == 1 else 'items'}"


def _text_length(context: Mapping[str, Any]) -> str:
    number = context["min_length"]
    return "a text that is not empty" if number == 1 else f"a text of {number} characters or more"


RULES: Mapping[str, str | Callable[[Mapping[str, Any]], str]] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of at most 4,300 digits",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "string_sub_type": "a text",
    "string_unicode": "a text in UTF-8",
    "string_too_short": _text_length,
    "string_too_long": lambda context: f"a text of {context['max_length']} characters or fewer",
    "string_pattern_mismatch": lambda context: (
        rule_of(context["pattern"]) or f"a text that matches {context['pattern']}"
    ),
    "greater_than": lambda context: f"more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"at least {context['ge']:g}",
    "less_than": lambda context: f"less than {context['lt']:g}",
    "less_than_equal": lambda context: f"at most {context['le']:g}",
    "literal_error": lambda context: str(context["expected"]),
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "iterable_type": "a list",
    "dict_type": "keys with values",
    "mapping_type": "keys with values",
    "model_type": "a section with keys of its own",
    "model_attributes_type": "a section with keys of its own",
    "dataclass_type": "a section with keys of its own",
    "path_type": "a path, as text",
    "too_short": lambda context: _items(context, "at least", "min_length"),
    "too_long": lambda context: _items(context, "at most", "max_length"),
    "none_required": "nothing",
    "missing": "a value",
    "extra_forbidden": "no such key",
    "datetime_type": "a date and time",
    "datetime_parsing": "a date and time",
    "datetime_from_date_parsing": "a date and time",
    "date_type": "a date, YYYY-MM-DD",
    "date_parsing": "a date, YYYY-MM-DD",
    "date_from_datetime_parsing": "a date, YYYY-MM-DD",
}
"""What is expected, by pydantic's name of the error."""


def rule(item: Mapping[str, Any]) -> str:
    """Return what was expected where pydantic found an error."""
    found = RULES.get(item["type"])
    if found is None:
        message = str(item["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
        return message[:1].lower() + message[1:]
    return found if isinstance(found, str) else found(item.get("ctx", {}))


def shown(value: Any) -> str:
    """Return a value as YAML would have it, short enough for a line."""
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return f"a section with the keys {', '.join(map(str, value))}"[:LONGEST] if value else "{}"
    text = f"[{', '.join(map(shown, value))}]" if isinstance(value, list | tuple) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def reason(error: ValidationError) -> str:
    """Return the first validation error of a record, in a few words."""
    item = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "missing":
        return f"'{key}' is missing"
    if item["type"] == "extra_forbidden":
        return f"unknown key '{key}'"
    return f"{key or 'it'} is {shown(item.get('input'))}, expected {rule(item)}"


def parse(
    model: type[M],
    values: Mapping[str, Any],
    where: str,
    origins: Mapping[str, str] | None = None,
) -> M:
    """Validate ``values``; the first error becomes one line that names the key.

    Args:
        model: What they are to be.
        values: As they were read.
        where: The file that they come from.
        origins: Dotted keys that come from elsewhere, and from where.

    Raises:
        UsageError: with the nearest known key, where the key is unknown.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        found: list[dict[str, Any]] = [dict(one) for one in error.errors(include_url=False)]
    for item in found:
        item["loc"] = _without_tags(item, values)
    first = min(found, key=lambda item: bool(item["type"] != "extra_forbidden"))
    inside = [item for item in found if item["loc"][: len(first["loc"])] == first["loc"]]
    first = max(inside, key=lambda item: len(item["loc"]))
    location = [str(part) for part in first["loc"]]
    written = _as_written(first["loc"], values)
    key = ".".join(written)
    where = _origin(written, origins or {}) or where
    kind, context = first["type"], first.get("ctx", {})
    if kind == "extra_forbidden":
        known = _known_keys(model, location[:-1])
        raise UsageError(f"{where}: unknown key '{key}'", hint=nearest(location[-1], known))
    if kind in ("missing", "union_tag_not_found"):
        lacking = key if kind == "missing" else f"{key}.kind"
        raise UsageError(f"{where}: '{lacking}' is missing")
    if kind == "union_tag_invalid":
        known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        raise UsageError(
            f"{where}: {key}.kind is {shown(first['input']['kind'])}",
            hint=nearest(context["tag"], known),
        )
    value = first.get("input")
    same = [item for item in found if item["loc"] == first["loc"]]
    expected = " or ".join(dict.fromkeys(rule(item) for item in same))
    if written and written[-1] == "[key]":
        raise UsageError(
            f"{where}: {'.'.join(written[:-2])} has the name {shown(value)}", expected=expected
        )
    raise UsageError(
        f"{where}: {key or 'the whole'} is {shown(value)}",
        expected=expected,
        hint=_hint(kind, value, context),
    )


def _hint(kind: str, value: Any, context: Mapping[str, Any]) -> str:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "write it in quotes"
    if kind == "literal_error" and isinstance(value, str):
        known = re.findall(r"'([^']+)'", str(context["expected"]))
        found = nearest(value, known)
        return found if found.startswith("did you mean") else ""
    return ""


def _origin(location: Sequence[str], origins: Mapping[str, str]) -> str | None:
    """Return the origin of a key, or of the key that contains it; None for the file itself.

    An unknown section comes from where all of its keys do.
    """
    for length in range(len(location), 0, -1):
        if found := origins.get(".".join(location[:length])):
            return None if found == "ml.yaml" else found
    inside = ".".join(location) + "."
    within = {origin for key, origin in origins.items() if key.startswith(inside)}
    return within.pop() if len(within) == 1 and "ml.yaml" not in within else None


def _without_tags(item: Mapping[str, Any], values: Any) -> tuple[Any, ...]:
    """Return a location without the members of unions that pydantic names in it."""
    node, found = values, []
    for part in item["loc"]:
        inside = isinstance(node, Mapping) and part in node
        if not inside and isinstance(part, str) and TAG.fullmatch(part):
            continue
        found.append(part)
        node = _child(node, part)
    return tuple(found)


def _as_written(location: Sequence[Any], values: Any) -> list[str]:
    """Return a location without the kinds of sections that pydantic names in it."""
    written, node = [], values
    for part in location:
        if not _is_kind(part, node):
            written.append(str(part))
        node = _child(node, part)
    return written


def _is_kind(part: Any, node: Any) -> bool:
    """Return whether pydantic names the ``kind`` of a section here, which is not a key."""
    return isinstance(node, Mapping) and part not in node and node.get("kind") == part


def _child(node: Any, part: Any) -> Any:
    if _is_kind(part, node):
        return node
    if isinstance(node, Mapping):
        return node.get(part)
    inside = isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
    return node[part] if inside else None


def _known_keys(model: type[BaseModel], location: list[str]) -> list[str]:
    schema: Any = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def resolve(node: Any) -> list[Any]:
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rsplit("/", 1)[-1]])
        variants = node.get("anyOf", []) + node.get("oneOf", [])
        return [inner for variant in variants for inner in resolve(variant)] or [node]

    nodes = [schema]
    for part in location:
        inner = []
        for node in nodes:
            if part in node.get("properties", {}):
                inner += resolve(node["properties"][part])
            elif isinstance(node.get("additionalProperties"), dict):
                inner += resolve(node["additionalProperties"])
            elif "patternProperties" in node:
                inner += [
                    each for any_ in node["patternProperties"].values() for each in resolve(any_)
                ]
            elif "items" in node and part.isdigit():
                inner += resolve(node["items"])
        named = [
            node
            for node in nodes
            if node.get("properties", {}).get("kind", {}).get("const") == part
        ]
        nodes = inner or named or nodes
    return sorted({key for node in nodes for key in node.get("properties", {})})
