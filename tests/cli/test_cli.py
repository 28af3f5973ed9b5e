"""The command line: one line for an error, the documented exit code, and no heavy import."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline import cli
from ml_pipeline.core import report
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.report import StageReport, Verdict
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.stages.record import flags_of
from ml_pipeline.stages.table import RUNS, STAGES

from tests.conftest import MakeProject

HEAVY = (
    "fairlearn", "great_expectations", "httpx", "matplotlib", "mlflow", "numpy", "onnx",
    "onnxruntime", "pandas", "pydantic", "rich", "scipy", "sklearn", "statsmodels", "xgboost",
)  # fmt: skip


def fails_with(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = cli.main(arguments)
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    return code, error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("trian",),
            "unknown verb 'trian'; did you mean 'train'? 'ml-pipeline --help' lists the verbs",
        ),
        ((), "the verb is missing; 'ml-pipeline --help' lists the verbs"),
        (
            ("--project", "X Y", "doctor", "--json"),
            "expected flags after it; 'ml-pipeline doctor --json --project 'X Y''",
        ),
        (("--vers",), "expected ml-pipeline VERB [FLAGS]; did you mean '--version'?"),
        (("--polcy", "x"), "'--polcy' is in the place of the verb"),
        (
            ("train", "--qick"),
            "train: unknown flag '--qick'; did you mean '--quick'? 'ml-pipeline train --help'",
        ),
        (("promote", "--polcy=x"), "unknown flag '--polcy'; did you mean '--policy'?"),
        (("watch", "--minutes", "1"), "known: --args, --help, --json, --judge"),
        (("watch", "--minutes"), "; 'ml-pipeline watch --help' explains them"),
        (("xyz",), "; 'ml-pipeline --help' lists the verbs"),
        (("doctor", "now"), "doctor: unexpected 'now'; see 'ml-pipeline doctor --help'"),
        (("run", "cj"), "run: NAME is 'cj'; expected one of: ci, cd, all; see"),
        (("run",), "run: NAME is missing; expected one of: ci, cd, all; see 'ml-pipeline run"),
        (("keys",), "NAME is missing; expected one of: new"),
        (("config", "shw"), "did you mean 'show'?"),
        (("show",), "STAGE is missing; expected ml-pipeline show STAGE"),
        (
            ("train", "--max-epochs", "many"),
            "train: --max-epochs is 'many'; expected a whole number; see 'ml-pipeline train",
        ),
        (("train", "--max-epochs"), "train: --max-epochs needs a value; see"),
        (("approve", "--yes=no"), "--yes takes no value; it got 'no'"),
        (("jenkinsfile",), "jenkinsfile: the verb is missing"),
        (("jenkinsfile", "rnu"), "did you mean 'run'?"),
        (("jenkinsfile", "run", "--brnch", "x"), "did you mean '--branch'?"),
        (
            ("jenkinsfile", "run", "--clock", "slow"),
            "--clock is 'slow'; expected one of: real, jump",
        ),
        (("jenkinsfile", "run", "--builds", "0"), "--builds"),
        (("approve", "--by", "J\udcf6rg"), "--by is 'J\\udcf6rg'; expected text in UTF-8"),
        (("rollback", "--reason", "\udcff"), "--reason is '\\udcff'; expected text in UTF-8"),
    ],
)
def test_wrong_words_exit_with_2_and_name_the_nearest(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, error = fails_with(capsys, *arguments)
    assert code == 2
    assert message in error
    assert "argument" not in error
    assert "invalid" not in error


def test_a_folder_without_a_project_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, error = fails_with(capsys, "train")
    assert code == 2
    assert "no ml.yaml" in error


def test_an_environment_that_the_project_lacks_is_said(
    capsys: pytest.CaptureFixture[str], make_project: Any
) -> None:
    root = str(make_project().root)
    code, error = fails_with(capsys, "verify", "stagin", "--project", root)
    assert (code, "did you mean 'staging'?" in error) == (2, True)
    code, error = fails_with(capsys, "verify", "--project", root)
    assert (code, "staging or production" in error) == (2, True)


class TestArgumentsFile:
    """Groovy hands over flags as JSON, never through a shell."""

    def read(self, tmp_path: Path, values: object, verb: str = "train") -> dict[str, Any]:
        file = tmp_path / "train.json"
        file.write_text(json.dumps(values))
        return cli.parse([verb, "--args", str(file)])

    def test_gives_the_same_options_as_flags(self, tmp_path: Path) -> None:
        found = self.read(
            tmp_path, {"quick": True, "max_epochs": 2, "project": "x", "set": ["a=b"]}
        )
        flags = ["--quick", "--max-epochs", "2", "--project", "x", "--set", "a=b"]
        assert found | {"verb": None} == cli.parse(["train", *flags]) | {"verb": None}

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"qick": True}, "unknown key 'qick'; did you mean 'quick'"),
            ({"max_epochs": "2; rm -rf /"}, "expected int"),
            ({"max_epochs": True}, "expected int"),
            ({"set": [5]}, "'set' holds 5"),
            (["quick"], "expected a JSON object"),
        ],
    )
    def test_refuses_unknown_keys_and_wrong_types(
        self, tmp_path: Path, values: object, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            self.read(tmp_path, values)

    def test_carries_hostile_text_as_text(self, tmp_path: Path) -> None:
        hostile = "$(touch /tmp/owned); `id` ' \" \n --yes"
        found = self.read(tmp_path, {"by": "a", "reason": hostile}, verb="approve")
        assert (found["reason"], found["yes"]) == (hostile, False)


class TestShow:
    @pytest.fixture
    def root(self, make_project: Any) -> str:
        root: Path = make_project().root
        now = datetime.now(UTC)
        deployed = StageReport(
            stage="deploy",
            environment="staging",
            verdict=Verdict.PASS,
            summary="staging serves version 1",
            run_id="r",
            started=now,
            finished=now,
        )
        report.write(deployed, Workdir(root / "build/ml"))
        return str(root)

    @pytest.mark.parametrize("words", [["deploy", "staging"], ["deploy-staging"]])
    def test_a_report_by_stage_and_environment_or_as_it_is_listed(
        self, root: str, words: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert cli.main(["show", *words, "--project", root]) == 0
        assert "staging serves version 1" in capsys.readouterr().out

    def test_what_is_not_there_names_what_is(
        self, root: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, error = fails_with(capsys, "show", "train", "--project", root)
        assert (code, "no report of train; expected one of: deploy-staging" in error) == (2, True)
        code, error = fails_with(capsys, "show", "verify-staging", "--project", root)
        assert (code, "no report of verify-staging; expected one of" in error) == (2, True)

    def test_a_path_is_no_stage(self, root: str, capsys: pytest.CaptureFixture[str]) -> None:
        code, error = fails_with(capsys, "show", "../reports/deploy-staging", "--project", root)
        assert (code, "unknown stage" in error or "no stage" in error) == (2, True)


@pytest.mark.parametrize(
    ("verb", "left"),
    [
        (["train"], "; nothing was kept"),
        (
            ["rollback", "--reason", "r"],
            "; 'ml-pipeline status' shows what is served now, and what",
        ),
        (["run", "ci"], "; the stages that had ended are kept"),
        (["status"], "\n"),
    ],
)
def test_interrupted_it_says_what_is_left(
    verb: list[str],
    left: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("ml_pipeline.stages.session.Session.open", interrupted)
    assert cli.main(verb) == 130
    assert capsys.readouterr().err.startswith(f"ml-pipeline {verb[0]}: interrupted{left}")


def test_the_status_of_production_shows_performance_as_a_series(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ml_pipeline.monitoring.performance_history import PerformanceLine

    change = {"at": "2026-05-01", "change": "promotion", "to": 7, "bundle": "7" * 12}
    lines = [
        PerformanceLine(
            look=look,
            at=datetime(2026, 5, look, tzinfo=UTC),
            version=7,
            digest="7" * 64,
            metric="log_loss",
            served=True,
            expected={"value": 0.65, "low": 0.64, "high": 0.66},
            estimated={"value": 0.651, "low": 0.63, "high": 0.67},
            realised={"value": 0.7, "low": 0.69, "high": 0.71, "rows": 100 * look},
            as_expected=False,
        )
        for look in (1, 2)
    ]
    monkeypatch.setattr("ml_pipeline.promotion.status.history", lambda home: [change])
    monkeypatch.setattr(
        "ml_pipeline.monitoring.performance_history.read_production", lambda home: lines
    )
    root = str(make_project().root)
    assert cli.main(["status", "production", "--project", root]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "version until metric expected estimated realised rows as expected note" in shown
    for look in (1, 2):
        assert (
            f"7 2026-05-0{look} log_loss 0.6500 [0.6400, 0.6600] 0.6510 [0.6300, 0.6700] "
            f"0.7000 [0.6900, 0.7100] {100 * look} no, worse"
        ) in shown
    assert cli.main(["status", "production", "--json", "--project", root]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert [one["realised"]["rows"] for one in row["performance"]] == [100, 200]


def test_a_home_that_is_not_there_is_told(
    make_project: MakeProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_project(environments={"staging": {"port": 0}}).root
    monkeypatch.setenv("ML_HOME", str(root / "mistyped"))
    assert cli.main(["status", "--project", str(root)]) == 0
    told = capsys.readouterr()
    assert "down" in told.out
    assert told.err.startswith(f"home {root / 'mistyped/small'} is not there: nothing was deployed")


def test_help_lists_every_stage_and_loads_nothing_heavy() -> None:
    program = (
        "import sys\nfrom ml_pipeline import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        f"print('loaded:', *(m for m in {HEAVY} if m in sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.rstrip().endswith("loaded:")
    for name in STAGES:
        assert name in output.split()


@pytest.mark.parametrize(("call", "frozen"), [("main()", True), ("main(['--version'])", False)])
def test_only_the_program_ends_without_a_search_for_garbage(call: str, frozen: bool) -> None:
    program = (
        "import atexit, gc, sys\nfrom ml_pipeline import cli\n"
        "atexit.register(lambda: print('frozen:', gc.get_freeze_count() > 0))\n"
        f"sys.argv = ['ml-pipeline', '--version']\ntry: cli.{call}\nexcept SystemExit: pass\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.rstrip().endswith(f"frozen: {frozen}")


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_has_help_that_says_when_it_fails(name: str) -> None:
    output = subprocess.run(
        [sys.executable, "-m", "ml_pipeline", name, "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "Fails when" in " ".join(output.split())
    for flag in flags_of(STAGES[name].flags):
        assert f"--{flag.name}" in output


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]])
def test_a_verb_with_actions_has_help_of_its_own(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["jenkinsfile", *words])
    assert "usage: ml-pipeline jenkinsfile" in capsys.readouterr().out


def test_runs_are_made_of_stages_that_exist() -> None:
    assert RUNS["all"] == RUNS["ci"] + RUNS["cd"]
    for name, environment, flags in RUNS["all"]:
        stage = STAGES[name]
        assert stage.environment == (environment is not None)
        assert set(flags) <= {flag.key for flag in flags_of(stage.flags)}


def test_features_answers_a_machine_in_json_and_at_once_in_one_line(
    capsys: pytest.CaptureFixture[str], make_project: Any
) -> None:
    from ml_pipeline.config import SimulatedSource
    from ml_pipeline.data.simulated import simulate

    root = make_project().root
    simulate(SimulatedSource(kind="simulated", symbols=3, days=40)).to_csv(root / "raw.csv")
    words = ["features", "--project", str(root), "--in", str(root / "raw.csv")]
    assert cli.main([*words, "--out", str(root / "a.csv")]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "…" not in line]
    assert len(told) == 1, "beside the progress of a slow machine"
    assert cli.main([*words, "--out", str(root / "b.csv"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == found["read"] > 0
    assert (root / "a.csv").read_bytes() == (root / "b.csv").read_bytes()


def test_progress_stays_out_of_a_report_as_json(
    capsys: pytest.CaptureFixture[str], make_project: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml_pipeline.cli.console.QUIET_SECONDS", 0.0)
    monkeypatch.setattr("ml_pipeline.cli.console.LOG_SECONDS", 0.0)
    root = str(make_project().root)
    assert cli.main(["validate-data", "--project", root, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["stage"] == "validate-data"
    assert "data tests" in printed.err
