"""The champion's answers for the challenger's rows, by the champion's own code where it differs."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline.bundle import source
from pipeline.bundle.reader import Bundle
from pipeline.config import FILE
from pipeline.features.schema import FeatureError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FEATURE_PARTS = ("source", "config")
"""Parts of an identity that decide what the features are."""
TIMEOUT = 3600.0
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
)
"""All of the environment that the champion's code gets."""


class UnscoredError(Exception):
    """The champion cannot answer for these rows; says why."""


def computes_alike(challenger: Mapping[str, str], champion: Mapping[str, str]) -> bool:
    """Return whether two identities have the same feature code and configuration."""
    return all(
        challenger.get(part) is not None and challenger.get(part) == champion.get(part)
        for part in FEATURE_PARTS
    )


def score(champion: Bundle, features: pd.DataFrame) -> Floats:
    """Return the champion's probabilities [n] for raw features [n rows].

    Raises:
        UnscoredError: a feature is lacking or is not as the champion takes it.
    """
    columns = {name: features[name] for name in champion.schema.names if name in features}
    try:
        return champion.predict(champion.schema.encode(columns))
    except FeatureError as error:
        raise UnscoredError(f"the champion does not take these features: {error}") from None


def own_features(champion: Bundle, clean: Path, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Return the features that the champion's own code computes for some of the clean rows.

    The bundle's ``source.tar.gz`` (its digest was verified when the bundle was opened) is unpacked
    into a temporary folder and run in a process of its own, which gets none of the settings and
    secrets of this one's environment.

    Args:
        champion: The verified bundle.
        clean: ``clean.parquet``, in the problem's column names; all of it is the rows' history.
        rows: Positions in it whose features are wanted.

    Raises:
        UnscoredError: the archive or its code does not work on these rows.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory(prefix="champion-") as name:
        project, out = Path(name) / "project", Path(name) / "features.parquet"
        _unpack(champion.path / "source.tar.gz", project)
        command = [
            sys.executable, "-P", "-m", "pipeline", "features",
            "--project", str(project), "--in", str(clean.resolve()), "--out", str(out),
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                cwd=project,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UnscoredError(f"the champion's code took over {TIMEOUT:.0f} s") from None
        if done.returncode != 0 or not out.is_file():
            told = done.stderr.decode(errors="replace").strip().splitlines()
            raise UnscoredError(
                f"the champion's code ended with {done.returncode}: {told[-1] if told else ''}"
            )
        features = pd.read_parquet(out).set_index("source_row")
    lacking = int((~pd.Index(rows).isin(features.index)).sum())
    if lacking:
        raise UnscoredError(f"the champion's code set {lacking} of {len(rows)} rows aside")
    return features.loc[rows]


def _unpack(archive: Path, project: Path) -> None:
    """Extract the archive, and let its configuration take columns by the problem's names."""
    project.mkdir()
    try:
        source.unpack(archive, project)
        values: Any = yaml.safe_load((project / FILE).read_text())
        data = dict(values.get("data") or {})
    except (tarfile.TarError, OSError, yaml.YAMLError, AttributeError, TypeError) as error:
        raise UnscoredError(f"the champion's source.tar.gz cannot be used: {error}") from None
    for key in ("columns", "constants", "groups"):
        data.pop(key, None)
    (project / FILE).write_text(yaml.safe_dump(values | {"data": data}))


def _environment() -> dict[str, str]:
    ours = str(Path(__file__).resolve().parents[2])
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | {
        "PYTHONPATH": ours
    }
