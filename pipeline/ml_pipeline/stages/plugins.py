"""Stages of other distributions, beside those of the table."""

from __future__ import annotations

from collections.abc import Mapping

from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.stages.record import Stage
from ml_pipeline.stages.table import STAGES

GROUP = "ml_pipeline.stages"


def all_stages() -> Mapping[str, Stage]:
    """Return every stage that is installed, in the order of the delivery.

    Raises:
        UsageError: a plug-in cannot be loaded, is no ``Stage`` of its entry point's name, has the
            name of another stage or stands after a stage that does not exist.
    """
    from ml_pipeline.core.plugins import installed_plugins

    plugins = installed_plugins(GROUP)
    if not plugins:
        return STAGES
    records: dict[str, Stage] = {}
    for name, plugin in plugins.items():
        record = plugin.load()
        if not isinstance(record, Stage) or record.name != name:
            raise UsageError(
                f"plug-in {plugin} is {record!r:.80}",
                expected=f"an ml_pipeline.Stage with the name '{name}'",
            )
        if name in STAGES:
            raise UsageError(
                f"plug-in {plugin} has the name of a stage of ml-pipeline",
                hint="rename it, or uninstall the package that provides it",
            )
        if record.after and record.after not in STAGES:
            raise UsageError(
                f"plug-in {plugin}: no stage '{record.after}' to stand after",
                hint=nearest(record.after, STAGES),
            )
        records[name] = record
    ordered: dict[str, Stage] = {}
    for stage in STAGES.values():
        ordered[stage.name] = stage
        ordered |= {name: one for name, one in records.items() if one.after == stage.name}
    return ordered | records


def stage_named(name: str) -> Stage:
    """Return the stage; raises UsageError with the nearest name where there is none."""
    stages = STAGES if name in STAGES else all_stages()
    if name not in stages:
        raise UsageError(f"unknown stage '{name}'", hint=nearest(name, stages))
    return stages[name]
