"""pytest entry point: the fixtures and the import path of ml-pipeline in a plain ``pytest``.

It has a name of its own and imports nothing at the top, so that a project with a package
``pipeline`` keeps it. Where there is no ml.yaml it does nothing. See docs/reference/fixtures.md.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

PLUGIN = "pipeline.project.pytest_plugin"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Append the project's root to ``sys.path``, as the verbs do, before conftest files.

    Where the verbs or the project's own ``pythonpath`` put it there, it stays where it is.
    """
    root = _project(early_config)
    if root is None or early_config.pluginmanager.has_plugin(PLUGIN):
        return
    own = [early_config.rootpath / each for each in early_config.getini("pythonpath")]
    if all(each.resolve() != root.resolve() for each in [*own, *map(Path, sys.path)]):
        sys.path.append(str(root))


def pytest_configure(config: pytest.Config) -> None:
    """Add the fixtures, unless the project's own package ``pipeline`` hides the installed one."""
    if config.pluginmanager.has_plugin(PLUGIN) or _project(config) is None or not _is_installed():
        return
    config.pluginmanager.register(import_module(PLUGIN), PLUGIN)


def pytest_report_header(config: pytest.Config) -> str | None:
    if _project(config) is None or _is_installed():
        return None
    return (
        "ml-pipeline: no fixtures, since a package 'pipeline' of the project hides the installed "
        "one; run the tests by 'ml-pipeline validate-data', 'evaluate' or 'verify'"
    )


def _project(config: pytest.Config) -> Path | None:
    here = config.rootpath
    return next((each for each in (here, *here.parents) if (each / "ml.yaml").is_file()), None)


def _is_installed() -> bool:
    """Whether ``pipeline`` is this distribution's package, and not another one of that name."""
    spec = find_spec("pipeline")
    if spec is None or spec.origin is None:
        return False
    return (Path(spec.origin).parent / "project" / "pytest_plugin.py").is_file()
