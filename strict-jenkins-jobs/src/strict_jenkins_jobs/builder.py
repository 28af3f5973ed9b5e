"""Makes the XML of jobs from a folder of YAML by jenkins-job-builder, and reports what it ignores.

jenkins-job-builder is imported in functions, since it imports ``pkg_resources``, which warns.
"""

from __future__ import annotations

import logging
import os
import re
import traceback
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from strict_jenkins_jobs import configuration, sources, strict, yaml_bounds
from strict_jenkins_jobs.errors import UsageError
from strict_jenkins_jobs.strict import Finding

PINNED = Path("plugins/pinned.yaml")
"""Where a folder of jobs keeps the versions of its plugins."""

SUGGESTION = re.compile(r"did you mean '(.+)'\?")
UNDEFINED = re.compile(r"'([^']+)' is undefined|Missing parameter: '([^']+)'")

UNSAFE = set('?*\\%!@#$^&|<>[]:;"')
"""Characters that Jenkins refuses in the name of a job."""

UNDEFINED_HINT = (
    "give '{name}' a value in the project or in defaults, or write '{{{{{name}}}}}' for a text"
)
OTHER_TYPE = "a value has another type than its key takes"
MODULE_ERRORS = (AttributeError, KeyError, TypeError, ValueError, IndexError, RecursionError)
"""Exceptions of jenkins-job-builder's modules for a value of a wrong type."""

Roots = Any
"""jenkins-job-builder's container of the definitions of a folder, which has no type hints."""


@dataclass(frozen=True)
class RenderedJobs:
    """The jobs and views of a folder of YAML: their XML by full name, and the findings."""

    jobs: dict[str, str]
    views: dict[str, str]
    findings: tuple[Finding, ...]


def render(folder: Path) -> RenderedJobs:
    """Read every ``.yaml`` and ``.yml`` of a folder and make the XML of its jobs and views.

    Plugin versions come from ``plugins/pinned.yaml`` in that folder, where there is one. No file
    outside the folder is read, in particular no configuration of jenkins-job-builder.

    Raises:
        UsageError: the folder holds no YAML, or jenkins-job-builder cannot make jobs of it.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix in (".yaml", ".yml"))
    if not files:
        raise UsageError(f"no YAML in {folder}", expected="a folder of job definitions")
    findings: list[Finding] = []
    definitions: list[sources.Definition] = []
    for file in files:
        new_findings, new_definitions = sources.read_strictly(file, folder)
        findings += new_findings
        definitions += new_definitions
    try:
        sources.check_unique(definitions)
        jobs, views, unread = _generate(files, folder)
    except UsageError as error:
        # a value that YAML reads differently is often the cause of the error
        if findings:
            raise UsageError(f"{findings[0]} ({len(findings)} to correct); {error}") from None
        raise
    for name in (*jobs, *views):
        _check_name(name)
    return RenderedJobs(jobs, views, (*findings, *unread))


def _generate(
    files: list[Path], folder: Path
) -> tuple[dict[str, str], dict[str, str], list[Finding]]:
    """Make the jobs by jenkins-job-builder; an error has the place in YAML."""
    with _job_builder():
        from jenkins_jobs.errors import JenkinsJobsException
        from jinja2 import TemplateError

        try:
            return _render(files, folder)
        except JenkinsJobsException as error:
            raise UsageError(_one_line(error, folder)) from None
        except (yaml.YAMLError, TemplateError, OSError) as error:
            # of a template, or of a file that another one includes
            raise UsageError(f"{folder}: {' '.join(str(error).split())}") from None
        except MODULE_ERRORS as error:
            # its modules do not check the types of values
            where = _failing_place(error, folder) or str(folder)
            raise UsageError(
                f"{where}: jenkins-job-builder cannot make jobs of this: "
                f"{type(error).__name__}: {error}",
                hint=OTHER_TYPE,
            ) from error


def _failing_place(error: BaseException, folder: Path) -> str:
    """Return the place of the definition that jenkins-job-builder worked on when it failed."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        for value in list(frame.f_locals.values()):
            where = strict.place(getattr(value, "pos", None), folder)
            if where:
                return where
    return ""


@contextmanager
def _job_builder() -> Iterator[None]:
    """Import jenkins-job-builder quietly, and make its YAML loader refuse Python objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from jenkins_jobs.loader import Loader
        except ImportError as error:
            raise UsageError(
                f"jenkins-job-builder cannot be imported ({error})",
                hint="pip install 'jenkins-job-builder>=6.5,<7' 'setuptools<81'",
            ) from None
        Loader.yaml_multi_constructors = {}
        Loader.yaml_constructors = {
            tag: made
            for tag, made in Loader.yaml_constructors.items()
            if tag is None or "python/" not in tag
        }
        log = logging.getLogger("jenkins_jobs")
        before = log.level
        log.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            log.setLevel(before)


def _render(
    files: list[Path], folder: Path
) -> tuple[dict[str, str], dict[str, str], list[Finding]]:
    from jenkins_jobs.config import JJBConfig
    from jenkins_jobs.errors import JenkinsJobsException
    from jenkins_jobs.loader import load_files
    from jenkins_jobs.registry import ModuleRegistry
    from jenkins_jobs.root_base import JobViewData
    from jenkins_jobs.roots import Roots as Container
    from jenkins_jobs.xml_config import XmlJobGenerator, XmlViewGenerator

    config = JJBConfig(os.devnull)
    roots = Container(config)
    load_files(config, roots, files)
    registry = ModuleRegistry(config, _plugins(folder / PINNED))
    registry.set_macros(roots.macros)
    try:
        jobs, views = roots.generate_jobs(), roots.generate_views()
    except JenkinsJobsException as error:
        # an undefined parameter may be a misspelt one
        undefined = UNDEFINED.search(str(error.message))
        if undefined is None:
            raise
        name = undefined[1] or undefined[2]
        for finding in strict.unused_parameters(roots, folder):
            if finding.hint == f"did you mean '{name}'?":
                raise UsageError(str(finding)) from None
        raise UsageError(_one_line(error, folder), hint=UNDEFINED_HINT.format(name=name)) from None
    _check_unique(jobs, "job", folder)
    _check_unique(views, "view", folder)
    for item in jobs:
        strict.check_lists(registry, item.data, f"job '{item.name}'", folder)
    registry.amend_job_dicts(jobs)

    findings: dict[tuple[str, str], Finding] = {}

    def collect(found: Iterator[Finding]) -> None:
        for finding in found:
            # report a line of a template once, however many jobs use it
            key = (finding.where or finding.job, finding.fault)
            findings.setdefault(key, finding)

    collect(strict.unused_parameters(roots, folder))

    def texts(items: list[Any], generator: Any, kind: str) -> dict[str, str]:
        made: dict[str, str] = {}
        for item in items:
            title = f"{kind} '{item.name}'"
            if "description" in item.data:
                item.data["description"] = configuration.marked_description(
                    item.data["description"]
                )
            collect(strict.check_fork_trust(item.data, title, folder))
            seen = JobViewData(strict.recording_copy(item.data), item.context)
            try:
                (xml,) = generator.generateXML([seen])
            except (JenkinsJobsException, *MODULE_ERRORS) as error:
                raise _generation_error(error, seen, title, folder) from error
            try:
                made[xml.name] = xml.output().decode()
            except MODULE_ERRORS as error:
                where = strict.place(getattr(item.data, "pos", None), folder)
                raise UsageError(f"{where}: {title}: {OTHER_TYPE}: {error}") from error
            collect(strict.unread_keys(seen.data, title, folder))
        return dict(sorted(made.items()))

    return (
        texts(jobs, XmlJobGenerator(registry), "job"),
        texts(views, XmlViewGenerator(registry), "view"),
        list(findings.values()),
    )


def _plugins(path: Path) -> list[Any]:
    """Return the pinned plugins as jenkins-job-builder takes them.

    Raises:
        UsageError: the file is not a list of short names and versions.
    """
    from jenkins.plugins import Plugin

    if not path.is_file():
        return []
    listed = yaml_bounds.read(path)
    expected = "a list of {shortName: ..., version: '...'}"
    if not isinstance(listed, list):
        raise UsageError(f"{path} is not a list", expected=expected)
    for entry in listed:
        good = isinstance(entry, dict) and entry.keys() == {"shortName", "version"}
        if not good or not all(isinstance(value, str) for value in entry.values()):
            raise UsageError(f"{path}: {entry!r}", expected=expected)
    return [Plugin(**entry) for entry in listed]


def _check_name(name: str) -> None:
    for part in name.split("/"):
        if not part or part in (".", "..") or part != part.strip() or UNSAFE & set(part):
            raise UsageError(f"'{name}' cannot be the name of a job", hint="Jenkins refuses it")
        if not part.isprintable():
            raise UsageError(f"{name!r} cannot be the name of a job", expected="printable letters")


def _check_unique(items: list[Any], kind: str, folder: Path) -> None:
    """Refuse two jobs or views of one name; names in Jenkins are case-insensitive."""
    seen: dict[str, Any] = {}
    for item in items:
        first = seen.setdefault(item.name.casefold(), item)
        if first is not item:
            places = [_origin(one, folder) for one in (item, first)]
            raise sources.duplicate_error(places[0], f"{kind} '{item.name}'", places[1])


def _origin(item: Any, folder: Path) -> str:
    """Return the place in YAML of the project or definition that a job or view comes from."""
    project = _project(item.context)
    position = project.pos if project is not None else getattr(item.data, "pos", None)
    return strict.place(position, folder)


def _generation_error(error: Exception, seen: Any, title: str, folder: Path) -> UsageError:
    """Return the error of a job that cannot be made, about the key that is wrong."""
    from jenkins_jobs.errors import JenkinsJobsException

    for found in strict.unread_keys(seen.data, title, folder):
        suggestion = SUGGESTION.fullmatch(found.hint)
        if suggestion and re.search(rf"\b{re.escape(suggestion[1])}\b", str(error)):
            return UsageError(str(found))
    if isinstance(error, JenkinsJobsException):
        return UsageError(_one_line(error, folder))
    key, position = strict.last_read_key(seen.data)
    at = strict.place(position, folder)
    project = _project(seen.context)
    where = strict.place(project.pos, folder) if project is not None else at
    beside = f", at {at}" if at != where else ""
    fault = f"lacks {error}" if isinstance(error, KeyError) else OTHER_TYPE
    return UsageError(f"{where}: {title}: '{key}'{beside}: {fault} ({error})")


def _project(contexts: Iterable[Any]) -> Any | None:
    """Return the context of the project that a job comes from, or None."""
    return next((one for one in contexts if one.message.startswith("In project")), None)


def _one_line(error: Any, folder: Path) -> str:
    """Return the message of a jenkins-job-builder error with its place in YAML.

    For jobs of a project it is the place of the project, which users edit.
    """
    at = error.pos or next((c.pos for c in reversed(error.ctx) if c.pos is not None), None)
    where = strict.place(at, folder)
    contexts = [context.message for context in error.ctx if context.message.startswith("In ")]
    parts = [where, *contexts[-1:], str(error.message)]
    project = _project(error.ctx)
    if project is not None and contexts[-1:] != [project.message]:
        parts = [strict.place(project.pos, folder), project.message, str(error.message)]
        parts[-1] += f" ({where})"
    return ": ".join(" ".join(part.split()) for part in parts if part)
