"""Rows by name: each value under its feature's name, in any order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import nearest
from ml_pipeline.features.schema import FeatureError

if TYPE_CHECKING:
    from ml_pipeline.features.schema import FeatureSchema

SHOWN = 40
"""Characters of a client's name that an error shows."""
SEARCHED = 200
"""Features among which a similar name is looked for: a refusal must not be dear."""
LISTED = 60
"""Characters of the model's names that an error lists."""


class Named:
    """Arranges rows by name in the model's order."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._names = schema.names
        self._known = frozenset(schema.names)
        self._required = tuple(one.name for one in schema.features if not one.optional)

    def row(self, values: Mapping[str, Any], number: int) -> list[Any]:
        """Return the values in the model's order; an optional one that is left out is None.

        Raises:
            FeatureError: a name is unknown, or a required one is missing.
        """
        self.check(values, f"row {number}", number)
        return [values.get(name) for name in self._names]

    def check(self, names: Collection[Any], where: str, number: int | None = None) -> None:
        """Compare the names that a request gives with the model's.

        Args:
            names: without duplicates.
            where: the place in the request, as the error calls it.
            number: of the row, where it is one.

        Raises:
            FeatureError: see ``row``.
        """
        unknown = next((name for name in names if name not in self._known), None)
        if unknown is not None:
            raise FeatureError(f"{where}: unknown feature {self._near(unknown)}", row=number)
        for name in self._required:
            if name not in names:
                raise FeatureError(
                    f"{where} lacks the feature '{name[:SHOWN]}'; expected {self.listed}",
                    row=number,
                    feature=name,
                )

    @property
    def listed(self) -> str:
        """The model's features in order, as far as an error shows them."""
        told = ", ".join(self._names)
        return told if len(told) <= LISTED else f"{told[:LISTED]}... ({len(self._names)} features)"

    def _near(self, unknown: object) -> str:
        name = str(unknown)[: SHOWN + 1]
        shown = name if len(name) <= SHOWN else f"{name[:SHOWN]}..."
        near = nearest(name, islice(self._names, SEARCHED))
        hint = near[:LISTED] if near.startswith("did you mean") else f"expected {self.listed}"
        return f"'{shown}'; {hint}"
