"""The stage table: one record for each stage, in the order of the delivery.

Command line, Jenkins steps, the gate's demands and the reference are made from it. A stage of
another distribution registers its record under the entry point ``ml_pipeline.stages``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ml_pipeline.core import artefacts
from ml_pipeline.stages.record import (
    NoFlags,
    Stage,
    changed,
    flag_set,
    integer_flag,
    path_flag,
    switch_flag,
    text_flag,
)

_REGISTRY = ("registry", "registryToken")
_PRODUCTION = (*_REGISTRY, "policy", "servingToken", "redactKey", "gitToken")
_EXPECT_VERSION = "refuse unless this version is the challenger: the one that was shown"

LINT = Stage(
    name="lint",
    summary="run the project's formatters and linters",
    fails_when="a formatter or linter finds something",
    phase="check",
    ci=NoFlags(),
    reads=(),
    names_model=False,
)


TEST = Stage(
    name="test",
    summary="run the project's unit tests with coverage",
    fails_when="a unit test fails, or coverage is under the limit",
    phase="check",
    ci=NoFlags(),
    reads=(),
    names_model=False,
)


@flag_set
class ValidateDataFlags:
    sample_size: int | None = integer_flag(
        "keep the newest rows of at least 20 entities, N rows at most", in_run="quick", quick=True
    )
    ci_data: bool = switch_flag("read data.ci, the sample in the repository", quick=True)


VALIDATE_DATA = Stage(
    name="validate-data",
    summary="read the data, test it, set bad rows and cells aside",
    fails_when="an expectation fails, or more is quarantined or blanked than tolerated",
    phase="delivery",
    flags=ValidateDataFlags,
    ci=ValidateDataFlags(ci_data=True),
    reads_home=True,
    writes=(artefacts.CLEAN, artefacts.QUARANTINE, artefacts.PROFILE),
    stashes=(artefacts.PROFILE,),
    credentials=("dataPassword",),
    gate_requires_report=True,
    names_model=False,
)


@flag_set
class TrainFlags:
    quick: bool = switch_flag("a fast run on little data, for pull requests", quick=True)
    max_samples: int | None = integer_flag("train on the newest N rows at most", in_run="quick")
    max_epochs: int | None = integer_flag("boost N rounds at most", in_run="quick")
    cause: str | None = text_flag(
        "why it trains, such as a drift; shown to the approver, no part of the model's identity",
        in_run="always",
    )


TRAIN = Stage(
    name="train",
    summary="compute features, split by time, fit, calibrate and export",
    fails_when="the fit is not finite, there is too little data, or the export is not faithful",
    phase="delivery",
    flags=TrainFlags,
    ci=TrainFlags(quick=True),
    reads_home=True,
    profile_of="validate-data",
    writes=(artefacts.MATRIX, artefacts.HOLDOUT, "model/*"),
    stashes=(artefacts.HOLDOUT,),
    needs=("validate-data",),
    gate_requires_report=True,
)


EVALUATE = Stage(
    name="evaluate",
    summary="measure the model on the holdout beside its baselines",
    fails_when="the model is broken: not finite, under an absolute threshold, not invariant to "
    "noise, or a model test of the project fails",
    phase="delivery",
    ci=NoFlags(),
    profile_of="train",
    writes=(artefacts.PREDICTIONS,),
    stashes=(artefacts.PREDICTIONS,),
    needs=("validate-data", "train"),
    gate_requires_report=True,
)


@flag_set
class PackageFlags:
    image: str | None = text_flag(
        "also bake the bundle into an image of this name, without a tag", in_step=False
    )
    push: bool = switch_flag(
        "push that image, or those of the environments on kubernetes; not of a quick model",
        in_run="always",
    )


PACKAGE = Stage(
    name="package",
    summary="compare the exported model with the trained one, and write the bundle",
    fails_when="the served model and the trained model disagree",
    phase="delivery",
    flags=PackageFlags,
    ci=PackageFlags(),
    profile_of="train",
    writes=(artefacts.BUNDLE,),
    stashes=("bundle/**",),
    needs=("train",),
    engine_with=("push",),
    gate_requires_report=True,
)


REGISTER = Stage(
    name="register",
    summary="put the bundle into the MLflow registry as challenger",
    fails_when="the registry holds other content under this identity, or the model is a quick one",
    phase="delivery",
    home=True,
    profile_of="train",
    needs=("package",),
    credentials=_REGISTRY,
    gate_requires_report=True,
)


@flag_set
class DeployFlags:
    version: int | None = integer_flag(
        "the registered version; the challenger if left out, in production the champion"
    )


DEPLOY = Stage(
    name="deploy",
    summary="start the registered version in an environment",
    fails_when="the new server is not ready or fails its golden predictions (the old one stays), "
    "or production is to serve what was not promoted",
    phase="delivery",
    flags=DeployFlags,
    environment=True,
    home=True,
    reads=(),
    credentials=(*_REGISTRY, "servingToken", "redactKey"),
    engine=True,
    gate_requires_report=True,
)


@flag_set
class VerifyFlags:
    url: str | None = text_flag("the address to test; the environment's own if left out")


VERIFY = Stage(
    name="verify",
    summary="test the API that an environment serves, by its address only",
    fails_when="the deployed API breaks its contract",
    phase="delivery",
    flags=VerifyFlags,
    environment=True,
    home=True,
    reads=(),
    credentials=(*_REGISTRY, "servingToken"),
    engine=True,
    gate_requires_report=True,
)


LOAD_TEST = Stage(
    name="load-test",
    summary="send requests at a constant rate to what an environment serves",
    fails_when="p99 or throughput is outside the SLO, or a request fails; inconclusive if the "
    "client could not keep its rate",
    phase="delivery",
    environment=True,
    home=True,
    reads=("train",),
    credentials=("servingToken",),
    engine=True,
    gate_requires_report=True,
    required_key="load_test.required",
)


@flag_set
class ShadowFlags:
    start: bool = switch_flag("copy production's requests to the environment")
    judge: bool = switch_flag("compare the responses since --start")


SHADOW = Stage(
    name="shadow",
    summary="compare an environment's predictions with the champion's, request by request",
    fails_when="the challenger fails, is slow, does not respond or predicts anomalously on "
    "replayed or mirrored requests; inconclusive on too few",
    phase="delivery",
    flags=ShadowFlags,
    environment=True,
    home=True,
    reads=("validate-data", "train", "evaluate"),
    credentials=(*_REGISTRY, "servingToken"),
    engine=True,
    gate_requires_report=True,
    required_key="shadow.required",
)


GATE = Stage(
    name="gate",
    summary="compare challenger and champion and decide whether it may be promoted",
    fails_when="any required check is not passed; inconclusive is not passed",
    phase="delivery",
    home=True,
    profile_of="train",
    needs=("validate-data", "train", "evaluate", "package"),
    credentials=(*_REGISTRY, "policy"),
    engine=True,
)


@flag_set
class ApproveFlags:
    by: str | None = text_flag("who decides", in_run="always", in_step=False)
    reason: str | None = text_flag("why", in_run="always", in_step=False)
    reject: bool = switch_flag("record a refusal", in_step=False)
    yes: bool = switch_flag(
        "approve without a prompt; recorded as such", in_run="always", in_step=False
    )
    expect_version: int | None = integer_flag(_EXPECT_VERSION, in_step=False)


APPROVE = Stage(
    name="approve",
    summary="ask a person, and sign the answer",
    fails_when="rejected, timed out, not an allowed approver, or with `four_eyes` an author of the "
    "change",
    phase="promotion",
    flags=ApproveFlags,
    home=True,
    writes=(artefacts.APPROVAL,),
    stashes=(artefacts.APPROVAL,),
    reads=(),
    credentials=(*_REGISTRY, "approvalKey", "policy"),
    engine=True,
)


@flag_set
class PromoteFlags:
    expect_version: int | None = integer_flag(_EXPECT_VERSION, in_step=False)


PROMOTE = Stage(
    name="promote",
    summary="make the approved challenger the champion in production",
    fails_when="approval or digest does not verify, the champion moved meanwhile, or production "
    "is unhealthy (then reverted)",
    phase="promotion",
    flags=PromoteFlags,
    home=True,
    changes_production=True,
    reads=("validate-data",),
    credentials=_PRODUCTION,
    engine=True,
)


@flag_set
class WatchFlags:
    judge: bool = switch_flag("look once; exit code 4 if its time is not over", in_step=False)


WATCH = Stage(
    name="watch",
    summary="watch production after a promotion, on its live requests",
    fails_when="the promoted version fails, is slow, predicts unlike in training, or does not "
    "respond; it is rolled back then. Too few requests are skipped",
    phase="promotion",
    flags=WatchFlags,
    home=True,
    exclusive=False,
    changes_production=True,
    reads=(),
    credentials=_PRODUCTION,
    engine=True,
)


@flag_set
class RollbackFlags:
    to: int | None = integer_flag("the version; the one before the present one if left out")
    reason: str | None = text_flag("why; must be given")
    by: str | None = text_flag("who asks for it; the user of the system if left out")


ROLLBACK = Stage(
    name="rollback",
    summary="put an earlier version back into production",
    fails_when="the version was never in production, its bundle or approval does not verify, or "
    "its server is not healthy (the present one stays)",
    phase="on demand",
    flags=RollbackFlags,
    home=True,
    changes_production=True,
    reads=(),
    credentials=_PRODUCTION,
    engine=True,
)


@flag_set
class ReconcileFlags:
    file: str | None = path_flag(
        "the production-model.yaml that decides for production; that of gitops.repository if left "
        "out, or else the home's"
    )
    restore_registry: bool = switch_flag(
        "register again, under their numbers, versions of production that the registry lost and "
        "the home keeps"
    )


RECONCILE = Stage(
    name="reconcile",
    summary="make an environment serve its desired state, and report why it did not",
    fails_when="the desired version's bundle or approval does not verify, or its server is not "
    "healthy (what serves stays)",
    phase="on demand",
    flags=ReconcileFlags,
    environment=True,
    home=True,
    changes_production=True,
    reads=(),
    credentials=_PRODUCTION,
    engine=True,
)


MONITOR = Stage(
    name="monitor",
    summary="compare what an environment predicts since the last look with training and labels",
    fails_when="features, predictions, performance or requests differ beyond the budget of false "
    "alarms: investigate, retrain or roll back; inconclusive on too few rows",
    phase="on demand",
    environment=True,
    home=True,
    reads=(),
    credentials=(*_REGISTRY, "servingToken", "dataPassword", "webhook"),
    engine=True,
)


_ALL = (
    LINT,
    TEST,
    VALIDATE_DATA,
    TRAIN,
    EVALUATE,
    PACKAGE,
    REGISTER,
    DEPLOY,
    VERIFY,
    LOAD_TEST,
    SHADOW,
    GATE,
    APPROVE,
    PROMOTE,
    WATCH,
    ROLLBACK,
    RECONCILE,
    MONITOR,
)

STAGES: Mapping[str, Stage] = {stage.name: stage for stage in _ALL}
"""The stages of this distribution by name; ``plugins.all_stages`` has those of others as well."""


Step = tuple[str, str | None, Mapping[str, Any]]
"""A stage of a run: its name, its environment and the flags that it has in this run."""

STAGING = "staging"
"""The environment that ``run cd`` delivers to before the gate."""


def runs(stages: Iterable[Stage]) -> Mapping[str, tuple[Step, ...]]:
    """Return the steps of ``run ci``, ``run cd`` and ``run all``, in the order of the stages.

    A stage of a plug-in that follows no other (``after``) is in none of them.
    """
    every = [stage for stage in stages if stage.after or stage.name in STAGES]
    ci = [(stage, changed(stage.ci)) for stage in every if stage.ci is not None]
    nothing: dict[str, Any] = {}
    cd = [(stage, nothing) for stage in every if stage.phase in ("delivery", "promotion")]
    steps: dict[str, tuple[Step, ...]] = {
        name: tuple(
            (stage.name, STAGING if stage.environment else None, flags) for stage, flags in run
        )
        for name, run in (("ci", ci), ("cd", cd))
    }
    return steps | {"all": steps["ci"] + steps["cd"]}


RUNS = runs(_ALL)
