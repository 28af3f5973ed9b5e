"""Feature modules run in a copy, in a process that writes nothing but their features."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core import landlock
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.features.decorator import load_modules
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.project import feature_process
from ml_pipeline.project.protected_files import Protected

needs_landlock = pytest.mark.skipif(not landlock.abi(), reason="this system has no Landlock")

ROWS = pd.DataFrame(
    {
        "age": [31.0, np.nan, 52.0, 18.0],
        "plan": ["gold", None, "basic", "gold"],
        "left": [0, 1, 0, 1],
    }
)
HEAD = """
    import os, sys
    from pathlib import Path
    import numpy as np
    import pandas as pd
    from ml_pipeline import feature
"""


@pytest.fixture
def compute(make_project):
    """Compute the matrix of a small table with a module ``own`` of this code."""

    def run(code: str):
        project = make_project(
            bare=True,
            project="small",
            problem={"kind": "table", "label": "left", "categorical": ["plan"]},
            data={"source": {"kind": "csv", "path": "rows.csv"}},
            features={"modules": ["own"]},
        )
        (project.root / "own.py").write_text(textwrap.dedent(HEAD) + textwrap.dedent(code))
        folder = Workdir(project.root / "build/ml")
        folder.make()
        (folder / "reports/train.json").write_text("{}")
        rows = folder / "data/clean.parquet"
        ROWS.to_parquet(rows)
        run.protected = Protected(project, folder, Home(project.root / ".ml"))
        problem = load_problem(project.config.problem, project.root)
        return feature_process.matrix(run.protected, problem, rows, pd.read_parquet(rows))

    return run


def test_values_equal_an_in_process_computation_to_the_bit(compute):
    result = compute(
        """
        @feature(scope="row")
        def thirds(rows):
            return rows["age"] / 3

        @feature(scope="row")
        def words(rows):
            first = rows["plan"].str[0].astype(object)
            return pd.DataFrame({"first": first.where(first.notna(), None), "tiny": 1e-45})
        """
    )
    project = compute.protected.project
    problem = load_problem(project.config.problem, project.root)
    functions = load_modules(project.root, ("own",))
    expected = problem.matrix(ROWS, functions, standard=True)
    pd.testing.assert_frame_equal(result.features, expected.features, check_exact=True)
    for name in ("age", "thirds", "tiny"):
        bits = [each.features[name].to_numpy().view("uint32") for each in (result, expected)]
        assert np.array_equal(*bits)
    assert result.categorical == expected.categorical == ("plan", "first")
    assert result.features["first"][1] is None
    pd.testing.assert_series_equal(result.label, expected.label)
    pd.testing.assert_frame_equal(result.keys, expected.keys)


def test_the_working_directory_may_be_outside_the_copy(compute, make_project, monkeypatch):
    folder = make_project().root / "build/ml/reports"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    result = compute("""
        @feature(scope="row")
        def here(rows):
            return rows["age"] * 0 + (Path.cwd().name == "reports")
    """)
    assert result.features["here"].dropna().tolist() == [0.0, 0.0, 0.0]


def test_modules_may_write_in_the_copy_and_print(compute, capfd):
    result = compute(
        """
        Path(__file__).with_name("cache.txt").write_text("made")
        @feature(scope="row")
        def one(rows):
            print("computing in", Path(__file__).parent)
            return rows["age"] * 0 + 1
        """
    )
    root = compute.protected.project.root
    assert result.features["one"][0] == 1
    assert not (root / "cache.txt").exists()
    out, err = capfd.readouterr()
    assert out == ""
    assert f"computing in {root}\n" in err


@needs_landlock
def test_landlock_refuses_writes_to_files_of_later_stages(compute, make_project):
    report = make_project(bare=True, project="small").root / "build/ml/reports/train.json"
    with pytest.raises(UsageError, match="PermissionError") as result:
        compute(
            f"""
            @feature(scope="row")
            def one(rows):
                Path({str(report)!r}).write_text("[]")
                return rows["age"]
            """
        )
    assert result.value.hint == feature_process.WRITABLE
    assert report.read_text() == "{}"
    assert compute.protected.changed == []


@pytest.mark.usefixtures("without_landlock")
def test_writes_to_files_of_later_stages_are_detected_without_landlock(compute, make_project):
    report = make_project(bare=True, project="small").root / "build/ml/reports/train.json"
    compute(
        f"""
        @feature(scope="row")
        def one(rows):
            Path({str(report)!r}).write_text("[]")
            return rows["age"] + 1
        """
    )
    assert compute.protected.changed == ["reports/train.json was written"]


def test_modules_cannot_change_labels(compute):
    result = compute(
        """
        from ml_pipeline.problems import table
        before = table.Table.matrix
        def others(self, *args, **named):
            return before(self, args[0].assign(left=1 - args[0]["left"]), *args[1:], **named)
        table.Table.matrix = others

        @feature(scope="row")
        def one(rows):
            return rows["age"] + 1
        """
    )
    assert result.label.tolist() == ROWS["left"].tolist()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", "own cannot be imported: ZeroDivisionError"),
        ("os._exit(0)", "the process of the feature modules ended with 0"),
        ("print('the end'); os._exit(7)", "ended with 7: the end"),
        ("open('nothing.csv')", "No such file or directory: 'nothing.csv'"),
    ],
)
def test_a_failing_module_is_named(compute, code, message):
    with pytest.raises(UsageError, match=message):
        compute(code)


SPOILED = """
    import atexit
    atexit.register(lambda: Path(os.environ["TMPDIR"], "../out/features.arrow").{spoil})
    @feature(scope="row")
    def one(rows):
        return rows["age"] + 1
"""


@pytest.mark.parametrize("spoil", ["write_bytes(b'ARROW1')", "write_bytes(b'')", "unlink()"])
def test_a_result_that_is_not_a_table_is_refused(compute, spoil):
    with pytest.raises(Refused, match="returned no table of features"):
        compute(SPOILED.format(spoil=spoil))
