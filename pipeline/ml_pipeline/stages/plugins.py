"""Stages of other distributions, beside those of the table."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.stages.record import Phase, Stage
from ml_pipeline.stages.table import STAGES

if TYPE_CHECKING:
    from ml_pipeline.config import Project

GROUP = "ml_pipeline.stages"


def all_stages() -> Mapping[str, Stage]:
    """Return every stage that is installed, in the order of the delivery.

    Raises:
        UsageError: a plug-in cannot be loaded, is no ``Stage`` of its entry point's name, has the
            name of another stage or follows a stage that does not exist.
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
        if record.phase not in get_args(Phase):
            raise UsageError(
                f"plug-in {plugin}: phase='{record.phase}'",
                hint=nearest(record.phase, get_args(Phase)),
            )
        if record.after and record.after not in STAGES:
            raise UsageError(
                f"plug-in {plugin}: after='{record.after}' names no stage",
                hint=nearest(record.after, STAGES),
            )
        records[name] = record
    ordered: dict[str, Stage] = {}
    for stage in STAGES.values():
        ordered[stage.name] = stage
        ordered |= {name: one for name, one in records.items() if one.after == stage.name}
    return ordered | records


def check_sections(project: Project) -> None:
    """Check the configuration of every plug-in, so that a wrong key is found before any stage runs.

    Raises:
        UsageError: ``stages`` of ``ml.yaml`` names no plug-in that has a section, or a value of it
            is wrong.
    """
    if not project.config.stages:
        return
    from ml_pipeline.config import FILE

    known = {name: stage for name, stage in all_stages().items() if stage.section is not None}
    for name in project.config.stages:
        if name not in known:
            raise UsageError(
                f"{project.root / FILE}: stages: no plug-in '{name}' with a section",
                hint=nearest(name, known),
            )
        section_of(known[name], project)


def section_of(stage: Stage, project: Project) -> Any:
    """Return the plug-in's configuration; None for a stage without a section of its own.

    Raises:
        UsageError: a key is unknown or a value is wrong.
    """
    if stage.section is None:
        return None
    from ml_pipeline.config import FILE
    from ml_pipeline.core.schema_errors import parse

    values = project.config.stages.get(stage.name, {})
    return parse(stage.section, values, f"{project.root / FILE}: stages.{stage.name}")


def may_be_installed() -> bool:
    """Return whether a distribution in a folder of ``sys.path`` registers a stage.

    For the help, which lists all stages: ``importlib.metadata`` takes longer to import than the
    rest of it. Callers that need certainty, such as the gate, call ``all_stages``.
    """
    files = (
        f"{folder}/{name}/entry_points.txt"
        for folder in filter(os.path.isdir, sys.path)
        for name in os.listdir(folder)  # noqa: PTH208  likewise
        if name.endswith((".dist-info", ".egg-info"))
    )
    return any(_names_group(file) for file in files)


def _names_group(file: str) -> bool:
    try:
        with open(file, "rb") as stream:  # noqa: PTH123  path objects cost half as much again
            return f"[{GROUP}]".encode() in stream.read()
    except OSError:
        return False


def stage_named(name: str) -> Stage:
    """Return the stage; raises UsageError with the nearest name where there is none."""
    stages = STAGES if name in STAGES else all_stages()
    if name not in stages:
        raise UsageError(f"unknown stage '{name}'", hint=nearest(name, stages))
    return stages[name]


def maker_of(artefact: str) -> str:
    """Return the name of the stage that writes this path of the working folder.

    Raises:
        UsageError: no stage's record lists it.
    """
    own = next((stage.name for stage in STAGES.values() if stage.makes(artefact)), None)
    made_by = own or next((one.name for one in all_stages().values() if one.makes(artefact)), None)
    if made_by is not None:
        return made_by
    paths = [path for stage in all_stages().values() for path in stage.writes if "*" not in path]
    raise UsageError(f"no stage writes '{artefact}'", hint=nearest(artefact, paths))
