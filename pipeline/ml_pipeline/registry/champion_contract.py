"""What the next training run keeps of the champion: request contract, split and dated change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ml_pipeline.core.errors import Refused
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.features import request_contract
from ml_pipeline.features.schema import FeatureSchema

if TYPE_CHECKING:
    from ml_pipeline.registry.registry import Registry

CHECK = "request contract"


@dataclass(frozen=True)
class ChampionContract:
    """What the manifest of the version in production says.

    Attributes:
        version: Its number.
        schema: The features that its clients send.
        split_columns: The columns that its undated rows were split by, where these are not all.
        change: The day of the change that its window of training days may begin with.
    """

    version: int
    schema: FeatureSchema
    split_columns: tuple[str, ...]
    change: str | None = None

    @classmethod
    def read(cls, registry: Registry) -> Self | None:
        """Return that of the champion that the registry names; None where there is none.

        Raises:
            Refused: the registry's copy of the manifest is damaged.
            EnvironmentFault: the registry is unavailable.
        """
        version = registry.read().champion if registry.exists() else None
        if version is None:
            return None
        manifest = registry.bundles.manifest(version)
        split = manifest["training"].get("split")
        columns = split.get("columns") if isinstance(split, dict) else None
        try:
            schema = FeatureSchema.from_json(manifest["features"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(f"the manifest of version {version.number}: features: {error}") from None
        split_columns = tuple(map(str, columns)) if isinstance(columns, list) else ()
        change = manifest["identity_parts"].get("change")
        return cls(version.number, schema, split_columns, change)


def compare_contract(champion: ChampionContract | None, schema: FeatureSchema) -> Check:
    """Return how the request contract differs from the champion's; the gate decides about it."""
    if champion is None:
        return Check(
            name=CHECK,
            verdict=Verdict.SKIPPED,
            required=False,
            observed=schema.contract[:12],
            why="there is no champion to compare with",
        )
    difference = request_contract.compare(champion.schema, schema)
    is_breaking = difference.change == "breaking"
    return Check(
        name=CHECK,
        verdict=Verdict.FAIL if is_breaking else Verdict.PASS,
        required=False,
        observed=str(difference),
        expected=f"one that serves the clients of version {champion.version}, the champion",
        why=f"{difference}; the gate refuses that unless gate.allow_breaking_contract is true"
        if is_breaking
        else "",
    )
