"""Features of a project's own modules, computed in a confined process.

The modules run in a copy of the project (``ml_pipeline.project.isolation``). Only the features are
read from it, as Arrow in a file of bounded size; labels and keys are computed in this process. The
values are identical to the bit.

``python -m ml_pipeline.project.feature_process REQUEST`` is that process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.config import ProblemSection
from ml_pipeline.core import documents, errors, landlock
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import PipelineError, Refused, UsageError
from ml_pipeline.data import parquet
from ml_pipeline.features.decorator import load_modules
from ml_pipeline.problem import FeatureFunction, Matrix, Problem
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.project.isolation import IsolatedCopy, ProcessResult, isolated_copy
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.test_context import move_search_path

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MODULE = "ml_pipeline.project.feature_process"
FEATURES, ANSWER = "features.arrow", "answer.json"
MAX_BYTES_PER_ROW = 1 << 14
"""Limit of the average: 4,000 numbers."""
MIN_BYTES = 64 << 20
CONSTANT = "ml_pipeline_constant"


@dataclass(frozen=True)
class _Request:
    """The request to the process, in JSON."""

    original: str
    root: str
    problem: dict[str, Any]
    modules: tuple[str, ...]
    standard: bool | tuple[str, ...]
    rows: str
    out: str


def matrix(protected: Protected, problem: Problem, rows: Path, frame: pd.DataFrame) -> Matrix:
    """Return the matrix of the rows; without ``features.modules``, no process is started.

    Files of ``protected`` that the modules change are listed in ``protected.changed``.

    Args:
        protected: the project and the files that its code may not write.
        problem: the project's problem.
        rows: the Parquet file that ``frame`` was read from.
        frame: clean rows in the problem's column names.

    Raises:
        UsageError: a module or a feature function is at fault.
        Refused: the frame has no labels, or the process did not return a table of features.
        EnvironmentFault: the project cannot be copied.
    """
    features = protected.project.config.features
    if not features.modules:
        return problem.matrix(frame, (), features.standard)
    with isolated_copy(protected) as place:
        request = _Request(
            original=str(place.original),
            root=str(place.root),
            problem=protected.project.config.problem.model_dump(mode="json"),
            modules=features.modules,
            standard=features.standard,
            rows=str(rows.resolve()),
            out=str(place.out),
        )
        here = Path(place.path_in_copy(str(Path.cwd())))
        with protected.detect_changes():
            process = place.run_module(
                MODULE, json.dumps(asdict(request)), cwd=here if here.is_dir() else None
            )
        scope = _scope(place, process)
        limit = MIN_BYTES + len(frame) * MAX_BYTES_PER_ROW
        content = place.read(FEATURES, limit)
    if content is None:
        raise _no_table(f"no file of at most {limit >> 20} MB")
    constant = FeatureFunction(CONSTANT, __name__, scope, _zeros)
    own = problem.matrix(frame, [constant], standard=False)
    return replace(own, features=_decoded(content, len(own.label)))


def _zeros(block: pd.DataFrame) -> pd.Series:
    import pandas as pd

    return pd.Series(0.0, index=block.index)


def _scope(place: IsolatedCopy, process: ProcessResult) -> Any:
    """Return the scope in the answer of the process.

    Raises:
        PipelineError: the error that the process ended with.
    """
    content = place.read(ANSWER, documents.MAX_JSON)
    try:
        answer = documents.parse_json(content or b"", ANSWER)
        if isinstance(answer, dict) and process.exit_code == 0:
            return {name: name for name in ("row", "entity", "day")}[answer["scope"]]
        kind = {each.__name__: each for each in _KINDS}[answer["error"]]
        parts = [
            place.with_original_paths(str(answer[key])) for key in ("fault", "expected", "hint")
        ]
    except (DocumentError, KeyError, TypeError):
        raise UsageError(
            f"the process of the feature modules {process}",
            expected="features that are computed and returned",
        ) from None
    refused = "PermissionError" in parts[0] and landlock.abi()
    raise kind(parts[0], expected=parts[1], hint=parts[2] or (WRITABLE if refused else ""))


_KINDS: tuple[type[PipelineError], ...] = (Refused, UsageError, errors.EnvironmentFault)
WRITABLE = "feature modules may write only in their copy of the project and in TMPDIR"


def _no_table(why: str) -> Refused:
    return Refused(
        f"the process of the feature modules returned no table of features: {why}",
        expected="features that are computed and returned",
    )


def _encoded(features: pd.DataFrame) -> pa.Table:
    """Return the features as Arrow: numbers unchanged to the bit, missing text as null."""
    import pyarrow as pa

    arrays = []
    for name in features.columns:
        column = features[name]
        if column.dtype.kind == "f":
            arrays.append(pa.array(column.to_numpy(), from_pandas=False))
        else:
            text = column.astype(object).where(column.notna(), None)
            arrays.append(pa.array(text.tolist(), type=pa.large_string()))
    return pa.table(arrays, names=[str(name) for name in features.columns])


def _decoded(content: bytes, rows: int) -> pd.DataFrame:
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    try:
        with pa.ipc.open_file(pa.py_buffer(content)) as reader:
            table = reader.read_all()
        table.validate(full=True)
        names, kinds = table.column_names, {str(each) for each in table.schema.types}
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _no_table(str(error).splitlines()[0]) from None
    if table.num_rows != rows:
        raise _no_table(f"{table.num_rows} rows for {rows}")
    if len(set(names)) != len(names) or not kinds <= {"float", "double", "large_string"}:
        raise _no_table(f"columns of {', '.join(sorted(kinds))}, or duplicate names")
    columns: dict[str, Any] = {}
    for name in names:
        column = table.column(name).combine_chunks()
        if str(column.type) == "large_string":
            values = np.empty(rows, dtype=object)
            values[:] = column.to_pylist()
            columns[name] = pd.Series(values, dtype=object)
        else:
            columns[name] = pd.Series(column.to_numpy(zero_copy_only=False).copy())
    return pd.DataFrame(columns)


def main(arguments: Sequence[str]) -> int:
    """Compute the requested features and write them, or the error."""
    import pyarrow as pa

    request = _Request(**json.loads(arguments[0]))
    move_search_path(request.original, request.root)
    out = Path(request.out)
    try:
        problem = load_problem(ProblemSection.model_validate(request.problem), Path(request.root))
        frame = parquet.read(Path(request.rows))
        functions = load_modules(Path(request.root), request.modules)
        standard = request.standard if isinstance(request.standard, bool) else (*request.standard,)
        table = _encoded(problem.matrix(frame, functions, standard).features)
    except PipelineError as error:
        parts = {"fault": error.fault, "expected": error.expected, "hint": error.hint}
        (out / ANSWER).write_text(json.dumps({"error": type(error).__name__, **parts}))
        return error.exit_code
    with pa.OSFile(str(out / FEATURES), "wb") as sink, pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    (out / ANSWER).write_text(json.dumps({"scope": functions[0].scope}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
