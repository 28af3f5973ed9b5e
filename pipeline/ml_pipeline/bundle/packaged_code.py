"""Features by a bundle's own code, ``source.tar.gz``, independent of the project's present code."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ml_pipeline.bundle import source
from ml_pipeline.config import FILE
from ml_pipeline.core import artefacts, documents, landlock, supervisor
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.home import secret_files
from ml_pipeline.core.landlock import Rules
from ml_pipeline.core.subprocess_environment import inherited
from ml_pipeline.data import parquet

if TYPE_CHECKING:
    import pandas as pd

    from ml_pipeline.bundle.reader import Bundle

TIMEOUT = 3600.0


class OwnCodeError(Exception):
    """The bundle's code computes no features for these rows; the message continues "its code ...".

    ``code`` is the exit code, and ``output`` the last line of output.
    """

    def __init__(self, why: str, output: str = "", code: int | None = None) -> None:
        self.output = output
        self.code = code
        super().__init__(f"{why}: {output}" if output else why)


@dataclass(frozen=True)
class OwnFeatures:
    """Features that a bundle's own code computed from rows.

    Attributes:
        features: indexed by ``source_row``.
        set_aside: ``source_row`` and ``reasons`` of the rows that its data tests left out.
        blanked: how many cells of a column they emptied.
    """

    features: pd.DataFrame
    set_aside: tuple[Mapping[str, Any], ...]
    blanked: Mapping[str, int]


def features_of(bundle: Bundle, rows: Path) -> pd.DataFrame:
    """Return the features that the bundle's own code computes; see :func:`compute`."""
    return compute(bundle, rows).features


def compute(bundle: Bundle, rows: Path) -> OwnFeatures:
    """Return the features that the bundle's own code computes, and the rows that it leaves out.

    The archive (its digest was verified when the bundle was opened) is unpacked into a temporary
    folder and run in a process of its own, which gets none of the settings and secrets of this
    one's environment, and which can write in that folder only where the system can confine it
    (``ml_pipeline.core.landlock``). Whatever it starts ends with it
    (``ml_pipeline.core.supervisor``).

    Args:
        bundle: The verified bundle.
        rows: A Parquet file in the problem's column names, with the rows' history.

    Raises:
        OwnCodeError: the archive or its code does not work on these rows.
    """
    with tempfile.TemporaryDirectory(prefix="own-code-") as name:
        scratch = Path(name).resolve()
        project, out, tmp = scratch / "project", scratch / "features.parquet", scratch / "tmp"
        tmp.mkdir()
        _unpack(bundle.path / artefacts.SOURCE_FILE, project, _columns(rows))
        rules = Rules((scratch,), secret_files(near=(bundle.path, rows)))
        command = [
            sys.executable, "-P", "-m", "ml_pipeline", "features",
            "--project", str(project), "--in", str(rows.resolve()), "--out", str(out), "--json",
        ]  # fmt: skip
        try:
            done = subprocess.run(
                supervisor.command(landlock.command(rules, command)),
                cwd=project,
                env=environment() | {"TMPDIR": str(tmp)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise OwnCodeError(f"code took over {TIMEOUT:.0f} s") from None
        if done.returncode != 0 or out.is_symlink() or not out.is_file():
            output = done.stderr.decode(errors="replace").strip().splitlines()
            raise OwnCodeError(
                f"code ended with {done.returncode}", output[-1] if output else "", done.returncode
            )
        try:
            told_of: dict[str, Any] = documents.parse_json(done.stdout, "the report")
            left_out = tuple(told_of["set_aside"])
            return OwnFeatures(
                parquet.read(out).set_index("source_row"), left_out, told_of["blanked"]
            )
        except (UsageError, KeyError, TypeError) as error:
            raise OwnCodeError(f"code wrote no report and table of features: {error}") from None


def _columns(rows: Path) -> dict[str, bool]:
    """Return the columns of a Parquet file, each with whether it holds text."""
    import pyarrow as pa
    from pyarrow import parquet as files

    try:
        with parquet.errors_naming(rows):
            schema = files.read_schema(rows)
    except UsageError as error:
        raise OwnCodeError(f"code got no rows: {error}") from None
    return {
        field.name: pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
        for field in schema
    }


def _without_others(problem: dict[str, Any], columns: Mapping[str, bool]) -> dict[str, Any]:
    """Return a table's options for rows with columns that came or went since it was configured.

    A column that it drops may be gone by now. Text that it does not name was not there, since it
    would have been refused.
    """
    if problem.get("kind") != "table":
        return problem
    own = {*problem.get("categorical", ())}
    own |= {problem.get(role) for role in ("label", "time", "entity", "group", "cluster")}
    numbers = problem.get("numeric", "auto")
    own |= set() if numbers == "auto" else {*numbers}
    former = [name for name in problem.get("drop", ()) if name in columns]
    new = [name for name, is_text in columns.items() if is_text and name not in own]
    return problem | {"drop": list(dict.fromkeys([*former, *new]))}


def _unpack(archive: Path, project: Path, columns: Mapping[str, bool]) -> None:
    """Extract the archive, and let its configuration take columns by the problem's names.

    The rows were read already: their dates and numbers are not written as in the source any more.
    """
    project.mkdir()
    try:
        source.unpack(archive, project)
        values: Any = documents.read_yaml(project / FILE, FILE)
        data = dict(values.get("data") or {})
        problem = _without_others(dict(values["problem"]), columns)
    except (tarfile.TarError, OSError, DocumentError, AttributeError, TypeError, KeyError) as error:
        raise OwnCodeError(f"source.tar.gz cannot be used: {error}") from None
    for key in ("columns", "constants", "groups", "source", "ci"):
        data.pop(key, None)
    (project / FILE).write_text(yaml.safe_dump(values | {"data": data, "problem": problem}))


def environment() -> dict[str, str]:
    """Return the environment of the bundle's code: the system's variables and this package."""
    ours = str(Path(__file__).resolve().parents[2])
    return inherited("OMP_NUM_THREADS") | {"PYTHONPATH": ours}
