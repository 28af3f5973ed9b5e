"""The request contract of a model: the inputs that a client sends, and changes of contracts.

A contract is the ordered list of features, each with its kind, categories and optionality, and the
handling of unseen categories. Ranges are not part of it: numbers outside them are accepted.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ml_pipeline.features.schema import Feature, FeatureSchema

Change = Literal["compatible", "extended", "breaking"]
SHOWN = 5
"""Categories that a message lists."""
MAX_ACCEPTED = 20
"""Earlier contracts whose digests are accepted, at most."""
RENAME_SIMILARITY = 0.5
"""Similarity of two names from which they are reported as a renamed feature."""


@dataclass(frozen=True)
class ContractChange:
    """The change of a request contract for the clients of the former one.

    ``compatible``: no change. ``extended``: every former request is accepted with the same meaning,
    and further requests are. ``breaking``: some former request is refused or has another meaning,
    which ``broken`` lists; ``extensions`` lists additions.
    """

    broken: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()

    @property
    def change(self) -> Change:
        if self.broken:
            return "breaking"
        return "extended" if self.extensions else "compatible"

    def __str__(self) -> str:
        message = "; ".join((*self.broken, *self.extensions))
        return f"{self.change}: {message}" if message else self.change


def request_order(
    names: Sequence[str], optional: Collection[str], former: FeatureSchema | None
) -> list[str]:
    """Return the names in the order of positional requests.

    Names of the former contract keep their order, so that its clients' requests keep their meaning;
    new names follow, optional ones last, since a positional request may omit trailing values.

    Args:
        names: names of the features, in an order independent of the data.
        optional: names of the features that a request may omit.
        former: the champion's schema; None without a champion.
    """
    known = [] if former is None else [name for name in former.names if name in names]
    new = [name for name in names if name not in known]
    return [*known, *sorted(new, key=lambda name: name in optional)]


def with_earlier_contracts(schema: FeatureSchema, former: FeatureSchema | None) -> FeatureSchema:
    """Return the schema with the digests of earlier contracts that it remains compatible with.

    If a positional request for an earlier contract would be misread, positional requests must carry
    the contract's digest from then on.
    """
    if former is None:
        return schema
    if former.needs_contract or _misread(former, schema):
        schema = replace(schema, needs_contract=True)
    if compare(former, schema).change == "breaking":
        return schema
    accepted = [name for name in (former.contract, *former.accepts) if name != schema.contract]
    return replace(schema, accepts=tuple(accepted[:MAX_ACCEPTED]))


def compare(former: FeatureSchema, new: FeatureSchema) -> ContractChange:
    """Compare the new contract with the former one, for the clients of the former one."""
    before = {feature.name: feature for feature in former.features}
    after = {feature.name: feature for feature in new.features}
    broken = [*_names(before, after)]
    extensions = [
        f"feature '{name}' is new and optional"
        for name, feature in after.items()
        if name not in before and feature.optional
    ]
    for name, feature in before.items():
        if name in after:
            lost, gained = _feature(feature, after[name], new)
            broken += lost
            extensions += gained
    if order := _order(former, new):
        broken.append(order)
    if new.needs_contract and not former.needs_contract:
        broken.append("a request by position has to give the digest of the contract")
    if former.needs_contract and not new.needs_contract:
        extensions.append("a request by position need not give the digest of the contract")
    if former.unseen != new.unseen and any(one.kind == "categorical" for one in former.features):
        if new.unseen == "refuse":
            broken.append("categories that training never saw are refused, and were missing values")
        else:
            extensions.append("categories that training never saw are missing values now")
    return ContractChange(tuple(broken), tuple(extensions))


def _names(before: Mapping[str, Feature], after: Mapping[str, Feature]) -> Iterable[str]:
    """Return messages on names that were removed, renamed, or are new and required."""
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before and not after[name].optional]
    for name in gone:
        alike = [other for other in new if after[other].kind == before[name].kind]
        near = difflib.get_close_matches(name, alike, n=1, cutoff=RENAME_SIMILARITY)
        renamed = near or (alike if len(gone) == len(new) == 1 else [])
        if renamed:
            new.remove(renamed[0])
            yield f"feature '{name}' is gone, '{renamed[0]}' is new and required: renamed?"
        else:
            yield f"feature '{name}' is gone"
    for name in new:
        yield f"feature '{name}' is new and required"


def _feature(before: Feature, after: Feature, new: FeatureSchema) -> tuple[list[str], list[str]]:
    """Return the breaking changes and the extensions of a feature in both contracts."""
    name = before.name
    if before.kind != after.kind:
        kinds = {"numeric": "numbers", "categorical": "text"}
        return [f"feature '{name}' takes {kinds[after.kind]}, took {kinds[before.kind]}"], []
    broken, extensions = [], []
    if lost := [one for one in before.categories if one not in set(after.categories)]:
        now = "is refused" if new.unseen == "refuse" else "counts as missing"
        broken.append(f"feature '{name}' does not know {_listed(lost)} any more: it {now}")
    if gained := [one for one in after.categories if one not in set(before.categories)]:
        extensions.append(f"feature '{name}' knows {_listed(gained)}, too")
    if before.optional and not after.optional:
        broken.append(f"feature '{name}' is required, was optional")
    if after.optional and not before.optional:
        extensions.append(f"feature '{name}' is optional now")
    return broken, extensions


def _order(former: FeatureSchema, new: FeatureSchema) -> str:
    """Return a message on the first position whose feature changed, or ""."""
    pairs = list(zip(former.names, new.names, strict=False))
    place = next((at for at, (one, other) in enumerate(pairs) if one != other), None)
    if place is None:
        return ""
    was, now = pairs[place]
    message = f"value {place + 1} of a request by position was '{was}' and is '{now}'"
    if _misread(former, new) and not new.needs_contract:
        return f"{message}; such a request is answered all the same, wrongly"
    kept = [name for name in former.names if name in new.names]
    if len(kept) == len(former.names):
        return f"the order changes: {message}"
    there = [name for name in new.names if name in former.names]
    return "" if kept == there else f"the order changes: {message}"


def _misread(former: FeatureSchema, new: FeatureSchema) -> bool:
    """Whether some row by position fits both, and a value of it is another feature's."""
    pairs = list(zip(former.features, new.features, strict=False))
    fitting = range(max(former.required, new.required), len(pairs) + 1)
    return any(
        all(one.kind == other.kind for one, other in pairs[:length])
        and any(one.name != other.name for one, other in pairs[:length])
        for length in fitting
    )


def _listed(categories: Sequence[str]) -> str:
    more = len(categories) - SHOWN
    message = ", ".join(repr(one) for one in categories[:SHOWN])
    return f"{message} and {more} more" if more > 0 else message
