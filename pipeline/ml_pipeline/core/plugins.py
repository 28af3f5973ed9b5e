"""Plug-ins: classes that installed packages offer by entry point, found and loaded in one way.

A plug-in that is missing, broken or provided twice is a usage error: retrying does not help.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ml_pipeline.core.errors import PipelineError, UsageError, nearest


@dataclass(frozen=True)
class Plugin:
    """An entry point of a group and the distribution that offers it."""

    entry: EntryPoint

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self.entry.name

    @property
    def distribution(self) -> tuple[str, str] | None:
        """Name and version of the distribution; None for an entry point that belongs to none."""
        found = self.entry.dist
        return (found.name, found.version) if found is not None else None

    def __str__(self) -> str:
        """Return the plug-in as messages name it: entry point, its object and its distribution."""
        package = " ".join(self.distribution or ("unknown",))
        return f"'{self.name}' ({self.entry.value}, entry point of {self.entry.group} in {package})"

    def load(self, *, attributes: Collection[str] = ()) -> Any:
        """Import the object that the entry point names.

        Args:
            attributes: Names that the object must have, such as a protocol's methods.

        Raises:
            UsageError: importing it fails, whatever the reason, or it lacks one of the attributes.
        """
        try:
            loaded = self.entry.load()
        except PipelineError:
            raise
        except (Exception, SystemExit) as error:
            raise UsageError(
                f"plug-in {self} cannot be loaded: {type(error).__name__}: {error}",
                hint="install or repair the package that provides it",
            ) from error
        missing = sorted(each for each in attributes if not hasattr(loaded, each))
        if missing:
            raise UsageError(
                f"plug-in {self} has no {', '.join(missing)}",
                hint="install a version of the package that supports this ml-pipeline",
            )
        return loaded


def installed_plugins(group: str) -> dict[str, Plugin]:
    """Return the plug-ins of a group by name, sorted, without importing them.

    Raises:
        UsageError: two distributions offer the same name.
    """
    plugins: dict[str, Plugin] = {}
    found = [Plugin(entry) for entry in entry_points(group=group)]
    for plugin in sorted(found, key=lambda each: (each.name, each.distribution or ())):
        other = plugins.setdefault(plugin.name, plugin)
        if other != plugin:
            raise UsageError(
                f"two plug-ins of one name: {other} and {plugin}",
                hint="uninstall one of the two packages",
            )
    return plugins


def find_plugin(group: str, name: str, *, what: str) -> Plugin:
    """Return the plug-in of this name.

    Args:
        group: Of the entry point, such as ``ml_pipeline.targets``.
        name: As configuration has it.
        what: The start of the message where there is none, such as ``deployment target``.

    Raises:
        UsageError: no installed distribution offers it, or two do.
    """
    plugins = installed_plugins(group)
    if name not in plugins:
        raise UsageError(f"unknown {what} '{name}'", hint=nearest(name, plugins))
    return plugins[name]


def load_plugin(group: str, name: str, *, what: str, attributes: Collection[str] = ()) -> Any:
    """Find the plug-in of this name and import its object; see :func:`find_plugin`.

    Raises:
        UsageError: there is none or there are two, it cannot be imported, or it lacks one of the
            attributes.
    """
    return find_plugin(group, name, what=what).load(attributes=attributes)
