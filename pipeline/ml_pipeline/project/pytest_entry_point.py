"""pytest entry point: the fixtures and the import path of ml-pipeline in a plain ``pytest``.

It imports nothing heavy, since every pytest of the environment loads it. Without an ml.yaml it does
nothing. See docs/reference/fixtures.md.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

PLUGIN = "ml_pipeline.project.pytest_plugin"


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Append the project's root to ``sys.path``, as the verbs do, before conftest files.

    If the verbs or the project's own ``pythonpath`` added it, its position is kept.
    """
    root = _project(early_config)
    if root is None or early_config.pluginmanager.has_plugin(PLUGIN):
        return
    own = [early_config.rootpath / each for each in early_config.getini("pythonpath")]
    if all(each.resolve() != root.resolve() for each in [*own, *map(Path, sys.path)]):
        sys.path.append(str(root))


def pytest_configure(config: pytest.Config) -> None:
    """Add the fixtures in a project of ml-pipeline."""
    if not config.pluginmanager.has_plugin(PLUGIN) and _project(config) is not None:
        config.pluginmanager.register(import_module(PLUGIN), PLUGIN)


def _project(config: pytest.Config) -> Path | None:
    here = config.rootpath
    return next((each for each in (here, *here.parents) if (each / "ml.yaml").is_file()), None)
