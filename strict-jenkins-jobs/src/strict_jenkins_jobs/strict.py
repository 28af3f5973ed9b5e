"""Finds keys in YAML that have no effect, which jenkins-job-builder ignores silently.

The modules of jenkins-job-builder define the keys. Each mapping of a job is replaced by one that
records which keys are read while the XML of the job is made. A key in YAML that is never read has
no effect; the keys that *are* read are the candidates for the nearest one. So no list of keys has
to be maintained.

An unknown key at the top level of a job, and every key of a project, group or ``defaults``, is a
parameter; it is an error if no template that gets it uses its name.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strict_jenkins_jobs.errors import UsageError

if TYPE_CHECKING:
    from strict_jenkins_jobs.builder import Roots

READ_BEFORE = frozenset({"name", "folder", "project-type", "view-type", "description"})
"""Keys of a job that jenkins-job-builder has read before its modules see the job."""

FREE = frozenset({"name", "exclude", "template-name", "id"})
"""Parameters that jenkins-job-builder itself uses."""

NO_SUCH_TRUST = {"bitbucket": ("contributors", "permission")}
"""jenkins-job-builder takes these for ``discover-pr-forks-trust`` and writes the name of a class
that the plugin does not have (it has TrustNobody, TrustTeamForks and TrustEveryone)."""


@dataclass(frozen=True)
class Finding:
    """A finding: something in YAML that has no effect, or another one than it seems."""

    where: str
    job: str
    fault: str
    hint: str = ""

    def __str__(self) -> str:
        line = (
            f"{self.where}: {self.job}: {self.fault}" if self.where else f"{self.job}: {self.fault}"
        )
        return f"{line}; {self.hint}" if self.hint else line


def unknown_key(where: str, job: str, key: str, near: Iterable[str]) -> Finding:
    """Return the finding for a key that nothing reads, with the nearest one that would be read."""
    word = key.rsplit(".", 1)[-1]
    close = difflib.get_close_matches(word, sorted(set(near) - {word}), n=1)
    hint = f"did you mean '{close[0]}'?" if close else ""
    return Finding(where, job, f"unknown key '{key}': nothing reads it", hint)


def place(position: Any, folder: Path) -> str:
    """Return ``file:line`` of a position in YAML, or nothing where it is not known."""
    if not isinstance(getattr(position, "path", None), Path):
        return ""
    path = position.path
    root = folder.resolve().parent
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{shown.as_posix()}:{position.line + 1}"


# --- keys of a job ------------------------------------------------------------------------------


@functools.cache
def _mapping() -> Any:
    """Return the class of the mappings that :func:`recording_copy` makes."""
    from jenkins_jobs.loc_loader import LocDict

    class RecordingMapping(LocDict):  # type: ignore[misc]
        """A mapping that records which keys are read, the last one last."""

        def __init__(self, *content: Any, **positions: Any) -> None:
            super().__init__(*content, **positions)
            self.looked_up: dict[Any, None] = {}

        def _remember(self, key: Any) -> None:
            self.looked_up.pop(key, None)
            self.looked_up[key] = None

        def __getitem__(self, key: Any) -> Any:
            self._remember(key)
            return super().__getitem__(key)

        def __contains__(self, key: object) -> bool:
            self._remember(key)
            return bool(super().__contains__(key))

        def __iter__(self) -> Iterator[Any]:
            # its being here makes dict(x) and {**x} go through __getitem__
            yield from super().__iter__()

        def get(self, key: Any, default: Any = None) -> Any:
            self._remember(key)
            return super().get(key, default)

        def pop(self, key: Any, *default: Any) -> Any:
            self._remember(key)
            return super().pop(key, *default)

        def items(self) -> Any:
            # one by one: a component with two keys has only its first one read
            for key in list(super().keys()):
                yield key, self[key]

        def values(self) -> Any:
            for key in list(super().keys()):
                yield self[key]

    return RecordingMapping


def recording_copy(value: Any) -> Any:
    """Return a copy of a job's data whose mappings remember the keys that were looked up."""
    from jenkins_jobs.loc_loader import LocList

    pos = getattr(value, "pos", None)
    if isinstance(value, dict):
        return _mapping()(
            {key: recording_copy(item) for key, item in value.items()},
            pos,
            dict(getattr(value, "key_pos", {})),
            dict(getattr(value, "value_pos", {})),
        )
    if isinstance(value, list):
        positions = list(getattr(value, "value_pos", [None] * len(value)))
        return LocList([recording_copy(item) for item in value], pos, positions)
    return value


def unread_keys(data: Any, job: str, folder: Path) -> Iterator[Finding]:
    """Yield a finding for each key of watched data that was never looked up."""
    yield from _unread_keys(data, job, folder, (), READ_BEFORE)


def _unread_keys(
    data: Any, job: str, folder: Path, path: tuple[str, ...], exempt: frozenset[str]
) -> Iterator[Finding]:
    # a mapping that is not watched was put there by jenkins-job-builder itself
    if isinstance(data, _mapping()):
        for key, value in dict.items(data):
            below = (*path, str(key))
            if key in data.looked_up or key in exempt:
                yield from _unread_keys(value, job, folder, below, frozenset())
            else:
                where = place(data.key_pos.get(key), folder)
                near = [str(name) for name in data.looked_up if not dict.__contains__(data, name)]
                yield unknown_key(where, job, ".".join(below), near)
    elif isinstance(data, list):
        for item in data:
            yield from _unread_keys(item, job, folder, path, frozenset())


def check_lists(registry: Any, data: Any, job: str, folder: Path) -> None:
    """Refuse what is no list where jenkins-job-builder goes through one, a text letter by letter.

    Raises:
        UsageError: naming the key and its place.
    """
    for module in registry.modules:
        key = getattr(module, "component_list_type", None)
        if key is None or key not in data or isinstance(data[key], list):
            continue
        value = data[key]
        where = place(getattr(data, "key_pos", {}).get(key), folder)
        shown = f"'{value}'" if isinstance(value, str) else f"a {type(value).__name__}"
        raise UsageError(
            f"{where}: {job}: '{key}' is {shown}",
            expected="a list",
            hint=f"write '{key}:' and below it '- {value}'" if isinstance(value, str) else "",
        )


def last_read_key(data: Any) -> tuple[str, Any]:
    """Return the dotted key of recorded data that was read last, and its position."""
    keys: list[str] = []
    position = getattr(data, "pos", None)
    while True:
        if isinstance(data, list):
            seen = [item for item in data if isinstance(item, _mapping()) and item.looked_up]
            data = seen[-1] if seen else None
        if not isinstance(data, _mapping()):
            break
        there = [key for key in data.looked_up if dict.__contains__(data, key)]
        if not there:
            break
        keys.append(str(there[-1]))
        position = data.key_pos.get(there[-1], position)
        data = dict.__getitem__(data, there[-1])
    return ".".join(keys), position


def check_fork_trust(data: Mapping[str, Any], job: str, folder: Path) -> Iterator[Finding]:
    """Yield a finding where a multibranch job leaves open, or cannot say, whose forks it trusts."""
    sources = data.get("scm") if data.get("project-type") == "multibranch" else None
    for item in sources or ():
        for kind, source in item.items() if isinstance(item, dict) else ():
            if not isinstance(source, dict) or kind not in ("github", "bitbucket"):
                continue
            where = place(getattr(source, "pos", None), folder)
            forks = source.get("discover-pr-forks-strategy", kind == "github")
            trust = source.get("discover-pr-forks-trust")
            if forks and trust is None:
                yield Finding(
                    where,
                    job,
                    f"{kind} discovers forks but does not say 'discover-pr-forks-trust'",
                    "jenkins-job-builder would trust contributors; 'nobody' is the safe value",
                )
            if forks and trust in NO_SUCH_TRUST.get(kind, ()):
                yield Finding(
                    where,
                    job,
                    f"'discover-pr-forks-trust: {trust}' names a class that the {kind} plugin "
                    "does not have",
                    "use 'nobody' or 'everyone'",
                )


# --- parameters ---------------------------------------------------------------------------------


@dataclass
class _Level:
    """The parameters of one project, group, template or ``defaults``, and the names it reaches."""

    owner: str
    params: Any
    known: set[str]
    used: set[str]


def unused_parameters(roots: Roots, folder: Path) -> Iterator[Finding]:
    """Yield a finding for each parameter whose name no template that it reaches uses.

    Where a template includes another file, what that file uses is not known: all is taken as used.
    So are the names that a macro uses, since any job may call it.
    """
    from jenkins_jobs.defaults import job_contents_keys, view_contents_keys

    levels: dict[int, _Level] = {}
    # defaults also serve a group that no project uses today
    groups = (*roots.job_groups.values(), *roots.view_groups.values())
    of_groups = {name for group in groups for name in _names(group.params)}
    macros = [macro for table in roots.macros.values() for macro in table.values()]
    of_macros = {name for macro in macros for name in _names([macro.elements, macro.params])}

    def level(owner: str, params: Any, known: Iterable[str] = ()) -> _Level:
        return levels.setdefault(id(params), _Level(owner, params, set(known), set()))

    def visit(item: Any, given: list[_Level], known: Iterable[str], defaults: Any) -> None:
        chosen = [
            roots.defaults[name]
            for name in ("global", str(defaults or item.defaults_name))
            if name in roots.defaults
        ]
        chain = [level(f"defaults '{one.name}'", one.params) for one in chosen]
        for one in chain:
            one.used |= of_groups
        chain += [level(str(item), item.params, known), *given]
        merged: dict[str, Any] = {}
        for one in chain:
            merged.update(one.params)
        used = _used([item.name, item.contents, *(one.contents for one in chosen)], merged)
        for one in chain:
            one.used |= used | of_macros

    def spread(
        specs: Any, given: list[_Level], tables: list[Any], known: Iterable[str], defaults: Any
    ) -> None:
        for spec in specs:
            item = next((table[spec.name] for table in tables if spec.name in table), None)
            if item is None:
                continue
            below = [*given, level(f"{given[0].owner}, '{spec.name}'", spec.params)]
            if hasattr(item, "specs"):
                spread(item.specs, [*below, level(str(item), item.params)], tables, known, defaults)
            else:
                visit(item, below, known, defaults)

    for jobs, known in (
        ((*roots.jobs.values(), *roots.job_templates.values()), job_contents_keys),
        ((*roots.views.values(), *roots.view_templates.values()), view_contents_keys),
    ):
        for job in jobs:
            visit(job, [], known, None)
    for project in roots.projects.values():
        top = [level(str(project), project.params, ("jobs", "views", "defaults"))]
        job_tables = [roots.job_templates, roots.job_groups]
        view_tables = [roots.view_templates, roots.view_groups]
        spread(project.job_specs, top, job_tables, job_contents_keys, project.defaults_name)
        spread(project.view_specs, top, view_tables, view_contents_keys, project.defaults_name)

    for one in levels.values():
        for key in one.params:
            if key not in one.used and key not in FREE:
                where = place(getattr(one.params, "key_pos", {}).get(key), folder)
                yield unknown_key(where, one.owner, str(key), one.known | one.used | FREE)


def _used(texts: Any, given: Mapping[str, Any]) -> set[str]:
    """Return the names that texts speak of, directly or through a parameter that they speak of."""
    if _includes(texts) or _includes(given):
        return set(given)
    todo = _names(texts)
    used: set[str] = set()
    while todo:
        name = todo.pop()
        used.add(name)
        if name in given:
            todo |= _names(given[name]) - used
    return used


def _names(value: Any) -> set[str]:
    """Return the names of the parameters that a value's text speaks of."""
    from jenkins_jobs.expander import enum_required_params

    return set(enum_required_params(value, None))


def _includes(value: Any) -> bool:
    """Return whether a value is made from another file or by a template language."""
    from jenkins_jobs.yaml_objects import BaseYamlObject

    if isinstance(value, Mapping):
        return any(_includes(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_includes(item) for item in value)
    return isinstance(value, BaseYamlObject)
