"""Compares an environment's answers with the champion's: replayed requests, or production's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import report, workdir
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.online import live_shadow, recorded_requests, shadow
from ml_pipeline.online.shadow import Comparison, Exchange
from ml_pipeline.promotion.environment import PRODUCTION
from ml_pipeline.registry.mlflow_registry import Registry, Version
from ml_pipeline.serving.access import token_of
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.load_test import HOLDOUT, made_for, ref, served, serves_the_version
from ml_pipeline.stages.table import ShadowFlags
from ml_pipeline.targets import server_arguments
from ml_pipeline.targets.base import Copying, Counts, Deployment, Placement
from ml_pipeline.targets.loader import load_target
from ml_pipeline.targets.process import server_process
from ml_pipeline.traffic import open_loop, requests
from ml_pipeline.traffic.mirror_reader import arranged
from ml_pipeline.traffic.requests import Reply, Stream

if TYPE_CHECKING:
    import pandas as pd

WARM = 20
"""First requests, which are sent twice: connections and caches are cold for the first ones."""


@dataclass(frozen=True)
class Requests:
    """What is asked: rows by feature, with ids and groups; or why it cannot be."""

    source: str
    ids: Sequence[str]
    challenger: Sequence[Sequence[Any]]
    champion: Sequence[Sequence[Any]] = ()
    trained: Sequence[float] = ()
    groups: Sequence[str] = ()
    contract: str | None = None
    """The digest that the challenger needs for rows by position, if it needs one."""
    champion_contract: str | None = None


def run(context: Context[ShadowFlags]) -> Outcome:
    """Replay requests to both, or start or judge a live shadow.

    Raises:
        UsageError: both flags, no live shadow to judge, no requests to replay, or a target whose
            servers cannot copy requests.
        Refused: the challenger needs features that production's requests lack.
        EnvironmentFault: nothing is served, or the registry does not answer.
    """
    start, judge = context.flags.start, context.flags.judge
    if start and judge:
        raise UsageError("--start and --judge at once", expected="one of them, or none to replay")
    name = context.environment or ""
    if name == PRODUCTION:
        raise UsageError(f"{PRODUCTION} is what others are compared with", expected="staging, say")
    if judge:
        return _judge(context, name)
    deployment = served(context, name)
    bundle = Bundle.open(deployment.bundle)
    token = token_of("127.0.0.1", context.config.serving.token_env)
    proved = serves_the_version(deployment, bundle, token)
    if proved.verdict is not Verdict.PASS:
        return Outcome(summary=proved.why, checks=[proved], model=ref(deployment, bundle))
    if start:
        return _start(context, name, deployment, bundle)
    return _replay(context, deployment, bundle, token, proved)


# --- replay -----------------------------------------------------------------------------------


def _replay(
    context: Context[ShadowFlags],
    deployment: Deployment,
    bundle: Bundle,
    token: str | None,
    proved: Check,
) -> Outcome:
    context.progress("asking the registry", 0.05)
    registry = Registry.of(context.project, context.home, context.progress)
    version = registry.champion()
    if version is None:
        asked = _holdout(context, bundle, None)
        context.progress(f"{len(asked.ids)} requests", 0.3)
        found = _against_trained(context, deployment, asked, token)
        beside = "the trained model (no champion)"
    else:
        with _champion(context, registry, version) as (url, theirs):
            asked = _requests(context, bundle, theirs, version)
            context.progress(f"{len(asked.ids)} requests to both", 0.3)
            found = _against_champion(context, deployment, asked, (url, version.number), token)
        beside = f"the champion, version {version.number}"
    return Outcome(
        summary=_summary(found, f"{len(asked.ids)} {asked.source} requests", beside),
        checks=[proved, *found.checks],
        metrics={
            "url": deployment.url,
            "required": context.config.shadow.required,
            "source": asked.source,
            "champion_version": None if version is None else version.number,
            **found.metrics,
        },
        model=ref(deployment, bundle),
    )


@contextmanager
def _champion(
    context: Context[ShadowFlags], registry: Registry, version: Version
) -> Iterator[tuple[str, Bundle]]:
    """Serve the champion's bundle for the time of the replay: production gets no test requests."""
    import psutil

    with workdir.scratch(context.home.root, ".shadow-") as folder:
        context.progress("starting the champion", 0.1)
        bundle = Bundle.open(registry.download(version, folder / "bundle"))
        started = server_process.start(
            bundle,
            version.number,
            host="127.0.0.1",
            token_env=context.config.serving.token_env,
            settings=server_arguments.limits(context.config.serving),
            log=folder / "champion.log",
        )
        try:
            yield started.url, bundle
        finally:
            with suppress(psutil.NoSuchProcess):
                server_process.end(psutil.Process(started.pid))


def _requests(
    context: Context[ShadowFlags], bundle: Bundle, theirs: Bundle, version: Version
) -> Requests:
    section = context.config.shadow
    if section.source != "holdout":
        rows = recorded_requests.newest(
            recorded_requests.log_of(context.project, context.home, PRODUCTION),
            version=version.number,
            features=theirs.schema.names,
            count=section.requests,
        )
        enough = len(rows) >= section.min_requests and _fits(bundle, theirs)
        if section.source == "recorded" or enough:
            return _recorded(rows, bundle, theirs)
    return _holdout(context, bundle, theirs)


def _needed(bundle: Bundle) -> str | None:
    return bundle.schema.contract if bundle.schema.needs_contract else None


def _fits(bundle: Bundle, theirs: Bundle) -> bool:
    """Return whether the champion's requests have what the challenger takes."""
    try:
        live_shadow.positions(theirs.schema, bundle.schema)
    except Refused:
        return False
    return True


def _recorded(
    rows: Sequence[recorded_requests.Recorded], bundle: Bundle, theirs: Bundle
) -> Requests:
    if not rows:
        raise UsageError(
            "the prediction log holds no request that the champion answered",
            hint="wait until production was asked, or set shadow.source to holdout",
        )
    moved = live_shadow.positions(theirs.schema, bundle.schema)
    return Requests(
        source="recorded",
        ids=[f"{row.request_id}-{index}" for index, row in enumerate(rows)],
        champion=[row.features for row in rows],
        contract=_needed(bundle),
        champion_contract=_needed(theirs),
        challenger=[
            row.features if moved is None else arranged(row.features, moved) for row in rows
        ],
    )


def _holdout(context: Context[ShadowFlags], bundle: Bundle, theirs: Bundle | None) -> Requests:
    """Return the newest rows of the holdout, with the features that each model computes of them."""
    import pandas as pd

    from ml_pipeline.bundle.request_rows import json_rows

    if not made_for(context, bundle):
        raise UsageError(
            "the working folder does not hold the holdout of the deployed model",
            expected="the files of the run that trained it",
            hint="run 'ml-pipeline run cd', or set shadow.source to recorded",
        )
    holdout = parquet.read(context.take(HOLDOUT)).reset_index(drop=True)
    newest = holdout.tail(context.config.shadow.requests)
    trained: list[float] = []
    champion: list[list[Any]] = []
    if theirs is None:
        predictions = parquet.read(context.take("data/predictions.parquet"))
        trained = [float(value) for value in predictions["model"].tail(len(newest))]
    else:
        features = _champion_features(context, bundle, theirs, newest)
        champion = json_rows(features, theirs.schema.names)
    groups = newest.get("__group")
    return Requests(
        source="holdout",
        ids=[f"holdout-{index}" for index in newest.index],
        challenger=json_rows(newest, bundle.schema.names),
        champion=champion,
        contract=_needed(bundle),
        champion_contract=None if theirs is None else _needed(theirs),
        trained=trained,
        groups=[]
        if groups is None
        else ["" if pd.isna(value) else str(value) for value in groups.tolist()],
    )


def _champion_features(
    context: Context[ShadowFlags], bundle: Bundle, theirs: Bundle, newest: pd.DataFrame
) -> pd.DataFrame:
    """Return the rows' features as the champion's own code computes them, where it differs."""
    from ml_pipeline.evaluation.row_alignment import positions
    from ml_pipeline.gate import champion_predictions
    from ml_pipeline.problems.loader import load_problem

    mine = bundle.manifest["training"].get("identity_parts", {})
    if champion_predictions.has_same_feature_code(
        mine, theirs.manifest["training"].get("identity_parts", {})
    ):
        return newest
    clean = context.take("data/clean.parquet")
    matrix = parquet.read(context.take("data/matrix.parquet"))
    problem = load_problem(context.config.problem, context.project.root)
    place = positions(parquet.read(clean), matrix, problem)
    if place is None:
        raise UsageError(
            "the holdout's rows are not found in the clean data, so the champion cannot be asked",
            hint="set shadow.source to recorded, or shadow.required to false",
        )
    wanted = place[(matrix["__part"] == "holdout").to_numpy()][newest.index]
    try:
        return champion_predictions.features_by_own_code(theirs, clean, wanted)
    except champion_predictions.NoPredictionsError as error:
        raise UsageError(
            f"the champion cannot be asked: {error}",
            hint="set shadow.source to recorded, or shadow.required to false",
        ) from None


def _against_champion(
    context: Context[ShadowFlags],
    deployment: Deployment,
    asked: Requests,
    champion: tuple[str, int | None],
    token: str | None,
) -> Comparison:
    section = context.config.shadow
    half = 0.5 / section.rate
    streams = [
        _stream(
            champion[0],
            token,
            asked.champion,
            asked.ids,
            section.rate,
            0.0,
            asked.champion_contract,
        ),
        _stream(
            deployment.url,
            token,
            asked.challenger,
            asked.ids,
            section.rate,
            half,
            asked.contract,
        ),
    ]
    one, other = requests.play(streams, section.timeout_ms / 1000)
    exchanges = [
        Exchange(
            id=asked.ids[index],
            champion=requests.reply(first, champion[1]),
            challenger=requests.reply(second, deployment.version),
            group=asked.groups[index] if asked.groups else "",
        )
        for index, (first, second) in enumerate(_counted(one, other))
    ]
    return shadow.compare(exchanges, section)


def _against_trained(
    context: Context[ShadowFlags], deployment: Deployment, asked: Requests, token: str | None
) -> Comparison:
    section = context.config.shadow
    stream = _stream(
        deployment.url, token, asked.challenger, asked.ids, section.rate, 0.0, asked.contract
    )
    (answers,) = requests.play([stream], section.timeout_ms / 1000)
    exchanges = [
        Exchange(
            id=asked.ids[index],
            champion=Reply((asked.trained[index],)),
            challenger=requests.reply(answer, deployment.version),
        )
        for index, (answer,) in enumerate(_counted(answers))
    ]
    return shadow.against_trained(exchanges, section)


def _stream(
    url: str,
    token: str | None,
    rows: Sequence[Sequence[Any]],
    ids: Sequence[str],
    rate: float,
    offset: float,
    contract: str | None,
) -> Stream:
    warm = min(WARM, len(rows))
    bodies = requests.bodies(rows, len(rows), contract=contract)
    due = [index / rate + offset for index in range(warm + len(rows))]
    return Stream(url, token, bodies[:warm] + bodies, due, [*ids[:warm], *ids])


def _counted(*streams: Sequence[open_loop.Answer]) -> Iterator[tuple[open_loop.Answer, ...]]:
    """Return the answers side by side, without those that only warmed up."""
    warm = min(WARM, len(streams[0]) // 2)
    return zip(*(stream[warm:] for stream in streams), strict=True)


def _summary(found: Comparison, asked: str, beside: str) -> str:
    open_ = [check for check in found.checks if check.verdict is not Verdict.PASS]
    stopping = [check for check in open_ if check.required and check.verdict is not Verdict.SKIPPED]
    p99 = found.metrics["p99_ms"]["challenger"]
    told = f"{asked} beside {beside}: p99 {p99:.1f} ms"
    if "largest_difference" in found.metrics:
        told += f", answers within {found.metrics['largest_difference']:.1e}"
    elif found.metrics["compared"]:
        told += (
            f", PSI {found.metrics['psi']:.3f}, KS {found.metrics['ks']:.3f}, "
            f"{found.metrics['changed']:.1%} of decisions change"
        )
    if stopping:
        first = stopping[0]
        fault = f"{first.name}: {first.shown}, expected {first.expected}"
        return f"{fault}{f' ({first.why})' if first.why else ''}; {told}"
    return told


# --- live -------------------------------------------------------------------------------------


def _start(
    context: Context[ShadowFlags], name: str, deployment: Deployment, bundle: Bundle
) -> Outcome:
    section, config = context.config.shadow, context.config
    if PRODUCTION not in config.environments:
        raise UsageError(f"ml.yaml has no environment '{PRODUCTION}' to copy requests from")
    live_shadow.copying_target(config.environments[PRODUCTION].target, PRODUCTION)
    champion = served(context, PRODUCTION)
    theirs = Bundle.open(champion.bundle)
    copying = Copying(
        champion=champion,
        challenger=Placement.of(context.project, name, context.home),
        served=deployment,
        positions=live_shadow.positions(theirs.schema, bundle.schema),
        contract=_needed(bundle),
        share=section.share,
        timeout=section.timeout_ms / 1000,
    )
    production = Placement.of(context.project, PRODUCTION, context.home)
    started = live_shadow.start(production, copying, ref(deployment, bundle))
    until = f"at least {section.min_minutes:g} minutes and {section.min_requests} requests"
    check = Check(
        name="live shadow",
        verdict=Verdict.SKIPPED,
        observed=f"production copies {section.share:.0%} of its requests to {name}",
        expected=until,
        why=f"nothing is judged yet: run 'ml-pipeline shadow {name} --judge' after {until}",
    )
    return Outcome(
        summary=f"production, version {champion.version}, copies its requests to {name}, "
        f"version {deployment.version}; judge after {until}",
        checks=[check],
        metrics={"url": deployment.url, "champion_version": champion.version}
        | {"started": started.started},
        model=ref(deployment, bundle),
    )


def _judge(context: Context[ShadowFlags], name: str) -> Outcome:
    """Judge what was answered so far; as long as that is not conclusive, the shadow goes on."""
    section = context.config.shadow
    found = live_shadow.read(context.home, name)
    if found is None:
        raise UsageError(
            f"no live shadow of {name} runs", hint=f"run 'ml-pipeline shadow {name} --start'"
        )
    minutes = found.minutes
    same = _same(context, name, found)
    counts = live_shadow.copied(found)
    compared = _compare(context, found, counts)
    verdict = report.judge([same, *compared.checks])
    ends = counts is None or verdict is not Verdict.INCONCLUSIVE
    if ends:
        counts = live_shadow.end(found) or counts
        compared = _compare(context, found, counts, ended=True)
        live_shadow.forget(context.home, name)
    checks = [same, _copied(counts), *compared.checks]
    told = _summary(
        Comparison(tuple(checks), compared.metrics),
        f"{compared.metrics['requests']} live requests in {minutes:.1f} min",
        f"the champion, version {found.champion_version}",
    )
    return Outcome(
        summary=told if ends else f"{told}; it goes on",
        checks=checks,
        metrics={
            "required": section.required,
            "source": "live",
            "champion_version": found.champion_version,
            "minutes": minutes,
            "offered": None if counts is None else counts.offered,
            **compared.metrics,
        },
        model=found.challenger,
    )


def _compare(
    context: Context[ShadowFlags],
    found: live_shadow.Live,
    counts: Counts | None,
    *,
    ended: bool = False,
) -> Comparison:
    """Compare what was written down; once it has ended, what was not counts as dropped too."""
    records = live_shadow.records(found)
    counts = counts or Counts(0, 0)
    dropped = counts.dropped
    if ended and not records.full:
        dropped = max(dropped, counts.offered - len(records.exchanges))
    section = context.config.shadow
    return shadow.compare(records.exchanges, section, dropped=dropped, minutes=found.minutes)


def _copied(counts: Counts | None) -> Check:
    if counts is None:
        return Check(
            name="requests were copied",
            verdict=Verdict.INCONCLUSIVE,
            observed="production's server no longer copies",
            expected="from start to judgement",
            why="it was replaced or stopped meanwhile; start the shadow again",
        )
    return Check(
        name="requests were copied",
        verdict=Verdict.PASS,
        observed=f"{counts.offered}, of which {counts.dropped} were dropped",
        expected="from start to judgement",
    )


def _same(context: Context[ShadowFlags], name: str, found: live_shadow.Live) -> Check:
    """Return whether both environments serve what they served when the shadow began."""
    champion, challenger = _digest(context, PRODUCTION), _digest(context, name)
    expected = f"version {found.champion_version} beside version {found.challenger.version}"
    if challenger is None:
        verdict, seen = Verdict.FAIL, f"{name} does not answer any more"
    elif challenger != found.challenger.digest:
        verdict, seen = Verdict.INCONCLUSIVE, f"{name} serves another version by now"
    elif champion is None:
        verdict, seen = Verdict.INCONCLUSIVE, f"{PRODUCTION} does not answer any more"
    elif champion != found.champion_digest:
        verdict, seen = Verdict.INCONCLUSIVE, f"{PRODUCTION} serves another version by now"
    else:
        verdict, seen = Verdict.PASS, "unchanged"
    return Check(
        name="the same two versions throughout",
        verdict=verdict,
        observed=seen,
        expected=expected,
        why="" if verdict is Verdict.PASS else f"{seen}; start the shadow again",
    )


def _digest(context: Context[ShadowFlags], name: str) -> str | None:
    placement = Placement.of(context.project, name, context.home)
    deployment = load_target(placement.section.target).status(placement)
    return None if deployment is None else deployment.digest
