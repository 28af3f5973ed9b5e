"""A live shadow: production's server copies its requests to a challenger until it is stopped.

What runs is remembered in ``home/shadow/<environment>.json``, so that one command starts it and
another one, on another agent of the same home, judges it. How a server copies is its target's
matter: ``ml_pipeline.targets.base.SupportsLiveShadow``.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import ShadowSection
from ml_pipeline.core import clock, documents, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import ModelRef
from ml_pipeline.features.schema import FeatureSchema
from ml_pipeline.gate.compare_models import different_outputs
from ml_pipeline.online.deployed_version import find_deployment, model_of
from ml_pipeline.online.shadow import Exchange
from ml_pipeline.targets.base import (
    CopyCounts,
    Deployment,
    Placement,
    ShadowSpec,
    SupportsLiveShadow,
)
from ml_pipeline.targets.loader import load_target
from ml_pipeline.traffic import mirror_reader
from ml_pipeline.traffic.prediction_requests import PredictionResponse

SCHEMA = "ml-pipeline/shadow/2"
AGAIN = "remove it and start the shadow again"


@dataclass(frozen=True)
class Live:
    """A shadow that was started. Times in seconds since the epoch."""

    started: float
    environment: str
    """The champion's."""
    target: str
    """Of the champion's environment at the time."""
    champion_version: int | None
    champion_digest: str
    challenger: ModelRef
    shadow: dict[str, Any]
    """What the target finds it by."""
    task: dict[str, Any] | None = None
    """The record of the models' task; None for binary classification."""
    clock: dict[str, float] = field(default_factory=dict)
    """When it was started, by a clock that is never set; see ``ml_pipeline.core.clock``."""

    @property
    def minutes(self) -> float:
        """For how long it runs, as far as this boot knows; 0 where it knows nothing.

        Of one that an earlier version of this program started the wall clock is believed.
        """
        if not self.clock:
            return max(0.0, time.time() - self.started) / 60
        return (clock.age(self.clock) or 0.0) / 60


@dataclass(frozen=True)
class Records:
    """What was answered so far."""

    exchanges: list[Exchange]
    full: bool
    """Whether further requests were let go, since there is no room for more."""


def start_copying(
    production: Placement,
    challenger: Placement,
    served: Deployment,
    bundle: Bundle,
    section: ShadowSection,
) -> Live:
    """Copy a share of production's requests to the challenger from now on.

    Args:
        production: Where the champion is served.
        challenger: Where the challenger is served.
        served: By the challenger's placement.
        bundle: The challenger's.
        section: The share, and the time-out of a copied request.

    Raises:
        UsageError: the two models predict different things, production's target cannot copy
            requests, or these very versions are compared already.
        Refused: production's requests lack a feature of the challenger.
        EnvironmentFault: production serves nothing, or its server does not copy.
    """
    copying_target(production.section.target, production.name)
    champion = find_deployment(production)
    champion_bundle = Bundle.open(champion.bundle)
    if why := different_outputs(bundle.task, champion_bundle.task):
        raise UsageError(why, expected="a challenger of the champion's task")
    spec = ShadowSpec(
        champion=champion,
        challenger=challenger,
        served=served,
        positions=positions(champion_bundle.schema, bundle.schema),
        contract=bundle.schema.position_contract,
        share=section.share,
        timeout=section.timeout_ms / 1000,
        task=bundle.task.to_json(),
    )
    return start(production, spec, model_of(served, bundle))


def start(placement: Placement, spec: ShadowSpec, model: ModelRef) -> Live:
    """Let the champion's server copy its requests to the challenger from now on.

    A shadow of another pair of versions is ended, and what it saw forgotten.

    Args:
        placement: the champion's.
        spec: what goes where.
        model: the challenger's.

    Raises:
        UsageError: the target's servers cannot copy requests, or these very versions
            are compared already.
        EnvironmentFault: the server does not copy.
    """
    home, name = placement.home, spec.challenger.name
    target = copying_target(placement.section.target, placement.name)
    former = read(home, name)
    if former is not None:
        compared = (former.champion_digest, former.challenger.digest)
        same = compared == (spec.champion.digest, spec.served.digest)
        if same and copied(former) is not None:
            raise UsageError(
                f"a live shadow of {name} runs since {former.minutes:.0f} min, on these versions",
                hint=f"run 'ml-pipeline shadow {name} --judge'",
            )
        end(former)
    folder = home / "shadow"
    folder.mkdir(mode=0o700, exist_ok=True)
    live = Live(
        started=time.time(),
        clock=clock.marks(),
        environment=placement.name,
        target=placement.section.target,
        champion_version=spec.champion.version,
        champion_digest=spec.champion.digest,
        challenger=model,
        shadow=target.start_shadow(placement, spec),
        task=spec.task,
    )
    _write(home, name, live)
    return live


def _write(home: Home, name: str, live: Live) -> None:
    values = {"schema": SCHEMA} | asdict(live) | {"challenger": live.challenger.model_dump()}
    workdir.write_text(home / f"shadow/{name}.json", json.dumps(values, indent=2) + "\n")


def read(home: Home, name: str) -> Live | None:
    """Return the shadow of an environment that was started and not ended.

    Where it was started on another machine, or before a restart, its time counts from the first
    time that it is read here.

    Raises:
        EnvironmentFault: its file is not one that this module wrote.
    """
    path = home / f"shadow/{name}.json"
    try:
        values: dict[str, Any] = documents.read_json(path)
        schema = values.pop("schema")
    except FileNotFoundError:
        return None
    except (OSError, DocumentError, KeyError, AttributeError) as error:
        raise EnvironmentFault(f"cannot read {path}: {error}", hint=AGAIN) from None
    if schema != SCHEMA:
        raise EnvironmentFault(f"{path}: schema {schema!r}", expected=repr(SCHEMA), hint=AGAIN)
    try:
        live = Live(challenger=ModelRef(**values.pop("challenger")), **values)
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFault(f"cannot read {path}: {error}", hint=AGAIN) from None
    if live.clock and clock.age(live.clock) is None:
        live = replace(live, clock=clock.marks(live.clock))
        _write(home, name, live)
    return live


def copied(live: Live) -> CopyCounts | None:
    """Return how many requests were offered and dropped; None if the copying has ended."""
    return _target(live).shadow_counts(live.shadow)


def records(live: Live) -> Records:
    """Return what was written down so far, also once the copying has ended."""
    path = _target(live).shadow_records(live.shadow)
    found = exchanges(path)
    full = (
        len(found) >= mirror_reader.MAX_RECORDED
        or path.stat().st_size >= mirror_reader.MAX_RECORDED_BYTES
    )
    return Records(found, full)


def end(live: Live) -> CopyCounts | None:
    """End the copying, wait until the last answer is written down, and return the counts."""
    return _target(live).end_shadow(live.shadow)


def forget(home: Home, name: str) -> None:
    """Remove the state; the records stay until the next start."""
    (home / f"shadow/{name}.json").unlink(missing_ok=True)


def exchanges(path: Path) -> list[Exchange]:
    """Return the requests of a file of records; a last line that is not whole is left out."""
    found = []
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            record = json.loads(line)
            found.append(
                Exchange(record["id"], _reply(record["champion"]), _reply(record["challenger"]))
            )
    return found


Positions = tuple[int | None, ...]
"""Where each feature of a challenger is in a row for the champion; None where it is left out."""


def positions(champion: FeatureSchema, challenger: FeatureSchema) -> Positions | None:
    """Return where the challenger's features are among the champion's; None if at the same places.

    Raises:
        Refused: the champion's requests lack one that is not optional, or give one as another kind.
    """
    places = {name: place for place, name in enumerate(champion.names)}
    lacking = [
        feature.name
        for feature in challenger.features
        if feature.name not in places and not feature.optional
    ]
    if lacking:
        raise Refused(
            f"requests for the champion lack the challenger's feature '{lacking[0]}'",
            expected="a challenger whose features are among the champion's, or optional",
            hint="replay the holdout instead, where each has features of its own",
        )
    kinds = {feature.name: feature.kind for feature in champion.features}
    for feature in challenger.features:
        if kinds.get(feature.name, feature.kind) != feature.kind:
            raise Refused(
                f"requests for the champion give feature '{feature.name}' as "
                f"{kinds[feature.name]}, the challenger takes it as {feature.kind}",
                expected="a challenger that takes the champion's features as they are",
                hint="replay the holdout instead, where each has features of its own",
            )
    if champion.names == challenger.names:
        return None
    return tuple(places.get(name) for name in challenger.names)


def copying_target(target: str, environment: str) -> SupportsLiveShadow:
    """Return the target of an environment whose servers can copy their requests.

    Raises:
        UsageError: they cannot.
    """
    found = load_target(target)
    if not isinstance(found, SupportsLiveShadow):
        raise UsageError(
            f"{environment} has the target {target}, whose servers cannot copy requests",
            expected="a target that can, such as process or docker",
            hint="replay instead: 'ml-pipeline shadow ENV' without --start",
        )
    return found


def _target(live: Live) -> SupportsLiveShadow:
    return copying_target(live.target, live.environment)


def _reply(record: dict[str, Any]) -> PredictionResponse:
    predictions = (
        tuple(each) if isinstance(each, list) else each for each in record["predictions"]
    )
    return PredictionResponse(**record | {"predictions": tuple(predictions)})
