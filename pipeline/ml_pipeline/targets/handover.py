"""Base class of the handovers of all targets: decided once; an undecided one reverts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

from ml_pipeline.core.locks import Lock


class BaseHandover(ABC):
    """A switch that is committed or reverted once, and then releases the environment's lock."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self._decided = False

    @property
    @abstractmethod
    def changed(self) -> bool:
        """Whether anything was started."""

    @abstractmethod
    def _keep(self) -> None:
        """End the former version; called only if something changed."""

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
