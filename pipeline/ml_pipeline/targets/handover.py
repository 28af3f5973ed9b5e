"""What the handovers of all targets share: they are decided once, and an undecided one reverts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from ml_pipeline.core.locks import Lock


class BaseHandover(ABC):
    """A switch that is kept or taken back once, and lets the environment's lock go then."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._decided = False

    @property
    @abstractmethod
    def changed(self) -> bool:
        """Whether anything was started."""

    @abstractmethod
    def _keep(self) -> None:
        """Let the former version go; called only if something changed."""

    @abstractmethod
    def _revert(self) -> None:
        """Let the former version serve again; called only if something changed."""

    def _close(self) -> None:
        self._lock.release()

    def commit(self) -> None:
        if self._decided:
            return
        self._decided = True
        try:
            if self.changed:
                self._keep()
        finally:
            self._close()

    def revert(self) -> None:
        if self._decided:
            return
        self._decided = True
        try:
            if self.changed:
                self._revert()
        finally:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.revert()
