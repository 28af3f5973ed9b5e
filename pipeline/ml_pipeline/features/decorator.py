"""The ``@feature`` mark of a project's own feature functions, and how they are found."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload

from ml_pipeline.core.errors import UsageError
from ml_pipeline.problem import FeatureFunction, Scope

SCOPES: tuple[Scope, ...] = ("entity", "day", "row")
_MARK = "__ml_pipeline_scope__"

F = TypeVar("F", bound=Callable[..., Any])


@overload
def feature(function: F) -> F: ...
@overload
def feature(function: None = None, *, scope: Scope = "entity") -> Callable[[F], F]: ...
def feature(function: F | None = None, *, scope: Scope = "entity") -> F | Callable[[F], F]:
    """Mark a function of the project as a source of features; used bare or with a scope.

    The function gets a pandas frame and returns a Series (one feature, named like the Series or,
    where it has no name, like the function) or a frame (a feature for each column), of the same
    length and index. Numbers become float32; text makes a categorical feature.

    Args:
        function: filled by Python when the mark is used without parentheses.
        scope: what a call gets. ``entity``: one unbroken stretch of one entity's rows in time
            order. ``day``: all rows of one day. ``row``: the whole frame, to be mapped row by row.

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

    The root is appended to ``sys.path``, never put first: an installed package wins over a file
    of the same name, and a name that leads outside the root is refused. A process serves one
    project at a time: what an earlier root brought in is forgotten.

    Raises:
        UsageError: a module is missing, is not the project's, does not import, marks nothing, or
            two functions have one name.
    """
    home = root.resolve()
    _importer.serve(home)
    found: dict[str, FeatureFunction] = {}
    for name in names:
        functions = _marked(_importer.load(name), name)
        if not functions:
            raise UsageError(
                f"features.modules: {name} marks no function", expected="@feature on at least one"
            )
        for function in functions:
            other = found.setdefault(function.name, function)
            if other.module != function.module:
                raise UsageError(
                    f"features.modules: {other.where} and {function.where} have one name",
                    hint="rename one of them",
                )
    return list(found.values())


def search_path(root: Path) -> list[str]:
    """Return where modules of the project at ``root`` are looked for.

    That is ``sys.path`` without another project that this process served before, then the root.
    """
    home, served = root.resolve(), _importer.root
    other = None if served in (None, home) else str(served)
    return [*(entry for entry in sys.path if entry != other), str(home)]


class _Importer:
    """Imports modules of one root at a time."""

    def __init__(self) -> None:
        self.root: Path | None = None
        self.brought: set[str] = set()

    def serve(self, root: Path) -> None:
        if root == self.root:
            return
        if self.root is not None:
            sys.path[:] = [entry for entry in sys.path if entry != str(self.root)]
        for name in self.brought:
            sys.modules.pop(name, None)
        self.root, self.brought = root, set()
        if str(root) not in sys.path:
            sys.path.append(str(root))
        importlib.invalidate_caches()

    def load(self, name: str) -> ModuleType:
        before = set(sys.modules)
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and error.name in _ancestry(name):
                fault = f"features.modules: there is no module {name} in {self.root}"
            else:
                told = f"{type(error).__name__}: {error}"
                fault = f"features.modules: {name} cannot be imported: {told}"
            raise UsageError(fault) from error
        finally:
            self.brought |= {
                new for new in set(sys.modules) - before if self._owns(sys.modules[new])
            }
        if not self._owns(module):
            raise UsageError(
                f"features.modules: {name} is {module.__file__ or 'built in'}",
                expected=f"a module of {self.root}",
                hint="an installed package has this name: rename the project's",
            )
        return module

    def _owns(self, module: ModuleType) -> bool:
        """Whether the module's file is the project's own, not this package's or installed."""
        file = getattr(module, "__file__", None)
        if file is None:
            file = next(iter(getattr(module, "__path__", ())), None)
        if file is None or self.root is None:
            return False
        path = Path(file).resolve()
        installed = "site-packages" in path.parts or path.is_relative_to(_PACKAGE)
        return path.is_relative_to(self.root) and not installed


_PACKAGE = Path(__file__).resolve().parent.parent
_importer = _Importer()


def _ancestry(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[: count + 1]) for count in range(len(parts))}


def _marked(module: ModuleType, name: str) -> list[FeatureFunction]:
    return [
        FeatureFunction(key, name, getattr(value, _MARK), value)
        for key, value in vars(module).items()
        if callable(value) and hasattr(value, _MARK) and getattr(value, "__module__", "") == name
    ]
