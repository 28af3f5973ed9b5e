"""Rows by name: each value under its feature's name, in any order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import nearest
from ml_pipeline.features.schema import FeatureError

if TYPE_CHECKING:
    from ml_pipeline.features.schema import FeatureSchema

MAX_NAME_SHOWN = 40
"""Characters of a name from the request that an error shows."""
MAX_NAMES_SEARCHED = 200
"""Features that are searched for a similar name, so that an error response stays cheap."""
MAX_LIST_SHOWN = 60
"""Characters of the list of feature names in an error."""


class NamedRows:
    """Converts rows by name to rows in the model's order."""

    def __init__(self, schema: FeatureSchema) -> None:
        self._names = schema.names
        self._known = frozenset(schema.names)
        self._required = tuple(feature.name for feature in schema.features if not feature.optional)

    def arrange(self, values: Mapping[str, Any], number: int) -> list[Any]:
        """Return the values in the model's order; a missing optional one is None.

        Raises:
            FeatureError: a name is unknown, or a required one is missing.
        """
        self.check(values, f"row {number}", number)
        return [values.get(name) for name in self._names]

    def check(self, names: Collection[Any], where: str, number: int | None = None) -> None:
        """Check the names in a request against the model's.

        Args:
            names: without duplicates.
            where: the position in the request, for the error message.
            number: index of the row, if the names are those of a row.

        Raises:
            FeatureError: see ``arrange``.
        """
        unknown = next((name for name in names if name not in self._known), None)
        if unknown is not None:
            raise FeatureError(
                f"{where}: unknown feature {self._describe_unknown(unknown)}", row=number
            )
        for name in self._required:
            if name not in names:
                raise FeatureError(
                    f"{where} lacks the feature '{name[:MAX_NAME_SHOWN]}'; "
                    f"expected {self.feature_list}",
                    row=number,
                    feature=name,
                )

    @property
    def feature_list(self) -> str:
        """The feature names in the model's order, shortened for an error message."""
        names = ", ".join(self._names)
        return (
            names
            if len(names) <= MAX_LIST_SHOWN
            else f"{names[:MAX_LIST_SHOWN]}... ({len(self._names)} features)"
        )

    def _describe_unknown(self, unknown: object) -> str:
        name = str(unknown)[: MAX_NAME_SHOWN + 1]
        shown = name if len(name) <= MAX_NAME_SHOWN else f"{name[:MAX_NAME_SHOWN]}..."
        near = nearest(name, islice(self._names, MAX_NAMES_SEARCHED))
        hint = (
            near[:MAX_LIST_SHOWN]
            if near.startswith("did you mean")
            else f"expected {self.feature_list}"
        )
        return f"'{shown}'; {hint}"
