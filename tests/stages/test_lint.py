"""Stage lint: the exit codes of the project's own tools, their findings with file and line."""

from __future__ import annotations

import sys
from xml.etree import ElementTree

import pytest
from ml_pipeline.core import landlock
from ml_pipeline.core.report import Verdict
from ml_pipeline.project import isolation
from ml_pipeline.stages import runner

CLEAN = '"""A module."""\n\nANSWER = 42\n'
MODULES = ("abc", "ast", "csv", "json", "os", "re", "sys", "xml")


@pytest.fixture
def lint(make_project, make_context):
    def run(files: dict[str, str], **section):
        project = make_project(**({"lint": section} if section else {}))
        for name, text in files.items():
            path = project.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        context = make_context(project, "lint")
        return runner.execute(context), context

    return run


def cases(context) -> list[ElementTree.Element]:
    return ElementTree.parse(context.workdir / "junit/lint.xml").getroot().findall("testcase")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


class TestDefaultCommands:
    def test_clean_code_passes(self, lint):
        result, context = lint({"features/own.py": CLEAN})
        assert (result.exit_code, result.report.verdict) == (0, Verdict.PASS)
        assert result.report.summary == "ruff check, ruff format: no findings"
        assert sorted(p.name for p in context.project.root.iterdir()) == [
            "build",
            "features",
            "ml.yaml",
        ]

    def test_findings_have_file_and_line(self, lint):
        result, context = lint(
            {"features/own.py": "import os\n\nANSWER = undefined\n", "late.py": "x = ( 1)\n"},
            commands=[
                ["ruff", "check", "--select=F", "--output-format=json", "."],
                ["ruff", "format", "--check", "."],
            ],
        )
        assert result.exit_code == 1
        check, form, _ = result.report.checks
        assert check.observed == "2 findings"
        assert "features/own.py:1:8 F401 `os` imported but unused" in check.why
        assert "late.py:1" in form.why
        found = [
            (case.get("file"), case.get("line"), case.find("failure").get("message"))
            for case in cases(context)
        ]
        assert found[0][:2] == ("features/own.py", "1")
        assert found[1] == ("features/own.py", "3", "F821 Undefined name `undefined`")
        assert found[2][0] == "late.py"

    def test_code_that_is_not_python(self, lint):
        result, context = lint({"broken.py": "def f(:\n"})
        assert result.exit_code == 1
        assert {check.verdict for check in result.report.checks[:-1]} == {Verdict.FAIL}
        assert {case.get("file") for case in cases(context)} == {"broken.py"}

    def test_all_findings_are_in_junit_and_the_first_in_the_check(self, lint):
        result, context = lint(
            {"many.py": "".join(f"import {name}\n" for name in MODULES)},
            commands=[["ruff", "check", "--select=F", "--output-format=json", "."]],
        )
        assert result.report.checks[0].observed == "8 findings"
        assert result.report.checks[0].why.endswith("and 3 more")
        assert len(cases(context)) == 8


class TestOtherCommands:
    def test_output_in_an_unknown_format(self, lint):
        code = "print('first'); print('all is lost'); raise SystemExit(3)"
        result, context = lint({}, commands=[python(code)])
        assert result.exit_code == 1
        assert "ended with exit code 3: first\nall is lost" in result.report.checks[0].why
        assert cases(context)[0].find("failure") is not None

    def test_silence_with_a_bad_exit_code(self, lint):
        result, _ = lint({}, commands=[python("raise SystemExit(1)")])
        assert result.report.verdict is Verdict.FAIL

    def test_death_by_signal(self, lint):
        result, _ = lint({}, commands=[python("import os; os.kill(os.getpid(), 9)")])
        assert result.report.checks[0].observed == "exit code -9"
        assert result.report.verdict is Verdict.FAIL

    def test_findings_of_a_tool_that_is_content_do_not_fail(self, lint):
        result, context = lint({}, commands=[python("print('a.py:1:1: W1 fine')")])
        assert result.report.verdict is Verdict.PASS
        assert result.report.metrics["findings"] == {
            next(iter(result.report.metrics["findings"])): 1
        }
        assert [case.find("failure") for case in cases(context)] == [None]

    def test_a_later_success_does_not_cover_a_failure(self, lint):
        result, _ = lint({}, commands=[python("raise SystemExit(1)"), python("pass")])
        assert result.report.verdict is Verdict.FAIL

    def test_the_summary_names_every_command_that_failed(self, lint):
        result, _ = lint(
            {}, commands=[python("raise SystemExit(1)"), python("raise SystemExit(7)")]
        )
        assert "exit code 1" in result.report.summary
        assert "exit code 7" in result.report.summary

    def test_words_are_not_read_by_a_shell(self, lint):
        code = "import sys; raise SystemExit(sys.argv[1:] != ['$HOME', '; touch x', '*'])"
        result, context = lint({}, commands=[[*python(code), "$HOME", "; touch x", "*"]])
        assert result.exit_code == 0
        assert not (context.project.root / "x").exists()

    def test_control_characters_do_not_break_junit(self, lint):
        code = r"print('a.py:1:1: E1 \x00\x1b[31mred\x08'); raise SystemExit(1)"
        result, context = lint({}, commands=[python(code)])
        assert result.exit_code == 1
        assert cases(context)[0].get("file") == "a.py"

    @pytest.mark.skipif(not landlock.abi(), reason="this system has no Landlock")
    def test_writing_elsewhere_is_refused_by_the_system(self, lint, tmp_path):
        place = tmp_path / "project/build/ml/reports/train.json"
        result, context = lint({}, commands=[python(f"open({str(place)!r}, 'w')")])
        assert result.exit_code == 1
        assert "PermissionError" in result.report.checks[0].why
        assert not (context.workdir / "reports/train.json").exists()
        assert result.report.checks[-1].name == isolation.CHECK

    @pytest.mark.usefixtures("without_landlock")
    def test_writing_elsewhere_is_found_where_the_system_does_not_refuse(self, lint, tmp_path):
        place = tmp_path / "project/build/ml/reports/train.json"
        result, _ = lint({}, commands=[python(f"open({str(place)!r}, 'w')")])
        assert result.exit_code == 1
        assert "reports/train.json was made" in result.report.checks[1].observed
        assert result.report.checks[-1].verdict is Verdict.SKIPPED

    def test_files_that_a_formatter_rewrites_are_discarded_and_reported(self, lint):
        result, context = lint({"late.py": "x = ( 1)\n"}, commands=[["ruff", "format", "."]])
        assert result.report.verdict is Verdict.PASS
        assert result.report.checks[0].why.startswith("changed late.py in a copy of the project")
        assert (context.project.root / "late.py").read_text() == "x = ( 1)\n"


class TestUsage:
    def test_the_error_for_a_missing_tool_has_its_install_command(self, lint):
        result, _ = lint({}, commands=[["no-such-linter", "."]])
        assert result.exit_code == 2
        assert "'no-such-linter' is not installed" in result.report.summary
        assert "pip install no-such-linter" in result.report.summary

    def test_a_missing_tool_is_reported_before_any_other_runs(self, lint):
        code = "open('ran', 'w')"
        result, context = lint({}, commands=[python(code), ["no-such-linter"]])
        assert result.exit_code == 2
        assert not (context.project.root / "ran").exists()

    @pytest.mark.parametrize("commands", [[], [[]]])
    def test_no_command_is_a_configuration_error(self, make_project, commands):
        with pytest.raises(Exception, match=r"lint\.commands"):
            make_project(lint={"commands": commands})
