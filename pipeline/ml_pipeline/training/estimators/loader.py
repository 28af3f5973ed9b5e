"""Finds estimator plug-ins by entry point and checks their parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.plugins import find_plugin, installed_plugins
from ml_pipeline.core.schema_errors import parse

if TYPE_CHECKING:
    from ml_pipeline.config import Section
    from ml_pipeline.training.estimators.base import Estimator

ESTIMATOR_PLUGINS = "ml_pipeline.estimators"
"""The group of their entry points."""

ATTRIBUTES = (
    "name", "title", "Parameters", "objectives", "packages", "native_file", "fit",
    "predict_native",
)  # fmt: skip

OWN_ESTIMATOR = r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_]*$"
"""How the configuration names an estimator of the project's own: module and object."""


def is_own(name: str) -> bool:
    """Return whether ``train.estimator`` names one in the project's repository.

    Raises:
        UsageError: it has a colon and yet another form than ``module:Name``.
    """
    if ":" not in name:
        return False
    if re.fullmatch(OWN_ESTIMATOR, name) is None:
        raise UsageError(f"train.estimator is '{name}'", expected="a name, or module:Name")
    return True


_loaded: dict[str, Estimator] = {}


def load_estimator(name: str) -> Estimator:
    """Return the estimator plug-in of this name, or the project's own of the form ``module:Name``.

    One of the project's own is only described: none of its code is imported, and it cannot be
    fitted.

    Raises:
        UsageError: no installed distribution offers it, or it cannot be loaded.
    """
    if is_own(name):
        from ml_pipeline.training.estimators.own import OwnEstimator

        return OwnEstimator(name)
    if name not in _loaded:
        plugin = find_plugin(ESTIMATOR_PLUGINS, name, what="train.estimator")
        made = cast("Estimator", plugin.load(attributes=ATTRIBUTES)())
        if made.name != name:
            raise UsageError(
                f"plug-in {plugin} has the name '{made.name}'",
                hint="install a version of the package whose names agree",
            )
        _loaded[name] = made
    return _loaded[name]


def installed_estimators() -> dict[str, Estimator]:
    """Return every installed estimator by its name, sorted."""
    return {name: load_estimator(name) for name in installed_plugins(ESTIMATOR_PLUGINS)}


def loaded_packages() -> dict[str, str]:
    """Return the packages of the plug-ins that this process has loaded; see ``Estimator``."""
    return {
        package: module
        for estimator in _loaded.values()
        for package, module in estimator.packages.items()
    }


def check_parameters(
    estimator: Estimator, values: Mapping[str, Any], where: str = "train.params"
) -> Section:
    """Return the checked parameters of an estimator, defaults included.

    ``where`` is what messages call the place that the values come from.

    Raises:
        UsageError: a parameter is unknown, or a value is out of its range.
    """
    return parse(estimator.Parameters, values, f"{where} of {estimator.name}")
