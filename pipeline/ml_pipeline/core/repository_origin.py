"""Which repository a project is checked out from, so that two of one name are distinguished."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

SCP = re.compile(r"(?:[^/@:]+@)?([^/:@]+):(?!//)(.*)")
"""A remote without a scheme: ``git@host:path``."""
SHOWN = 12


def _none() -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Origin:
    """A repository and a folder in it. Values are unknown without git or in a shallow clone.

    Clones, workspaces and branches of one repository have one remote or share a root commit.
    """

    folder: str | None = None
    """Of ``ml.yaml``, relative to the repository's top; None is unknown."""
    remote: str | None = None
    """As ``remote_name`` gives it."""
    find_roots: Callable[[], tuple[str, ...]] = field(default=_none, compare=False)
    """Returns the commits without parents; none is unknown. A long history takes seconds."""

    @property
    def is_known(self) -> bool:
        return self.remote is not None or bool(self.find_roots())

    def is_same(self, other: Origin) -> bool | None:
        """Return whether both are one project; None where that is not known."""
        if None not in (self.folder, other.folder) and self.folder != other.folder:
            return False
        remotes = self.remote is not None and other.remote is not None
        if remotes and self.remote == other.remote:
            return True
        own, others = self.find_roots(), other.find_roots()
        if own and others:
            return not set(own).isdisjoint(others)
        return False if remotes else None

    def __str__(self) -> str:
        named = self.remote
        if named is None:
            roots = self.find_roots()
            named = (
                f"the repository of root commit {roots[0][:SHOWN]}" if roots else "no repository"
            )
        return f"{named}, folder {self.folder}" if self.folder else named

    def to_json(self) -> dict[str, Any]:
        return {"folder": self.folder, "remote": self.remote, "roots": list(self.find_roots())}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Origin:
        """Return what ``to_json`` wrote.

        Raises:
            KeyError, TypeError: it did not write this.
        """
        roots = tuple(str(root) for root in values["roots"])
        folder, remote = values["folder"], values["remote"]
        if not isinstance(folder, str | None) or not isinstance(remote, str | None):
            raise TypeError("'folder' and 'remote' are texts or null")
        return cls(folder, remote, lambda: roots)


def is_among(origin: Origin, known: Iterable[Origin]) -> bool | None:
    """Return whether an origin is one of those known; None where that is not known."""
    answers = {origin.is_same(one) for one in known}
    if True in answers:
        return True
    return None if None in answers or not answers else False


def remote_name(url: str) -> str:
    """Return host and path of a remote, the same however it is reached and by whom.

    ``git@git.example.org:team/churn.git`` and ``https://user@git.example.org/team/churn`` are one.
    """
    url = url.strip()
    scheme, separator, rest = url.partition("://")
    if separator and scheme.lower() != "file":
        address, _, path = rest.partition("/")
        host = address.rpartition("@")[2].partition(":")[0]
    elif separator:
        return _without_suffix(rest)
    elif not url.startswith(("/", ".")) and (found := SCP.fullmatch(url)):
        host, path = found[1], found[2]
    else:
        return _without_suffix(url)
    return f"{host}/{_without_suffix(path).lstrip('/')}".casefold()


def _without_suffix(path: str) -> str:
    return path.rstrip("/").removesuffix(".git").rstrip("/")
