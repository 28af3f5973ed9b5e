"""Stage test: unit tests with coverage; it never passes when nothing was tested."""

from __future__ import annotations

import textwrap
from xml.etree import ElementTree

import pytest
from ml_pipeline.core.report import Verdict
from ml_pipeline.project import isolation
from ml_pipeline.stages import runner

SIGN = """
def sign(x):
    if x < 0:
        return -1
    return 1
"""
TEST_SIGN = """
from features.own import sign

def test_sign():
    assert sign(3) == 1
"""


@pytest.fixture
def unit_tests(make_project, make_context):
    def run(tests: dict[str, str], **section):
        project = make_project(
            test={"sources": ["features"], **section}, features={"modules": ["features.own"]}
        )
        for name, text in ({"features/own.py": SIGN} | tests).items():
            path = project.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        context = make_context(project, "test")
        return runner.execute(context), context

    return run


def junit(context) -> ElementTree.Element:
    return ElementTree.parse(context.workdir / "junit/test.xml").getroot()


class TestPass:
    def test_tests_and_coverage(self, unit_tests):
        result, context = unit_tests({"tests/unit/test_sign.py": TEST_SIGN}, coverage=70)
        assert result.exit_code == 0, result.report.summary
        assert result.report.summary == "1 passed, coverage 75 %"
        assert result.report.metrics["coverage"] == 75.0
        assert "reports/coverage.xml" in result.report.outputs
        case = junit(context).find("testcase")
        assert case.get("classname") == "test.tests.unit.test_sign"
        assert case.get("name") == "test_sign"
        assert (case.get("file"), case.get("line")) == ("tests/unit/test_sign.py", "4")

    def test_messages_name_the_projects_own_files(self, unit_tests):
        """They ran in a copy."""
        code = "from pathlib import Path\nimport features.own\n"
        code += "def test_here(): Path(__file__).with_name('none').read_text()\n"
        result, context = unit_tests({"tests/unit/test_here.py": code})
        root = context.project.root
        assert f"No such file or directory: '{root}/tests/unit/none'" in result.report.summary
        assert f"{root}/tests/unit/none" in junit(context).find("testcase/failure").text
        assert f"{root}/tests/unit/none" in (context.workdir / "reports/test.txt").read_text()
        coverage = ElementTree.parse(context.workdir / "reports/coverage.xml").getroot()
        assert coverage.findtext("sources/source") == f"{root}/features"
        assert [each.get("filename") for each in coverage.iter("class")] == ["own.py"]
        assert result.report.checks[-1].name == isolation.CHECK

    def test_a_package_by_the_python_path_comes_from_the_copy(
        self, unit_tests, make_project, monkeypatch
    ):
        source = make_project().root / "src"
        monkeypatch.setenv("PYTHONPATH", str(source))
        test = "import mine\ndef test_it(): assert mine.__file__.startswith(str(Path.cwd()))\n"
        result, _ = unit_tests(
            {
                "src/mine/__init__.py": "X = 1\n",
                "tests/unit/test_mine.py": f"from pathlib import Path\n{test}",
            },
            sources=["mine"],
            coverage=100,
        )
        assert result.exit_code == 0, result.report.summary

    def test_the_root_is_left_clean(self, unit_tests):
        _, context = unit_tests({"tests/unit/test_sign.py": TEST_SIGN})
        names = sorted(item.name for item in context.project.root.iterdir())
        assert names == ["build", "features", "ml.yaml", "tests"]

    def test_packages_of_the_feature_modules_are_measured_by_default(self, unit_tests):
        result, _ = unit_tests({"tests/unit/test_sign.py": TEST_SIGN}, sources=[])
        assert result.report.metrics["coverage"] == 75.0

    def test_arguments_reach_pytest(self, unit_tests):
        result, _ = unit_tests(
            {"tests/unit/test_sign.py": TEST_SIGN + "\n\ndef test_slow(): assert False\n"},
            args=["-k", "sign and not slow"],
        )
        assert result.exit_code == 0


class TestFail:
    def test_coverage_under_the_limit(self, unit_tests):
        result, context = unit_tests({"tests/unit/test_sign.py": TEST_SIGN}, coverage=75.01)
        assert result.exit_code == 1
        assert "75.00 % is below 75.01 %; features/own.py: 1 lines not run" in result.report.summary
        assert junit(context).get("failures") == "1"

    def test_failing_tests_are_named(self, unit_tests):
        result, context = unit_tests(
            {"tests/unit/test_sign.py": TEST_SIGN + "\n\ndef test_off(): assert 1 == 2\n"}
        )
        assert result.exit_code == 1
        check = result.report.checks[0]
        assert check.observed == "1 passed, 1 failed"
        assert result.report.summary == (
            "1 of 2 failed: test_off: assert 1 == 2 (tests/unit/test_sign.py:8)"
        )
        assert check.why == (
            "tests/unit/test_sign.py::test_off: assert 1 == 2 (tests/unit/test_sign.py:8)"
        )
        assert junit(context).get("failures") == "1"

    def test_no_tests(self, unit_tests):
        result, context = unit_tests({"tests/unit/readme.txt": "none yet"}, coverage=50)
        assert result.exit_code == 1
        assert result.report.checks[0].verdict is Verdict.FAIL
        assert "no tests were collected" in result.report.checks[0].why
        assert int(junit(context).get("failures")) >= 1

    def test_all_skipped(self, unit_tests):
        code = "import pytest\n\n@pytest.mark.skip\ndef test_later(): pass\n"
        result, _ = unit_tests({"tests/unit/test_later.py": code})
        assert result.exit_code == 1
        assert result.report.verdict is Verdict.INCONCLUSIVE

    def test_crash(self, unit_tests):
        code = "import os\n\ndef test_fine(): pass\ndef test_crash(): os.abort()\n"
        result, _ = unit_tests({"tests/unit/test_crash.py": code})
        assert result.exit_code == 1
        assert result.report.verdict is Verdict.ERROR
        assert "pytest died with exit code -6" in result.report.summary

    def test_own_limit_of_the_project(self, unit_tests):
        """--cov-fail-under in the project's own configuration is not overruled."""
        result, _ = unit_tests(
            {
                "tests/unit/test_sign.py": TEST_SIGN,
                "pytest.ini": "[pytest]\naddopts = --cov-fail-under=99\n",
            }
        )
        assert result.exit_code == 1
        assert "pytest failed although no test failed" in result.report.summary

    def test_fixtures_of_other_stages_say_where_they_work(self, unit_tests):
        code = "def test_quality(df): assert len(df)\n"
        result, _ = unit_tests({"tests/unit/test_quality.py": code})
        assert result.exit_code == 1
        assert "run 'ml-pipeline validate-data'" in result.report.summary


class TestUsage:
    def test_missing_folder(self, unit_tests):
        result, _ = unit_tests({})
        assert result.exit_code == 2
        assert "test.path" in result.report.summary

    def test_limit_without_anything_to_measure(self, make_project, make_context):
        project = make_project(test={"coverage": 80})
        (project.root / "tests/unit").mkdir(parents=True)
        result = runner.execute(make_context(project, "test"))
        assert result.exit_code == 2
        assert "set test.sources" in result.report.summary


class TestOwnPackageNamedPipeline:
    def test_installed_package_wins(self, unit_tests):
        code = """
            import ml_pipeline.core.report
            from features.own import sign

            def test_own():
                assert hasattr(ml_pipeline.core.report, "StageReport")
                assert sign(-1) == -1
        """
        result, _ = unit_tests(
            {
                "pipeline/__init__.py": "raise RuntimeError('not this one')",
                "tests/__init__.py": "",
                "tests/unit/__init__.py": "",
                "tests/unit/test_own.py": code,
            }
        )
        assert result.exit_code == 0, result.report.summary
