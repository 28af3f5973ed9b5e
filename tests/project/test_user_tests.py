"""Runs of a project's own tests that pass, and those that must not."""

from __future__ import annotations

import base64
import hashlib
import os
import site
import textwrap
import time
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import psutil
import pytest
from ml_pipeline.config import Project
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict, judge
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.project.protected_files import CHECK, Protected
from ml_pipeline.project.user_tests import is_comparison, run_user_tests

DATA = Path("tests/data")


@pytest.fixture
def project(make_project) -> Project:
    return make_project()


@pytest.fixture
def scratch(project: Project) -> Workdir:
    folder = Workdir(project.root / "build/ml")
    folder.make()
    return folder


def write(project: Project, name: str, code: str) -> None:
    path = project.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(code))


def frame(scratch: Workdir, **columns: list[object]) -> dict[str, str]:
    path = scratch / "data/df.parquet"
    pd.DataFrame(columns).to_parquet(path)
    return {"df": str(path)}


def junit(scratch: Workdir, stage: str = "validate-data") -> ElementTree.Element:
    return ElementTree.parse(scratch / f"junit/{stage}-user.xml").getroot()


class TestDataTests:
    def test_each_test_is_a_check_named_by_its_node_id(self, project, scratch):
        write(
            project,
            "tests/data/test_quality.py",
            """
            def test_data_quality(df):
                assert list(df.columns) == ["Close"]
                assert (df["Close"] > 0).all()

            class TestRows:
                def test_enough(self, df):
                    rows = len(df)
                    assert rows > 5, "too few rows"
            """,
        )
        checks = run_user_tests(project, scratch, DATA, "data", frame(scratch, Close=[1.0, 2.0]))
        assert [(check.name, check.verdict) for check in checks] == [
            ("tests/data/test_quality.py::test_data_quality", Verdict.PASS),
            ("tests/data/test_quality.py::TestRows::test_enough", Verdict.FAIL),
        ]
        assert checks[1].why == (
            "AssertionError: too few rows; assert 2 > 5 (tests/data/test_quality.py:9)"
        )
        assert all(check.required for check in checks)
        cases = junit(scratch).findall("testcase")
        assert [case.get("file") for case in cases] == ["tests/data/test_quality.py"] * 2
        assert [case.get("line") for case in cases] == ["2", "7"]
        assert [case.find("failure") is None for case in cases] == [True, False]

    def test_tests_may_run_in_parallel(self, project, scratch):
        """The project's own pytest configuration holds."""
        write(project, "pytest.ini", "[pytest]\naddopts = -n 2\n")
        write(project, "tests/data/test_a.py", "def test_a(df): assert len(df) == 1")
        write(project, "tests/data/test_b.py", "def test_b(df): assert len(df) == 2")
        checks = run_user_tests(project, scratch, DATA, "data", frame(scratch, a=[1]))
        assert sorted((check.name, check.verdict) for check in checks) == [
            ("tests/data/test_a.py::test_a", Verdict.PASS),
            ("tests/data/test_b.py::test_b", Verdict.FAIL),
        ]

    def test_there_are_no_checks_without_the_folder(self, project, scratch):
        assert run_user_tests(project, scratch, DATA, "data", {}) == []
        assert not (scratch / "junit/validate-data-user.xml").exists()

    def test_a_run_leaves_no_files_in_the_project(self, project, scratch):
        write(project, "tests/data/test_one.py", "def test_one(df): assert len(df)")
        run_user_tests(project, scratch, DATA, "data", frame(scratch, a=[1]))
        assert sorted(item.name for item in project.root.iterdir()) == ["build", "ml.yaml", "tests"]


class TestNeverAPass:
    def judged(self, checks: list[Check]) -> Verdict:
        assert checks
        return judge(checks)

    def test_empty_folder(self, project, scratch):
        (project.root / DATA).mkdir(parents=True)
        checks = run_user_tests(project, scratch, DATA, "data", {})
        assert self.judged(checks) is Verdict.FAIL
        assert checks[0].observed == "no tests were collected"
        assert junit(scratch).get("failures") == "1"

    def test_folder_without_a_test_function(self, project, scratch):
        write(project, "tests/data/test_none.py", "LIMIT = 3")
        assert self.judged(run_user_tests(project, scratch, DATA, "data", {})) is Verdict.FAIL

    def test_every_test_skipped(self, project, scratch):
        write(
            project,
            "tests/data/test_skip.py",
            """
            import pytest

            def test_later(df):
                pytest.skip("not today")
            """,
        )
        checks = run_user_tests(project, scratch, DATA, "data", frame(scratch, a=[1]))
        assert checks[0].verdict is Verdict.SKIPPED
        assert self.judged(checks) is Verdict.INCONCLUSIVE

    def test_broken_import(self, project, scratch):
        write(project, "tests/data/test_broken.py", "import no_such_module")
        checks = run_user_tests(project, scratch, DATA, "data", {})
        assert self.judged(checks) is Verdict.ERROR
        assert "No module named 'no_such_module'" in checks[0].why

    def test_broken_conftest(self, project, scratch):
        write(project, "tests/data/conftest.py", "1 / 0")
        write(project, "tests/data/test_one.py", "def test_one(): pass")
        checks = run_user_tests(project, scratch, DATA, "data", {})
        assert self.judged(checks) is Verdict.ERROR
        assert "ZeroDivisionError" in checks[0].why

    @pytest.mark.parametrize("code", [0, 1, 7])
    def test_process_that_exits_during_the_tests(self, project, scratch, code):
        write(
            project,
            "tests/data/test_leave.py",
            f"""
            import os

            def test_fine(): pass
            def test_leave(): os._exit({code})
            """,
        )
        checks = run_user_tests(project, scratch, DATA, "data", {})
        assert self.judged(checks) in (Verdict.FAIL, Verdict.ERROR)

    def test_run_that_a_test_exits_with_code_0(self, project, scratch):
        write(
            project,
            "tests/data/test_stop.py",
            """
            import pytest

            def test_fine(): pass
            def test_stop(): pytest.exit("enough", returncode=0)
            def test_never(): assert False
            """,
        )
        checks = run_user_tests(project, scratch, DATA, "data", {})
        assert self.judged(checks) is Verdict.ERROR
        assert checks[1].why == "the test did not end"
        assert checks[2].observed == "only 2 of 3 collected tests were run"

    def test_exit_code_0_without_running_the_tests(self, project, scratch):
        write(project, "pytest.ini", "[pytest]\naddopts = --collect-only\n")
        write(project, "tests/data/test_one.py", "def test_one(): assert False")
        assert self.judged(run_user_tests(project, scratch, DATA, "data", {})) is Verdict.FAIL

    def test_error_in_a_fixture_and_in_teardown(self, project, scratch):
        write(
            project,
            "tests/data/test_fixture.py",
            """
            import pytest

            @pytest.fixture
            def broken():
                raise RuntimeError("no database")

            @pytest.fixture
            def leaking():
                yield
                raise RuntimeError("left open")

            def test_setup(broken): pass
            def test_teardown(leaking): pass
            """,
        )
        checks = run_user_tests(project, scratch, DATA, "data", {})
        assert self.judged(checks) is Verdict.ERROR
        errors = [check for check in checks if check.verdict is Verdict.ERROR]
        assert "no database" in errors[0].why
        assert "left open" in errors[1].why


class TestComparisons:
    CODE = """
        def test_absolute(new_model): pass

        def test_better(baseline_model):
            assert 0.4 > 0.6
    """
    FIXTURES = """
        import pytest

        @pytest.fixture
        def new_model(): return None

        @pytest.fixture
        def baseline_model(): return None
    """

    def run(self, project: Project, scratch: Workdir, **inputs: str) -> list[Check]:
        write(project, "tests/model/conftest.py", self.FIXTURES)
        write(project, "tests/model/test_model.py", self.CODE)
        return run_user_tests(project, scratch, Path("tests/model"), "model", inputs)

    def test_are_shown_and_not_required(self, project, scratch):
        absolute, better = self.run(project, scratch, profile="full")
        assert (absolute.required, is_comparison(absolute)) == (True, False)
        assert (better.required, is_comparison(better)) == (False, True)
        assert better.verdict is Verdict.FAIL
        assert judge([absolute, better]) is Verdict.PASS
        assert junit(scratch, "evaluate").get("failures") == "0"

    def test_are_skipped_for_a_quick_model(self, project, scratch):
        better = self.run(project, scratch, profile="quick")[1]
        assert better.verdict is Verdict.SKIPPED
        assert better.why.startswith("a quick model is not compared: assert 0.4 > 0.6")

    def test_crashes_are_required(self, project, scratch):
        write(project, "tests/model/test_crash.py", "def test_crash(baseline_model): 1 / 0")
        crash = self.run(project, scratch, profile="quick")[0]
        assert (crash.verdict, crash.required) == (Verdict.FAIL, True)
        assert "ZeroDivisionError" in crash.why


class TestOwnPackageNamedPipeline:
    def test_is_imported_beside_the_installed_package(self, project, scratch, monkeypatch):
        write(project, "pipeline/__init__.py", "OWN = 41")
        write(project, "pipeline/tables.py", "ANSWER = 42")
        write(project, "helpers/aid.py", "ANSWER = 43")
        write(
            project,
            "tests/data/test_import.py",
            """
            from pathlib import Path

            import aid
            import ml_pipeline.core.report
            import pipeline
            from pipeline.tables import ANSWER

            def test_import():
                assert (pipeline.OWN, ANSWER, aid.ANSWER) == (41, 42, 43)
                root = str(Path(__file__).parents[2])
                assert not ml_pipeline.core.report.__file__.startswith(root)
            """,
        )
        path = os.pathsep.join([str(project.root), str(project.root / "helpers")])
        monkeypatch.setenv("PYTHONPATH", path)
        checks = run_user_tests(project, scratch, DATA, "data", {})
        assert [check.verdict for check in checks] == [Verdict.PASS], checks[0].why

    def test_a_file_named_as_a_standard_module_does_not_replace_it(self, project, scratch):
        write(project, "fractions.py", "raise AssertionError('this one was imported')")
        write(
            project,
            "tests/data/test_import.py",
            """
            from fractions import Fraction

            def test_import():
                assert Fraction(1, 2) == 0.5
            """,
        )
        checks = run_user_tests(project, scratch, DATA, "data", {})
        assert [check.verdict for check in checks] == [Verdict.PASS], checks[0].why


class TestProtectedFiles:
    """Without Landlock, changes of protected files are detected and fail the run."""

    @pytest.fixture
    def written(self, project, scratch, without_landlock, monkeypatch, tmp_path):
        """Run one test of this body over a working folder with reports; return what was told."""
        (scratch / "reports/train.json").write_text("{}")
        (scratch / "data/predictions.parquet").write_text("rows")
        (scratch / "bundle/model.onnx").write_text("model")
        home = Home(project.root / ".ml")
        (home / "keys").mkdir(parents=True)
        (home / "keys/a.pub.pem").write_text("key")
        (home / "mlflow.db").write_text("registry")
        packages = tmp_path / "packages"
        packages.mkdir()
        (packages / "module.py").write_text("x = 1")
        (packages / "distutils.pth").touch()
        monkeypatch.setattr(site, "getsitepackages", lambda: [str(packages)])

        def run(body: str) -> str:
            code = "import os, subprocess, sys, time\nfrom pathlib import Path\n"
            code += f"ROOT = Path({str(project.root)!r})\nML = ROOT / 'build/ml'\n"
            code += f"def test_it(df):\n{textwrap.indent(textwrap.dedent(body), '    ')}\n"
            write(project, "tests/data/test_it.py", code)
            protected = Protected(project, scratch, home)
            inputs = frame(scratch, a=[1])
            checks = run_user_tests(project, scratch, DATA, "data", inputs, protected)
            result = [check for check in checks if check.name == CHECK]
            assert [check.verdict for check in checks if check not in result] == [Verdict.PASS]
            assert judge(checks) is (Verdict.ERROR if result else Verdict.PASS)
            return result[0].observed if result else ""

        return run

    @pytest.fixture
    def packages(self, written, tmp_path):
        """Let the installed module be listed, as an installer lists it."""
        digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1").digest()).decode().rstrip("=")
        record = tmp_path / "packages/own.dist-info/RECORD"
        record.parent.mkdir()
        record.write_text(f"module.py,sha256={digest},5\nown.dist-info/RECORD,,\n")

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("(ML / 'reports/train.json').write_text('[]')", "reports/train.json was written"),
            ("(ML / 'reports/verify-staging.json').touch()", "verify-staging.json was made"),
            ("(ML / 'data/predictions.parquet').unlink()", "predictions.parquet was removed"),
            ("(ML / 'bundle/model.onnx').write_text('other')", "bundle/model.onnx was written"),
            ("os.symlink('/etc', ML / 'pages/x')", "pages/x was made"),
            ("os.rename(ML / 'bundle', ML / 'old')", "bundle/model.onnx was removed"),
            ("(ROOT / 'ml.yaml').write_text('project: other')", "ml.yaml was written"),
            ("(ROOT / '.ml/keys/mine.pub.pem').touch()", "keys/mine.pub.pem was made"),
            ("(ROOT / '.ml/keys/a.pub.pem').write_text('kei')", "keys/a.pub.pem was written"),
            ("(ROOT / '.ml/mlflow.db').write_text('x')", ".ml/mlflow.db was written"),
            ("(ROOT / '../packages/module.py').write_text('x')", "packages/module.py was written"),
            ("(ROOT / '../packages/new.py').write_text('x')", "packages/new.py was made"),
            ("os.truncate(ML / 'reports/train.json', 0)", "reports/train.json was written"),
            ("os.chmod(ML / 'reports/train.json', 0o666)", "reports/train.json was written"),
            (
                "os.symlink(ML / 'reports/train.json', 'link'); Path('link').write_text('[]')",
                "reports/train.json was written",
            ),
            (
                "os.link(ML / 'reports/train.json', 'hard'); Path('hard').write_text('[]')",
                "reports/train.json was written",
            ),
            (
                "Path('new').write_text('[]'); os.replace('new', ML / 'reports/train.json')",
                "reports/train.json was written",
            ),
        ],
    )
    def test_a_change_is_named(self, written, body, message):
        assert message in written(body)

    def test_new_startup_files_of_python_are_named(self, written, tmp_path):
        message = written(
            f"Path({str(tmp_path / 'packages/evil.pth')!r}).write_text('import evil')"
        )
        assert message.endswith("packages/evil.pth was made")
        message = written(f"Path({str(tmp_path / 'packages/sitecustomize.py')!r}).touch()")
        assert message.endswith("sitecustomize.py was made")

    def test_restored_size_and_times_do_not_hide_a_change(self, written):
        message = written(
            """
            path = ML / "reports/train.json"
            before = path.stat()
            path.write_text("[]")
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            assert path.stat().st_mtime_ns == before.st_mtime_ns
            """
        )
        assert message == "reports/train.json was written"

    LINKED = """
        for path in (
            ROOT / "ml.yaml", ML / "reports/train.json", ROOT / ".ml/keys/a.pub.pem",
            ROOT / "../packages/distutils.pth", ROOT / "../packages/module.py",
            ROOT / "../packages/own.dist-info/RECORD",
        ):
            os.link(path, path.parent / "link"); os.unlink(path.parent / "link")
        """

    def test_a_file_that_was_only_hard_linked_is_not_named(self, written, packages):
        """An installer's cache or ``cp -al`` moves the time of change, and no content."""
        assert written(self.LINKED) == ""

    def test_a_hard_link_does_not_hide_a_write_to_an_installed_file(self, written, packages):
        message = written(
            """
            for path in (ROOT / "../packages/module.py", ROOT / "../packages/distutils.pth"):
                before, content = path.stat(), path.read_text()
                path.write_text(content.swapcase())
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            """
        )
        assert message.count("was written") == 1
        assert "packages/module.py was written" in message

    def test_a_changed_record_file_is_not_used(self, written, packages):
        message = written(
            """
            import base64, hashlib
            def put(path, text):
                before = path.stat()
                path.write_text(text)
                assert path.stat().st_size == before.st_size
                os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            def listed(text):
                digest = hashlib.sha256(text.encode()).digest()
                return base64.urlsafe_b64encode(digest).decode().rstrip("=")
            packages = ROOT / "../packages"
            put(packages / "module.py", "x = 2")
            record = packages / "own.dist-info/RECORD"
            put(record, record.read_text().replace(listed("x = 1"), listed("x = 2")))
            """
        )
        assert "packages/module.py was written" in message
        assert "RECORD was written" in message

    def test_the_tests_get_copies_of_the_files(self, written, scratch):
        message = written(
            """
            import json
            handed = json.loads(Path(os.environ["ML_PIPELINE_TEST_CONTEXT"]).read_text())
            path = Path(handed["inputs"]["df"])
            assert ML not in path.parents
            path.write_bytes(b"other")
            """
        )
        assert message == ""
        assert list(pd.read_parquet(scratch / "data/df.parquet")["a"]) == [1]

    def test_leftover_processes_are_ended_before_the_comparison(self, written, tmp_path):
        message = written(
            f"""
            code = "import os, time; open({str(tmp_path / "pid")!r}, 'w').write(str(os.getpid()));"
            code += "time.sleep(60); open(" + repr(str(ML / "reports/train.json")) + ", 'w')"
            if os.fork() == 0:
                os.setsid()
                subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
                os._exit(0)
            while not Path({str(tmp_path / "pid")!r}).exists():
                time.sleep(0.01)
            """
        )
        assert message == ""
        deadline = time.monotonic() + 30
        pid = int((tmp_path / "pid").read_text())
        while psutil.pid_exists(pid) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not psutil.pid_exists(pid)

    def test_the_tests_get_no_credentials(self, written, monkeypatch):
        for name in ("ML_APPROVAL_KEY", "MLFLOW_TRACKING_PASSWORD", "ML_POLICY"):
            monkeypatch.setenv(name, "secret")
        assert written("assert 'secret' not in os.environ.values()") == ""

    def test_other_files_are_not_protected(self, written):
        assert written("(ROOT / 'note.txt').write_text('x'); (ROOT / '.hypothesis').mkdir()") == ""


@pytest.mark.parametrize(
    "junk", ["", "junk", "<testsuite><testcase time='x'/></testsuite>", "9" * 9999, "<a>" * 9999]
)
def test_overwritten_result_files_of_pytest_do_not_pass(project, scratch, junk):
    write(
        project,
        "tests/data/test_it.py",
        f"""
        import atexit, os
        from pathlib import Path

        def spoil(folder):
            for path in folder.iterdir():
                if path.is_file() and path.name != "output":
                    path.write_text({junk!r})

        def test_it(df):
            atexit.register(spoil, Path(os.environ["ML_PIPELINE_TEST_CONTEXT"]).parent)
        """,
    )
    checks = run_user_tests(project, scratch, DATA, "data", frame(scratch, a=[1]))
    assert judge(checks) in (Verdict.FAIL, Verdict.ERROR)
