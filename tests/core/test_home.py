"""The home is made for its owner alone, and git passes over it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pipeline.home import Home


def test_a_home_in_the_project_is_never_committed(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    home = Home(tmp_path / ".ml")
    home.make()
    (home / "approval.pem").write_text("secret")
    status = subprocess.run(
        ["git", "-C", str(tmp_path), "status", "--porcelain", "--untracked-files=all"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert status == ""
    assert home.root.stat().st_mode & 0o777 == 0o700


def test_what_a_person_wrote_into_its_gitignore_stays(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / ".gitignore").write_text("*.pem\n")
    home.make()
    assert (tmp_path / ".gitignore").read_text() == "*.pem\n"
