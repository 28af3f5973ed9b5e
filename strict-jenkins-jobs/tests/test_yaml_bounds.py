"""strict_jenkins_jobs.yaml_bounds: what it refuses, and what it leaves to jenkins-job-builder."""

from __future__ import annotations

from itertools import pairwise

import pytest
from strict_jenkins_jobs.errors import UsageError
from strict_jenkins_jobs.yaml_bounds import check

LETTERS = "abcdefghi"


def bomb(levels: int) -> str:
    """Return lists of nine aliases of the list before: 9 to the power of the levels values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for before, name in pairwise(LETTERS[:levels]):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]")
    return "\n".join(lines)


def test_tags_of_jenkins_job_builder_are_kept_and_aliases_are_counted() -> None:
    check("- job: {name: x, dsl: !include-raw: x.groovy}", "jobs.yaml")
    with pytest.raises(UsageError, match="more than 50,000 values"):
        check(bomb(9), "jobs.yaml")
