"""The champion's answers for the challenger's rows, by the champion's own code where it differs."""

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
"""Parts of an identity that decide what the features are."""


ABOUT_COLUMNS = re.compile(r"KeyError|\bcolumns?\b")
"""In the last line of code that did not find a column."""
QUOTED = re.compile(r"'([^']+)'")


class NoPredictionsError(Exception):
    """The champion cannot answer for these rows; says why.

    ``names`` are features or columns that may be what is lacking.
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
    """Return a bundle's probabilities [n] for raw features [n rows]; ``of`` is whose they are.

    Raises:
        NoPredictionsError: a feature is lacking or is not as the champion takes it.
    """
    lacking = [name for name in bundle.schema.names if name not in features]
    if lacking:  # an optional one too: without it the comparison would not be fair
        raise NoPredictionsError(
            f"{of} does not take these features: lacking features: {', '.join(lacking)}", lacking
        )
    columns = {name: features[name] for name in bundle.schema.names}
    try:
        return bundle.predict(bundle.schema.encode(columns))
    except FeatureError as error:
        raise NoPredictionsError(f"{of} does not take these features: {error}") from None


def with_remedy(error: NoPredictionsError, columns: Collection[str]) -> NoPredictionsError:
    """Return the error with what to do, where the data lack a column that the champion needs.

    Args:
        error: why the champion does not answer.
        columns: those of the clean data, in the problem's names.
    """
    lacking = [name for name in dict.fromkeys(error.names) if name not in columns]
    if not lacking:
        return error
    several = len(lacking) > 1
    named = ", ".join(f"'{name}'" for name in lacking)
    return NoPredictionsError(
        f"the champion needs the column{'s' * several} {named}, which the data lack, so it cannot "
        f"be compared on them: keep {'them' if several else 'it'} in the data and add "
        f"{named} to problem.drop in ml.yaml until the new model is in production ({error})"
    )


def features_by_own_code(champion: Bundle, clean: Path, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return the features that the champion's own code computes for some of the clean rows.

    See :mod:`ml_pipeline.bundle.packaged_code` for how it is run.

    Args:
        champion: The verified bundle.
        clean: ``clean.parquet``, in the problem's column names; all of it is the rows' history.
        rows: Positions in it whose features are wanted.

    Raises:
        NoPredictionsError: the archive or its code does not work on these rows.
    """
    import pandas as pd

    try:
        features = features_of(champion, clean)
    except OwnCodeError as error:
        names = QUOTED.findall(error.told) if ABOUT_COLUMNS.search(error.told) else ()
        raise NoPredictionsError(f"the champion's {error}", names) from None
    lacking = int((~pd.Index(rows).isin(features.index)).sum())
    if lacking:
        raise NoPredictionsError(f"the champion's code set {lacking} of {len(rows)} rows aside")
    return features.loc[rows]
