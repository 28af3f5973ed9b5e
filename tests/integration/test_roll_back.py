"""Two deliveries and a way back with server processes, as docs/how-to/roll-back.md shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.rollback_scenarios import back_and_forth


@pytest.mark.slow
def test_the_commands_of_the_page_roll_back_without_a_failed_request(tmp_path: Path) -> None:
    back_and_forth(tmp_path, "With processes", {})
