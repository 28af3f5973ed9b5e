"""Job name, causes and variables of a build, in the form that the engine reads."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

TAG_TIME = datetime(2026, 1, 1, tzinfo=UTC)
CAUSES = {
    "scm": ("jenkins.branch.BranchEventCause", "Push event to branch {branch}"),
    "indexing": ("jenkins.branch.BranchIndexingCause", "Branch indexing"),
    "timer": ("hudson.triggers.TimerTrigger$TimerTriggerCause", "Started by timer"),
    "replay": ("org.jenkinsci.plugins.workflow.cps.replay.ReplayCause", "Replayed #{origin}"),
    "restart": (
        "org.jenkinsci.plugins.pipeline.modeldefinition.causes.RestartDeclarativePipelineCause",
        "Restarted from build #{origin}, stage {stage}",
    ),
}
AGENT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "USER")


def multibranch(
    branch: str | None, tag: str | None, primary: str, fork: str | None, author: str
) -> dict[str, str]:
    """Return the variables of a multibranch job for a branch, pull request (``PR-7``) or tag."""
    if tag is not None:
        return {
            "BRANCH_NAME": tag,
            "TAG_NAME": tag,
            "TAG_TIMESTAMP": str(int(TAG_TIME.timestamp() * 1000)),
            "TAG_UNIXTIME": str(int(TAG_TIME.timestamp())),
            "TAG_DATE": TAG_TIME.strftime("%a %b %d %H:%M:%S UTC %Y"),
        }
    if branch is None:
        return {}
    variables = {"BRANCH_NAME": branch}
    if branch == primary:
        variables["BRANCH_IS_PRIMARY"] = "true"
    kind, _, number = branch.partition("-")
    if kind == "PR" and number.isdigit():
        variables |= {
            "CHANGE_ID": number,
            "CHANGE_URL": f"http://scm.example/pull/{number}",
            "CHANGE_TITLE": f"Change {number}",
            "CHANGE_AUTHOR": author,
            "CHANGE_AUTHOR_DISPLAY_NAME": author.capitalize(),
            "CHANGE_AUTHOR_EMAIL": f"{author}@example.com",
            "CHANGE_TARGET": primary,
            "CHANGE_BRANCH": f"change-{number}",
        }
        if fork is not None:
            variables["CHANGE_FORK"] = fork
    return variables


def job_name(job: str, branch: str | None, tag: str | None) -> str:
    """Return ``folder/feature%2Fone`` for a branch of a multibranch job, otherwise the job."""
    name = tag or branch
    return job if name is None else f"{job}/{quote(name, safe='')}"


def job(given: str | Mapping[str, str], primary: str, author: str) -> dict[str, Any]:
    """Return what differs for the builds of another job: its script, and the branch it is for."""
    about = {"script": given} if isinstance(given, str) else given
    branch = about.get("branch")
    variables = multibranch(branch, None, primary, None, author)
    return {"script": about["script"], "branch": branch, "branchEnvironment": variables}


def causes(
    cause: str | list[Mapping[str, Any]],
    user: str,
    branch: str | None,
    origin: int = 1,
    stage: str | None = None,
) -> list[dict[str, str]]:
    """Return the causes as ``getBuildCauses`` does: maps, the user first.

    ``origin`` is the number of the build that is replayed, or restarted from ``stage``.

    Raises:
        KeyError: the name of the cause is unknown.
    """
    if not isinstance(cause, str):
        return [dict(one) for one in cause]
    user_cause = {
        "_class": "hudson.model.Cause$UserIdCause",
        "shortDescription": f"Started by user {user}",
        "userId": user,
        "userName": user,
    }
    if cause == "user":
        return [user_cause]
    kind, description = CAUSES[cause]
    named_cause = {
        "_class": kind,
        "shortDescription": description.format(branch=branch, origin=origin, stage=stage),
    }
    return [user_cause, named_cause] if cause in ("replay", "restart") else [named_cause]


def agent_variables(mode: str) -> dict[str, str]:
    """Return the agent's environment: in live mode that of this process, otherwise a few variables.

    In live mode PATH ends with the folder of this Python, so that its commands are found last.
    """
    if mode == "live":
        path = os.environ.get("PATH", os.defpath)
        return os.environ | {"PATH": f"{path}{os.pathsep}{Path(sys.executable).parent}"}
    return {name: os.environ[name] for name in AGENT_VARIABLES if name in os.environ}
