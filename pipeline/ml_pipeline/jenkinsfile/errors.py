"""What a run may end with besides a build."""

from __future__ import annotations


class HarnessError(Exception):
    """The harness itself could not run the script; says nothing about Jenkins."""


class NotInHarness(HarnessError):
    """The script asks for something that Jenkins may have and this harness lacks."""

    PAGE = "docs/reference/jenkinsfile-syntax.md"

    def __init__(self, gap: str) -> None:
        super().__init__(f"{gap}; see {self.PAGE}")


class CpsMismatch(AssertionError):
    """Code that is not CPS called CPS code: a value is wrong although Jenkins only warns."""
