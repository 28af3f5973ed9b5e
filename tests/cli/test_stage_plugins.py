"""A stage of another distribution is a stage like those of the table."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from ml_pipeline import Stage, cli
from ml_pipeline.core.errors import UsageError
from ml_pipeline.stages import gate_demands
from ml_pipeline.stages.plugins import all_stages, maker_of, stage_named
from ml_pipeline.stages.record import NoFlags
from ml_pipeline.stages.table import STAGES, runs

ROOT = Path(__file__).resolve().parents[2]

RECORD = """
from ml_pipeline import Section, Stage, flag_set, integer_flag


class AuditSection(Section):
    most: int = 3


@flag_set
class AuditFlags:
    found: int | None = integer_flag("how many findings there are")


STAGE = Stage(
    name="bias-audit",
    summary="count findings of bias",
    fails_when="there are more than the section allows",
    module="bias_audit_run",
    phase="delivery",
    after="evaluate",
    flags=AuditFlags,
    section=AuditSection,
    profile_of="train",
    credentials=("registry",),
    gate_requires_report=True,
)
"""
RUN = """
from ml_pipeline import Check, Context, Outcome, Verdict


def run(context: Context) -> Outcome:
    found, most = context.flags.found or 0, context.section.most
    verdict = Verdict.FAIL if found > most else Verdict.PASS
    return Outcome(f"{found} findings", [Check(name="findings", verdict=verdict)])
"""
GROUP = "ml_pipeline.stages"


@pytest.fixture
def site(install_distribution) -> Path:
    """Install the distribution with stage ``bias-audit``; return its folder."""
    return install_distribution(
        "bias-audit",
        {GROUP: {"bias-audit": "bias_audit:STAGE"}},
        bias_audit=RECORD,
        bias_audit_run=RUN,
    )


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_without_plugins_there_are_those_of_the_table() -> None:
    assert all_stages() is STAGES


def test_a_stage_that_follows_no_other_is_in_no_run() -> None:
    alone = Stage(
        name="bias-audit",
        summary="count findings of bias",
        fails_when="there are findings",
        phase="delivery",
        ci=NoFlags(),
    )
    steps = runs([*STAGES.values(), alone])
    assert steps == runs(STAGES.values())


class TestInstalled:
    def test_stands_in_the_delivery_behind_the_stage_that_it_names(self, site) -> None:
        steps = runs(all_stages().values())
        names = [name for name, _, _ in steps["cd"]]
        assert names[names.index("evaluate") + 1] == "bias-audit"
        assert "bias-audit" not in [name for name, _, _ in steps["ci"]]

    def test_is_in_the_help_and_has_its_own(self, site) -> None:
        path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
        for words, expected in (
            (["--help"], "bias-audit count findings of bias"),
            (["bias-audit", "--help"], "Fails when there are more than the section allows."),
            (["bias-audit", "--help"], "--found N how many findings there are"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "ml_pipeline", *words],
                env=os.environ | {"PYTHONPATH": path},
                capture_output=True,
                text=True,
                check=True,
            )
            assert expected in " ".join(done.stdout.split())

    @pytest.mark.parametrize(
        ("section", "flags", "code"),
        [({}, ["--found", "3"], 0), ({}, ["--found", "4"], 1), ({"most": 9}, ["--found", "4"], 0)],
    )
    def test_runs_with_its_flags_and_its_section(
        self, site, make_project, section, flags, code
    ) -> None:
        root = make_project(stages={"bias-audit": section}).root
        assert cli.main(["bias-audit", "--project", str(root), *flags]) == code
        report = json.loads((root / "build/ml/reports/bias-audit.json").read_text())
        assert report["summary"].endswith(f"{flags[1]} findings") or code == 1
        assert report["verdict"] == {0: "pass", 1: "fail"}[code]

    def test_its_section_is_checked_before_any_stage_runs(self, site, make_project, capsys) -> None:
        root = make_project(stages={"bias-audit": {"mots": 1}}).root
        assert cli.main(["lint", "--project", str(root)]) == 2
        assert "stages.bias-audit" in (error := capsys.readouterr().err)
        assert "did you mean 'most'" in error

    def test_facts_for_a_jenkins_step_come_from_its_record(
        self, site, make_project, capsys
    ) -> None:
        assert cli.main(["stages", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)["bias-audit"]
        assert facts["arguments"] == {
            "found": {"kind": "integer", "help": "how many findings there are"}
        }
        assert facts["credentials"] == ["registry"]
        assert facts["phase"] == "delivery"

    def test_the_generator_documents_it(self, site, monkeypatch) -> None:
        monkeypatch.syspath_prepend(ROOT / "docs")
        pages = generator().pages(all_stages())
        assert "| `bias-audit` | count findings of bias |" in pages["stages.md"]
        assert "## mlBiasAudit" in pages["steps.md"]
        steps = json.loads(pages["../../resources/steps.json"])
        assert steps["steps"]["mlBiasAudit"]["keys"] == {"found": "found"}
        assert "bias-audit" in steps["credentials"]["registry"]["stages"]
        assert "mlBiasAudit: count findings of bias." in pages["../../vars/mlBiasAudit.txt"]

    def test_the_gate_demands_its_report(self, site, make_project) -> None:
        config = make_project().config
        (demand,) = [d for d in gate_demands.demands(config, ()) if d.stage == "bias-audit"]
        assert (demand.required, demand.names_model) == (True, True)

    def test_its_report_can_be_required_by_name(self, site, make_project) -> None:
        config = make_project().config
        wanted = gate_demands.demands(config, ["lint", "bias-audit"])
        assert [demand.name for demand in wanted].count("bias-audit") == 1


def test_without_it_the_gate_demands_nothing_of_it(make_project) -> None:
    wanted = gate_demands.demands(make_project().config, ())
    assert [demand.name for demand in wanted] == [
        "validate-data",
        "train",
        "evaluate",
        "package",
        "register",
        "deploy staging",
        "verify staging",
        "load-test staging",
        "shadow staging",
    ]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("STAGE = 1", "is 1; expected an ml_pipeline.Stage with the name 'ours'"),
        (
            (
                "from ml_pipeline import Stage\n"
                "STAGE = Stage(name='other', summary='', fails_when='', phase='check')"
            ),
            "with the name 'ours'",
        ),
        (
            (
                "from ml_pipeline import Stage\n"
                "STAGE = Stage(name='ours', summary='', fails_when='', phase='delivery',"
                " after='trian')"
            ),
            "after='trian' names no stage; did you mean 'train'",
        ),
        (
            (
                "from ml_pipeline import Stage\n"
                "STAGE = Stage(name='ours', summary='', fails_when='', phase='delivry')"
            ),
            "phase='delivry'; did you mean 'delivery'",
        ),
        ("raise ValueError('broken')", "cannot be loaded: ValueError: broken"),
    ],
    ids=["no record", "another name", "unknown place", "unknown phase", "broken"],
)
def test_a_wrong_record_names_its_package(install_distribution, record, message) -> None:
    install_distribution("ours-ml", {GROUP: {"ours": "ours_ml:STAGE"}}, ours_ml=record)
    with pytest.raises(UsageError) as raised:
        all_stages()
    assert "entry point of ml_pipeline.stages in ours-ml 1.0" in str(raised.value)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        ("import acme_unknown", "ModuleNotFoundError: No module named 'acme_unknown'"),
        ("print('no function run')", "AttributeError: module 'ours_run' has no attribute 'run'"),
    ],
)
def test_a_broken_module_of_a_plugin_is_a_usage_error(
    install_distribution, make_project, capsys, module, fault
) -> None:
    record = (
        "from ml_pipeline import Stage\n"
        "STAGE = Stage(name='ours', summary='', fails_when='', phase='check', module='ours_run')"
    )
    install_distribution(
        "ours-ml", {GROUP: {"ours": "ours_ml:STAGE"}}, ours_ml=record, ours_run=module
    )
    assert cli.main(["ours", "--project", str(make_project().root)]) == 2
    shown = " ".join(capsys.readouterr().out.split())
    assert f"plug-in stage 'ours': module ours_run: {fault}" in shown


def test_an_artefact_that_no_stage_writes_has_the_nearest_as_hint() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'data/predictions\.parquet'"):
        maker_of("data/prediction.parquet")


def test_the_name_of_a_stage_of_the_table_is_refused(install_distribution) -> None:
    record = (
        "from ml_pipeline import Stage\n"
        "STAGE = Stage(name='gate', summary='', fails_when='', phase='check')"
    )
    install_distribution("ours-ml", {GROUP: {"gate": "ours_ml:STAGE"}}, ours_ml=record)
    with pytest.raises(UsageError, match="has the name of a stage of ml-pipeline"):
        all_stages()


def test_a_section_without_its_plugin_is_refused(make_project, capsys) -> None:
    root = make_project(stages={"bias-audit": {"most": 1}}).root
    assert cli.main(["lint", "--project", str(root)]) == 2
    assert "stages: no plug-in 'bias-audit' with a section" in capsys.readouterr().err


def test_an_unknown_stage_has_the_nearest_as_hint() -> None:
    with pytest.raises(UsageError, match="did you mean 'train'"):
        stage_named("trian")
