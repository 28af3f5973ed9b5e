"""The stage table: every stage that exists, with its flags and what it says no to.

CLI verbs, Groovy steps, templates and reference pages are made from this table. It imports
nothing heavy; a stage's module is imported when the stage runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["text", "integer", "path", "switch"]


@dataclass(frozen=True)
class Flag:
    """A command-line flag: ``--name``, and the key ``name`` of an ``--args`` file."""

    name: str
    help: str
    kind: Kind = "text"

    @property
    def key(self) -> str:
        return self.name.replace("-", "_")


@dataclass(frozen=True)
class Stage:
    """One step of the delivery. ``module`` has ``run(context) -> Outcome``."""

    name: str
    summary: str
    says_no_when: str
    flags: tuple[Flag, ...] = ()
    environment: bool = False
    home: bool = False
    reads_home: bool = False
    """Whether it compares with what is in production, unless it is quick: another repository's home
    is refused then."""
    alone: bool = True
    """Whether no other stage may run in the same working folder meanwhile."""

    @property
    def when_interrupted(self) -> str:
        """What is left of it then, and what tells."""
        if self.home:
            return "'ml-pipeline status' tells what serves now, and what is to be done"
        return "nothing was kept"

    @property
    def module(self) -> str:
        return f"ml_pipeline.stages.{self.name.replace('-', '_')}"


QUICK = Flag("quick", "a fast run on little data, for pull requests", "switch")
SAMPLE = Flag(
    "sample-size", "keep the newest rows of at least 20 entities, N rows at most", "integer"
)
CI_DATA = Flag("ci-data", "read data.ci, the sample in the repository", "switch")
PUSH = Flag(
    "push",
    "push that image, or those of the environments on kubernetes; not of a quick model",
    "switch",
)
EXPECT_VERSION = Flag(
    "expect-version",
    "refuse unless this version is the challenger: the one that was shown",
    "integer",
)

_ALL = (
    Stage(
        "lint",
        "run the project's formatters and linters",
        "a formatter or linter finds something",
    ),
    Stage(
        "test",
        "run the project's unit tests with coverage",
        "a unit test fails, or coverage is under the limit",
    ),
    Stage(
        "validate-data",
        "read the data, test it, set bad rows and cells aside",
        "an expectation fails, or more is quarantined or blanked than tolerated",
        flags=(SAMPLE, CI_DATA),
        reads_home=True,
    ),
    Stage(
        "train",
        "compute features, split by time, fit, calibrate and export",
        "the fit is not finite, there is too little data, or the export is not faithful",
        flags=(
            QUICK,
            Flag("max-samples", "train on the newest N rows at most", "integer"),
            Flag("max-epochs", "boost N rounds at most", "integer"),
        ),
        reads_home=True,
    ),
    Stage(
        "evaluate",
        "measure the model on the holdout beside its baselines",
        "the model is broken: not finite, under an absolute threshold, not invariant to noise, "
        "or a model test of the project fails",
    ),
    Stage(
        "package",
        "write the bundle and prove that it answers as the trained model does",
        "the served model and the trained model disagree",
        flags=(
            Flag("image", "also bake the bundle into an image of this name, without a tag"),
            PUSH,
        ),
    ),
    Stage(
        "register",
        "put the bundle into the MLflow registry as challenger",
        "the registry holds other content under this identity, or the model is a quick one",
        home=True,
    ),
    Stage(
        "deploy",
        "start the registered version in an environment",
        "the new server is not ready or fails its golden predictions (the old one stays), or "
        "production is to serve what was not promoted",
        environment=True,
        home=True,
        flags=(
            Flag(
                "version",
                "the registered version; the challenger if left out, in production the champion",
                "integer",
            ),
        ),
    ),
    Stage(
        "verify",
        "test the API that an environment serves, by its address only",
        "the deployed API breaks its contract",
        environment=True,
        home=True,
        flags=(Flag("url", "the address to test; the environment's own if left out"),),
    ),
    Stage(
        "load-test",
        "send requests at a constant rate to what an environment serves",
        "p99 or throughput is outside the SLO, or a request errs; inconclusive if the client "
        "could not keep its rate",
        environment=True,
        home=True,
    ),
    Stage(
        "shadow",
        "compare an environment's answers with the champion's, request by request",
        "the challenger errs, lags, does not answer or answers anomalously on replayed or "
        "mirrored requests; inconclusive on too few",
        environment=True,
        home=True,
        flags=(
            Flag("start", "let production copy its requests to the environment", "switch"),
            Flag("judge", "compare what was answered since --start", "switch"),
        ),
    ),
    Stage(
        "gate",
        "compare challenger and champion and decide whether it may be promoted",
        "any required check is not passed; inconclusive is not passed",
        home=True,
    ),
    Stage(
        "approve",
        "ask a person, and sign the answer",
        "rejected, timed out, not an allowed approver, or with `four_eyes` an author of the change",
        home=True,
        flags=(
            Flag("by", "who decides"),
            Flag("reason", "why"),
            Flag("reject", "record a refusal", "switch"),
            Flag("yes", "approve without a prompt; recorded as such", "switch"),
            EXPECT_VERSION,
        ),
    ),
    Stage(
        "promote",
        "make the approved challenger the champion in production",
        "approval or digest does not verify, the champion moved meanwhile, or production is "
        "unhealthy (then reverted)",
        home=True,
        flags=(EXPECT_VERSION,),
    ),
    Stage(
        "watch",
        "watch production after a promotion, on its live requests",
        "the promoted version errs, lags, answers unlike it did in training, or does not "
        "answer; it is rolled back then. Too few requests are skipped",
        home=True,
        flags=(
            Flag("judge", "look once: exit code 4 says that the time is not over yet", "switch"),
        ),
        alone=False,
    ),
    Stage(
        "rollback",
        "put an earlier version back into production",
        "the version was never in production, its bundle or approval does not verify, or its "
        "server is not healthy (the present one stays)",
        home=True,
        flags=(
            Flag("to", "the version; the one before the present one if left out", "integer"),
            Flag("reason", "why; must be given"),
            Flag("by", "who asks for it; the user of the system if left out"),
        ),
    ),
    Stage(
        "reconcile",
        "let an environment serve what it is to serve, and say why it did not",
        "the desired version's bundle or approval does not verify, or its server is not healthy "
        "(what serves stays)",
        environment=True,
        home=True,
        flags=(
            Flag(
                "file",
                "the production-model.yaml that decides for production; that of gitops.repository "
                "if left out, or else the home's",
                "path",
            ),
            Flag(
                "restore-registry",
                "register again, under their numbers, versions of production that the registry "
                "lost and the home keeps",
                "switch",
            ),
        ),
    ),
)

STAGES: Mapping[str, Stage] = {stage.name: stage for stage in _ALL}

Step = tuple[str, str | None, Mapping[str, Any]]
"""A stage of a run: its name, its environment and its flags."""

CI: tuple[Step, ...] = (
    ("lint", None, {}),
    ("test", None, {}),
    ("validate-data", None, {"ci_data": True}),
    ("train", None, {"quick": True}),
    ("evaluate", None, {}),
    ("package", None, {}),
)
CD: tuple[Step, ...] = (
    ("validate-data", None, {}),
    ("train", None, {}),
    ("evaluate", None, {}),
    ("package", None, {}),
    ("register", None, {}),
    ("deploy", "staging", {}),
    ("verify", "staging", {}),
    ("load-test", "staging", {}),
    ("shadow", "staging", {}),
    ("gate", None, {}),
    ("approve", None, {}),
    ("promote", None, {}),
    ("watch", None, {}),
)
RUNS: Mapping[str, tuple[Step, ...]] = {"ci": CI, "cd": CD, "all": CI + CD}
