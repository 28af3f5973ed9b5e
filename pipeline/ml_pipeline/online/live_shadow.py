"""A live shadow: production's server copies its requests to a challenger until it is stopped.

The state is kept in ``home/shadow/<environment>.json``, so that one command starts the shadow and
another one, on another agent of the same home, judges it. The target defines how a server copies:
``ml_pipeline.targets.base.SupportsLiveShadow``.
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
RESTART_HINT = "remove it and start the shadow again"


@dataclass(frozen=True)
class LiveShadow:
    """A started shadow. Times in seconds since the epoch."""

    started: float
    environment: str
    """The champion's."""
    target: str
    """Of the champion's environment at the start."""
    champion_version: int | None
    champion_digest: str
    challenger: ModelRef
    shadow: dict[str, Any]
    """The target's identification of the shadow."""
    task: dict[str, Any] | None = None
    """The record of the models' task; None for binary classification."""
    clock: dict[str, float] = field(default_factory=dict)
    """Start time by a clock that is never set; see ``ml_pipeline.core.clock``."""

    @property
    def minutes(self) -> float:
        """Minutes since the start, as measured in this boot; 0 if unknown.

        The wall clock is used for a shadow that an earlier version of this program started.
        """
        if not self.clock:
            return max(0.0, time.time() - self.started) / 60
        return (clock.age(self.clock) or 0.0) / 60


@dataclass(frozen=True)
class RecordedExchanges:
    """The recorded exchanges so far."""

    exchanges: list[Exchange]
    full: bool
    """Whether further requests were dropped because the limit is reached."""


def start_copying(
    production: Placement,
    challenger: Placement,
    served: Deployment,
    bundle: Bundle,
    section: ShadowSection,
) -> LiveShadow:
    """Copy a share of production's requests to the challenger from now on.

    Args:
        production: Where the champion is served.
        challenger: Where the challenger is served.
        served: By the challenger's placement.
        bundle: The challenger's.
        section: The share, and the time-out of a copied request.

    Raises:
        UsageError: the two models predict different things, production's target cannot copy
            requests, or a shadow of these versions runs already.
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


def start(placement: Placement, spec: ShadowSpec, model: ModelRef) -> LiveShadow:
    """Make the champion's server copy its requests to the challenger from now on.

    A shadow of another pair of versions is ended, and its records are discarded.

    Args:
        placement: the champion's.
        spec: the pair of versions and the copying.
        model: the challenger's.

    Raises:
        UsageError: the target's servers cannot copy requests, or a shadow of these
            versions runs already.
        EnvironmentFault: the server does not copy.
    """
    home, name = placement.home, spec.challenger.name
    target = copying_target(placement.section.target, placement.name)
    former = read(home, name)
    if former is not None:
        compared = (former.champion_digest, former.challenger.digest)
        same = compared == (spec.champion.digest, spec.served.digest)
        if same and copy_counts(former) is not None:
            raise UsageError(
                f"a live shadow of {name} has run for {former.minutes:.0f} min on these versions",
                hint=f"run 'ml-pipeline shadow {name} --judge'",
            )
        end(former)
    folder = home / "shadow"
    folder.mkdir(mode=0o700, exist_ok=True)
    live = LiveShadow(
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


def _write(home: Home, name: str, live: LiveShadow) -> None:
    values = {"schema": SCHEMA} | asdict(live) | {"challenger": live.challenger.model_dump()}
    workdir.write_text(home / f"shadow/{name}.json", json.dumps(values, indent=2) + "\n")


def read(home: Home, name: str) -> LiveShadow | None:
    """Return the running shadow of an environment.

    If it was started on another machine, or before a reboot, its time counts from the first read
    here.

    Raises:
        EnvironmentFault: the state file is invalid.
    """
    path = home / f"shadow/{name}.json"
    try:
        values: dict[str, Any] = documents.read_json(path)
        schema = values.pop("schema")
    except FileNotFoundError:
        return None
    except (OSError, DocumentError, KeyError, AttributeError) as error:
        raise EnvironmentFault(f"cannot read {path}: {error}", hint=RESTART_HINT) from None
    if schema != SCHEMA:
        raise EnvironmentFault(
            f"{path}: schema {schema!r}", expected=repr(SCHEMA), hint=RESTART_HINT
        )
    try:
        live = LiveShadow(challenger=ModelRef(**values.pop("challenger")), **values)
    except (ValueError, KeyError, TypeError) as error:
        raise EnvironmentFault(f"cannot read {path}: {error}", hint=RESTART_HINT) from None
    if live.clock and clock.age(live.clock) is None:
        live = replace(live, clock=clock.marks(live.clock))
        _write(home, name, live)
    return live


def copy_counts(live: LiveShadow) -> CopyCounts | None:
    """Return how many requests were offered and dropped; None if the copying has ended."""
    return _target(live).shadow_counts(live.shadow)


def records(live: LiveShadow) -> RecordedExchanges:
    """Return the records so far, also after the copying has ended."""
    path = _target(live).shadow_records(live.shadow)
    exchanges = read_exchanges(path)
    full = (
        len(exchanges) >= mirror_reader.MAX_RECORDED
        or path.stat().st_size >= mirror_reader.MAX_RECORDED_BYTES
    )
    return RecordedExchanges(exchanges, full)


def end(live: LiveShadow) -> CopyCounts | None:
    """End the copying, wait until the last response is recorded, and return the counts."""
    return _target(live).end_shadow(live.shadow)


def remove_state(home: Home, name: str) -> None:
    """Remove the state; the records stay until the next start."""
    (home / f"shadow/{name}.json").unlink(missing_ok=True)


def read_exchanges(path: Path) -> list[Exchange]:
    """Return the requests of a file of records; an incomplete last line is left out."""
    exchanges = []
    with path.open("rb") as stream:
        for line in stream:
            if not line.endswith(b"\n"):
                break
            record = json.loads(line)
            exchanges.append(
                Exchange(
                    record["id"],
                    _parse_response(record["champion"]),
                    _parse_response(record["challenger"]),
                )
            )
    return exchanges


Positions = tuple[int | None, ...]
"""Position of each of the challenger's features in a row for the champion; None if absent."""


def positions(champion: FeatureSchema, challenger: FeatureSchema) -> Positions | None:
    """Return the positions of the challenger's features in the champion's rows; None if equal.

    Raises:
        Refused: the champion's requests lack a required feature, or have one of another kind.
    """
    places = {name: place for place, name in enumerate(champion.names)}
    missing = [
        feature.name
        for feature in challenger.features
        if feature.name not in places and not feature.optional
    ]
    if missing:
        raise Refused(
            f"requests for the champion lack the challenger's feature '{missing[0]}'",
            expected="a challenger whose features are among the champion's, or optional",
            hint="replay the holdout instead, where each model has its own features",
        )
    kinds = {feature.name: feature.kind for feature in champion.features}
    for feature in challenger.features:
        if kinds.get(feature.name, feature.kind) != feature.kind:
            raise Refused(
                f"requests for the champion give feature '{feature.name}' as "
                f"{kinds[feature.name]}, the challenger expects {feature.kind}",
                expected="a challenger whose features have the champion's kinds",
                hint="replay the holdout instead, where each model has its own features",
            )
    if champion.names == challenger.names:
        return None
    return tuple(places.get(name) for name in challenger.names)


def copying_target(target: str, environment: str) -> SupportsLiveShadow:
    """Return the target of an environment, which must be able to copy requests.

    Raises:
        UsageError: its servers cannot copy requests.
    """
    loaded = load_target(target)
    if not isinstance(loaded, SupportsLiveShadow):
        raise UsageError(
            f"{environment} has the target {target}, whose servers cannot copy requests",
            expected="a target that can, such as process or docker",
            hint="replay instead: 'ml-pipeline shadow ENV' without --start",
        )
    return loaded


def _target(live: LiveShadow) -> SupportsLiveShadow:
    return copying_target(live.target, live.environment)


def _parse_response(record: dict[str, Any]) -> PredictionResponse:
    predictions = (
        tuple(each) if isinstance(each, list) else each for each in record["predictions"]
    )
    return PredictionResponse(**record | {"predictions": tuple(predictions)})
