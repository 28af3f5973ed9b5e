"""The champion's predictions for the challenger's rows, with its own feature code if needed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ml_pipeline.bundle.packaged_code import OwnCodeError, features_of
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.features.schema import FeatureError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEATURE_PARTS = ("source", "config")
"""Parts of an identity that determine the features."""

MISSING_COLUMN = re.compile(r"KeyError|\bcolumns?\b")
"""Matches the last line of output of code that did not find a column."""
QUOTED = re.compile(r"'([^']+)'")


class NoPredictionsError(Exception):
    """A model has no predictions for the rows.

    ``names`` are the features or columns that may be missing.
    """

    def __init__(self, why: str, names: Sequence[str] = ()) -> None:
        super().__init__(why)
        self.names = tuple(names)


def has_same_feature_code(challenger: Mapping[str, str], champion: Mapping[str, str]) -> bool:
    """Return whether two identities have the same feature code and configuration."""
    return all(
        challenger.get(part) is not None and challenger.get(part) == champion.get(part)
        for part in FEATURE_PARTS
    )


def score(bundle: Bundle, features: pd.DataFrame, of: str = "the champion") -> Floats:
    """Return a bundle's probabilities [n] for raw features [n rows]; messages name it by ``of``.

    Raises:
        NoPredictionsError: a feature is missing, or the model does not accept its values.
    """
    missing = [name for name in bundle.schema.names if name not in features]
    if missing:  # optional ones too: the comparison would not be fair without them
        raise NoPredictionsError(
            f"{of} does not take these features: missing features: {', '.join(missing)}", missing
        )
    try:
        return bundle.predict(bundle.schema.encode(features))
    except FeatureError as error:
        raise NoPredictionsError(f"{of} does not take these features: {error}") from None


def with_remedy(error: NoPredictionsError, columns: Collection[str]) -> NoPredictionsError:
    """Return the error with a remedy, if the data lack a column that the champion needs.

    Args:
        error: the reason that the champion has no predictions.
        columns: of the clean data, in the problem's names.
    """
    missing = [name for name in dict.fromkeys(error.names) if name not in columns]
    if not missing:
        return error
    several = len(missing) > 1
    names = ", ".join(f"'{name}'" for name in missing)
    return NoPredictionsError(
        f"the champion needs the column{'s' * several} {names}, which the data lack, so it cannot "
        f"be compared on them: keep {'them' if several else 'it'} in the data and add "
        f"{names} to problem.drop in ml.yaml until the new model is in production ({error})"
    )


def features_by_own_code(champion: Bundle, clean: Path, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return the features that the champion's own code computes for some of the clean rows.

    :mod:`ml_pipeline.bundle.packaged_code` runs it.

    Args:
        champion: The verified bundle.
        clean: ``clean.parquet``, in the problem's column names; all of it is the rows' history.
        rows: Positions of the rows in it.

    Raises:
        NoPredictionsError: the archive or its code does not work on these rows.
    """
    import pandas as pd

    try:
        features = features_of(champion, clean)
    except OwnCodeError as error:
        names = QUOTED.findall(error.output) if MISSING_COLUMN.search(error.output) else ()
        raise NoPredictionsError(f"the champion's {error}", names) from None
    missing = int((~pd.Index(rows).isin(features.index)).sum())
    if missing:
        raise NoPredictionsError(f"the champion's code set {missing} of {len(rows)} rows aside")
    return features.loc[rows]
