"""Writes docs/reference/python-api.md: what ``ml_pipeline`` exports, with its signatures."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from itertools import pairwise

import ml_pipeline

HEAD = """\
# Public Python interface

The names that feature modules, tests and plug-ins import, with `from ml_pipeline import NAME`.
Everything else in the package may change without notice. Rules for changes of these names:
[CONTRIBUTING.md](../../CONTRIBUTING.md#versions-and-deprecation). Generated from
`ml_pipeline.__all__`; do not edit by hand.
"""


def page() -> str:
    lines = [HEAD, "| name | |", "|---|---|"]
    for name in sorted(ml_pipeline.__all__, key=str.lower):
        first = _plain(docstring_of(name)).split("\n\n")[0]
        lines.append(f"| [`{name}`](#{name.lower()}) | {' '.join(first.split())} |")
    for name in sorted(ml_pipeline.__all__, key=str.lower):
        lines += ["", f"## {name}", "", "```python", _signature(name), "```", ""]
        lines += [_plain(docstring_of(name))]
        for member, docstring in _members(getattr(ml_pipeline, name)):
            lines += ["", f"`{member}`", "", _plain(docstring)]
    return "\n".join(lines).rstrip() + "\n"


def docstring_of(name: str) -> str:
    """Return the docstring of a public name; of a type alias, the text below its assignment."""
    value = getattr(ml_pipeline, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return inspect.cleandoc(value.__doc__ or "").strip()
    return _alias(name)[1]


def _alias(name: str) -> tuple[str, str]:
    """Return the value of a type alias, and the text below its assignment."""
    rooms = ml_pipeline.MODULES.items()
    room = next(room for room, names in rooms if name in names)
    module = import_module(f"{ml_pipeline.__name__}.{room}")
    statements = ast.parse(inspect.getsource(module)).body
    for statement, following in pairwise(statements):
        if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == name:
            text = following.value if isinstance(following, ast.Expr) else None
            documented = isinstance(text, ast.Constant) and isinstance(text.value, str)
            return str(getattr(ml_pipeline, name)), inspect.cleandoc(
                text.value
            ) if documented else ""
    raise ValueError(f"ml_pipeline.{name} is not a class, function or type alias")


def _signature(name: str) -> str:
    value = getattr(ml_pipeline, name)
    if inspect.isfunction(value):
        return f"def {name}{_parameters(value)}"
    if not inspect.isclass(value):
        return f"{name} = {_alias(name)[0]}"
    bases = [
        base.__name__
        for base in value.__bases__
        if base is not object and not base.__name__.startswith("_")
    ]
    lines = [f"class {name}({', '.join(bases)})" if bases else f"class {name}"]
    fields = vars(value).get("__annotations__", {})
    lines += [f"    {field}: {kind}" for field, kind in fields.items() if not field.startswith("_")]
    if issubclass(value, str):
        lines += [f'    {member.name} = "{member.value}"' for member in value]
    return "\n".join(lines)


def _parameters(value: object) -> str:
    text = str(inspect.signature(value))  # type: ignore[arg-type]
    return text.replace("'", "")


def _members(value: object) -> list[tuple[str, str]]:
    """Return the documented methods, with their parameters, and properties of a class."""
    members = []
    for name, member in vars(value).items() if inspect.isclass(value) else ():
        function = member.__func__ if isinstance(member, classmethod) else member
        if name.startswith("_") or not getattr(function, "__doc__", None):
            continue
        if inspect.isfunction(function):
            members.append((f"{name}{_parameters(function)}", inspect.getdoc(function) or ""))
        elif isinstance(function, property):
            members.append((name, inspect.getdoc(function) or ""))
    return members


def _plain(docstring: str) -> str:
    """Return a docstring as Markdown: code in single quotes, sections as lists."""
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", docstring.replace("``", "`"))
    text = re.sub(r"^(Args|Raises|Returns):$", r"\1:\n", text, flags=re.MULTILINE)
    text = re.sub(r"^ {8}(\S)", r"  \1", text, flags=re.MULTILINE)
    return re.sub(r"^ {4}(\S)", r"- \1", text, flags=re.MULTILINE)
