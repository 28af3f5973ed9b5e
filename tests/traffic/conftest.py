"""Fixtures of a deployed server process."""

from tests.targets.conftest import free_port, place

__all__ = ["free_port", "place"]
