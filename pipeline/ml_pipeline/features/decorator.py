"""The ``@feature`` decorator of a project's feature functions, and their discovery."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload

from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.project_modules import load_module
from ml_pipeline.problem import FeatureFunction, Scope

SCOPES: tuple[Scope, ...] = ("entity", "day", "row")
_MARK = "__ml_pipeline_scope__"

F = TypeVar("F", bound=Callable[..., Any])


@overload
def feature(function: F) -> F: ...
@overload
def feature(function: None = None, *, scope: Scope = "entity") -> Callable[[F], F]: ...
def feature(function: F | None = None, *, scope: Scope = "entity") -> F | Callable[[F], F]:
    """Mark a function of the project as a feature function; with or without a scope.

    The function gets a pandas frame and returns a Series (one feature, named like the Series or,
    where it has no name, like the function) or a frame (a feature for each column), of the same
    length and index. Numbers become float32; text makes a categorical feature.

    Args:
        function: set by Python when the decorator is used without parentheses.
        scope: the rows that a call gets. ``entity``: one contiguous series of an entity's rows in
            time order. ``day``: all rows of one day. ``row``: the whole frame, mapped row by row.

    Raises:
        UsageError: the scope is not one of these.
    """
    if scope not in SCOPES:
        raise UsageError(f"@feature(scope={scope!r})", expected=f"one of {', '.join(SCOPES)}")

    def mark(marked: F) -> F:
        setattr(marked, _MARK, scope)
        return marked

    return mark if function is None else mark(function)


def load_modules(root: Path, names: Sequence[str]) -> list[FeatureFunction]:
    """Import the project's modules and return their marked functions, in the order of the files.

    Raises:
        UsageError: a module is missing, is not the project's, cannot be imported or has no feature
            function, or two feature functions have the same name.
    """
    found: dict[str, FeatureFunction] = {}
    for name in names:
        functions = _marked(load_module(root, name, key="features.modules"), name)
        if not functions:
            raise UsageError(
                f"features.modules: {name} has no feature function",
                expected="@feature on at least one function",
            )
        for function in functions:
            other = found.setdefault(function.name, function)
            if other.module != function.module:
                raise UsageError(
                    f"features.modules: {other.where} and {function.where} have the same name",
                    hint="rename one of them",
                )
    return list(found.values())


def _marked(module: ModuleType, name: str) -> list[FeatureFunction]:
    return [
        FeatureFunction(key, name, getattr(value, _MARK), value)
        for key, value in vars(module).items()
        if callable(value) and hasattr(value, _MARK) and getattr(value, "__module__", "") == name
    ]
