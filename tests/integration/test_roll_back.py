"""Two deliveries and a way back with server processes, as docs/how-to/roll-back.md shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rollback_scenarios import back_and_forth


@pytest.mark.slow
def test_the_pages_commands_go_back_and_no_request_fails(tmp_path: Path) -> None:
    back_and_forth(tmp_path, "With processes", {})
