"""Imports modules of a project's repository: feature modules and its own plug-ins.

The root is appended to ``sys.path``, never put first: an installed package wins over a file of the
same name, and a name that leads outside the root is refused. A process imports from one project at
a time: the modules of another root are dropped from ``sys.modules`` first.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_pipeline.core.errors import UsageError, nearest


def load_module(root: Path, name: str, *, key: str) -> ModuleType:
    """Import the module ``name`` of the project at ``root``.

    Args:
        root: The project's root.
        name: The module's, with dots.
        key: The configuration key that names it, for messages.

    Raises:
        UsageError: there is no such module, it does not import, or it is not the project's.
    """
    _importer.serve(root.resolve())
    return _importer.load(name, key)


def load_object(root: Path, reference: str, *, key: str) -> Any:
    """Import ``module:name`` of the project at ``root`` and return the object.

    Raises:
        UsageError: the reference has another form, the module cannot be imported or is not the
            project's, or it has no such name.
    """
    module_name, _, name = reference.partition(":")
    if not module_name or not name.isidentifier():
        raise UsageError(f"{key} is '{reference}'", expected="'module:Name'")
    module = load_module(root, module_name, key=key)
    if not hasattr(module, name):
        public = [each for each in vars(module) if not each.startswith("_")]
        raise UsageError(f"{key}: module {module_name} has no '{name}'", hint=nearest(name, public))
    return getattr(module, name)


def check_reference(root: Path, reference: str, *, key: str) -> None:
    """Check that ``module:name`` is in the project at ``root``, without importing it.

    A name that the module makes while it runs (``from x import *``, ``__getattr__``) is accepted.

    Raises:
        UsageError: there is no such file, it is not Python, or it defines no such name.
    """
    module, _, name = reference.partition(":")
    path = root / (module.replace(".", "/") + ".py")
    if not path.is_file():
        path = root / module.replace(".", "/") / "__init__.py"
    if not path.is_file():
        raise UsageError(
            f"{key}: there is no module {module} in {root}",
            expected=f"{module.replace('.', '/')}.py",
        )
    try:
        tree = ast.parse(path.read_bytes(), str(path))
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{key}: {path} is not Python: {error}") from None
    names = _defined_names(tree)
    if name not in names and not names & {"*", "__getattr__"}:
        public = sorted(each for each in names if not each.startswith("_"))
        raise UsageError(f"{key}: module {module} has no '{name}'", hint=nearest(name, public))


def _defined_names(tree: ast.Module) -> set[str]:
    """Return the names that a module binds anywhere, those inside functions included."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def search_path(root: Path) -> list[str]:
    """Return the search path for modules of the project at ``root``.

    That is ``sys.path`` without another project that this process served before, then the root.
    """
    home, served = root.resolve(), _importer.root
    other = None if served in (None, home) else str(served)
    return [*(entry for entry in sys.path if entry != other), str(home)]


class _Importer:
    """Imports modules of one root at a time."""

    def __init__(self) -> None:
        self.root: Path | None = None
        self.imported: set[str] = set()

    def serve(self, root: Path) -> None:
        if root == self.root:
            return
        if self.root is not None:
            sys.path[:] = [entry for entry in sys.path if entry != str(self.root)]
        for name in self.imported:
            sys.modules.pop(name, None)
        self.root, self.imported = root, set()
        if str(root) not in sys.path:
            sys.path.append(str(root))
        importlib.invalidate_caches()

    def load(self, name: str, key: str) -> ModuleType:
        before = set(sys.modules)
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and error.name in _ancestry(name):
                fault = f"{key}: there is no module {name} in {self.root}"
            else:
                reason = f"{type(error).__name__}: {error}"
                fault = f"{key}: {name} cannot be imported: {reason}"
            raise UsageError(fault) from error
        finally:
            self.imported |= {
                new for new in set(sys.modules) - before if self._owns(sys.modules[new])
            }
        if not self._owns(module):
            raise UsageError(
                f"{key}: {name} is {module.__file__ or 'built in'}",
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
