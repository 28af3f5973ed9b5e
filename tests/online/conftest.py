"""An API under test: an application without a socket, or a server process."""

from tests.targets.conftest import free_port, place, serve

__all__ = ["free_port", "place", "serve"]
