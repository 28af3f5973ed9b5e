"""The home: what outlives a run (registry, released bundles, history, keys, running servers)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import EnvironmentFault

HISTORY = "history.jsonl"
"""One line a change of production."""


@dataclass(frozen=True)
class Home:
    """A folder, ``ML_HOME`` or ``.ml`` in the project root, that production depends on."""

    root: Path

    def __truediv__(self, name: str) -> Path:
        return self.root / name

    def make(self) -> None:
        """Create the folder, readable by its owner only and never committed: it holds keys.

        Raises:
            EnvironmentFault: it cannot be written.
        """
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            probe = self.root / ".writable"
            probe.touch()
            probe.unlink()
            ignored = self.root / ".gitignore"
            if not ignored.exists():
                ignored.write_text("*\n")
        except OSError as error:
            raise EnvironmentFault(
                f"home {self.root}: {error.strerror}",
                expected="a folder that can be written",
                hint="set ML_HOME to one",
            ) from None
