"""Decide whether the challenger may be promoted, and leave the record with its version."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import report, workdir
from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.core.report import Check, StageReport, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.evaluation import label_leaks
from ml_pipeline.gate import reports as gate_reports
from ml_pipeline.gate.compare_models import BEST_HEURISTIC, CHAMPION, Held, Material, hear
from ml_pipeline.gate.comparison_set import Rules, headline, not_made
from ml_pipeline.gate.contract_check import judge_contract
from ml_pipeline.gate.record import record
from ml_pipeline.problem import Problem
from ml_pipeline.project import isolation
from ml_pipeline.project.policy_in_force import in_force
from ml_pipeline.project.protected_files import CHECK, Protected
from ml_pipeline.project.user_tests import COMPARISON, is_comparison, run_user_tests
from ml_pipeline.promotion.agreement import contenders, production_of
from ml_pipeline.promotion.earlier_decisions import decisions
from ml_pipeline.registry.mlflow_registry import GATE_RECORD, Registry, Version
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import CD, STAGES


def run(context: Context) -> Outcome:
    """Compare, check the evidence, and attach ``gate.json`` to the challenger's version.

    Raises:
        UsageError: nothing was registered, or the configuration names what does not exist.
        EnvironmentFault: the registry does not answer, or registry, history and production differ
            on the champion.
    """
    policy, problem, rules = in_force(context.policy, context.project)
    registry = Registry.of(context.project, context.home, context.progress)
    context.progress("asking the registry", 0.0)
    production = production_of(context.project, context.home)
    challenger, champion = contenders(registry, production, context.home)
    if champion is not None and champion.identity == challenger.identity:
        return _nothing_to_promote(champion)

    reports, advisory = _reports(context, (*context.config.gate.require, *policy.require))
    contract = judge_contract(
        registry.manifest(challenger),
        None if champion is None else registry.manifest(champion),
        allowed=context.config.gate.allow_breaking_contract,
    )
    candidate = gate_reports.Candidate(challenger.identity, challenger.digest)
    proved = [
        *gate_reports.as_one(
            [gate_reports.check_report(name, found, candidate) for name, found in reports.items()]
        ),
        *(gate_reports.show_report(name, found, candidate) for name, found in advisory.items()),
        gate_reports.check_lineage(reports),
        *gate_reports.check_run(reports),
    ]
    if policy.gate.max_feature_auc is not None:
        evaluated = reports.get("evaluate")
        aucs = evaluated.metrics.get("feature_auc") if evaluated is not None else None
        proved.append(label_leaks.check(aucs or {}, policy.gate.max_feature_auc, required=True))
    with tempfile.TemporaryDirectory(prefix="gate-") as name:
        scratch = Path(name)
        held = _held(context, registry, challenger, champion, problem, rules, proved, scratch)
        if held.scores is None:
            tests = gate_reports.check_comparisons(reports.get("evaluate"), COMPARISON)
        else:
            tests = _comparison_tests(context, held, scratch)
    compared = [*held.contest.checks, *tests, *held.advice]
    evident = report.judge(proved) is Verdict.PASS
    checks = [*compared, *proved] if evident else [*proved, *compared]
    checks.insert(0 if contract.breaks else len(compared), contract.check)
    summary = headline(checks, held.contest.primary, held.goal)
    keys = partial(trusted_keys, context.home, policy)
    earlier = "; ".join(decisions(registry, context.home, challenger, champion, keys))
    if earlier:
        checks.append(_advice(earlier))
        if report.judge(checks) is Verdict.PASS:
            summary = f"{earlier}; {summary}"
    summary = contract.headline(summary)
    metrics: dict[str, Any] = {
        "nothing_to_promote": False,
        "goal": held.goal,
        "against": held.contest.primary.against,
        "challenger_version": challenger.number,
        "champion_version": champion.number if champion else None,
        "first": held.first,
        "contract": contract.to_json(),
        **held.contest.to_json(),
        "models": held.models,
        "table": held.table,
    }
    content = record(
        checks,
        metrics,
        summary=summary,
        challenger=challenger.digest,
        champion=champion.digest if champion else None,
        policy=policy.digest,
    )
    context.progress("keeping the record with the version", 0.95)
    metrics["record"] = registry.attach(challenger, GATE_RECORD, content)
    return Outcome(summary=summary, checks=checks, metrics=metrics, model=challenger.ref)


def _advice(earlier: str) -> Check:
    """Say what was decided against the version before: whoever approves it may overrule that."""
    return Check(
        name="earlier decisions",
        verdict=Verdict.INCONCLUSIVE,
        required=False,
        observed=earlier,
        expected="none against this version",
        why=earlier,
    )


def _held(
    context: Context,
    registry: Registry,
    challenger: Version,
    champion: Version | None,
    problem: Problem,
    rules: Rules,
    proved: Sequence[Check],
    scratch: Path,
) -> Held:
    """Hold the comparison, if the reports show that what lies here is the challenger."""
    against = CHAMPION if champion else BEST_HEURISTIC
    if report.judge(proved) is not Verdict.PASS:
        why = "the reports do not show that what lies here is the challenger"
        return Held(not_made(rules, against, why), "superior")
    holdout = parquet.read(context.take("data/holdout.parquet", "train"))
    bundle = Bundle.open(context.take("bundle", "package"))
    if bundle.digest != challenger.digest:
        why = f"the bundle here is {bundle.digest[:12]}, the challenger {challenger.digest[:12]}"
        return Held(not_made(rules, against, why), "superior")
    context.take("data/predictions.parquet", "evaluate")  # whoever changed it changed more
    if champion is not None:
        context.progress("fetching the champion", 0.1)
    material = Material(
        holdout=holdout.reset_index(drop=True),
        matrix=context.take("data/matrix.parquet", "train"),
        clean=context.take("data/clean.parquet", "validate-data"),
        challenger=bundle,
        champion=Bundle.open(registry.download(champion, scratch / "champion"))
        if champion
        else None,
        problem=problem,
    )
    return hear(
        material,
        rules,
        context.config.gate.goal,
        resamples=context.config.evaluate.resamples,
        seed=context.config.train.seed,
        progress=context.progress,
    )


def _comparison_tests(context: Context, held: Held, scratch: Path) -> list[Check]:
    """Run the project's comparison tests with the champion as ``baseline_model``."""
    rows, predictions = scratch / "holdout.parquet", scratch / "predictions.parquet"
    holdout = parquet.read(context.take("data/holdout.parquet", "train")).reset_index(drop=True)
    compared = holdout[held.rows].reset_index(drop=True)
    compared.to_parquet(rows)
    compared[["__label"]].assign(champion=held.scores).to_parquet(predictions)
    context.progress("running the project's comparison tests", 0.8)
    found = run_user_tests(
        context.project,
        workdir.Workdir(scratch),
        context.config.tests.model,
        "model",
        {
            "model": str(context.take("model/model.onnx", "train")),
            "schema": str(context.take("model/schema.json", "train")),
            "holdout": str(rows),
            "predictions": str(predictions),
            "baseline": "champion",
            "profile": str(context.profile),
        },
        Protected(context.project, context.workdir, context.home),
    )
    whole = [check for check in found if check.name.endswith((" as a whole", CHECK))]
    whole += isolation.check(found)
    return [*gate_reports.enforced(check for check in found if is_comparison(check)), *whole]


Reports = dict[str, StageReport | None]
"""Reports by stage and environment; None where there is none."""


def _reports(context: Context, more: Sequence[str]) -> tuple[Reports, Reports]:
    """Return the required reports, in the order of the delivery, and those that are only shown.

    Raises:
        UsageError: ``require`` names a stage or an environment that does not exist.
    """
    names = [stage for stage, _, _ in CD]
    before = [(stage, environment) for stage, environment, _ in CD[: names.index("gate")]]
    demanded = [_step(context, name) for name in more]
    optional = {
        name: section.required
        for name, section in (
            ("load-test", context.config.load_test),
            ("shadow", context.config.shadow),
        )
    }
    found: Reports = {}
    shown: Reports = {}
    for step in dict.fromkeys([*before, *demanded]):
        stage, environment = step
        name = f"{stage} {environment}" if environment else stage
        required = optional.get(stage, True) or step in demanded
        report_file = f"reports/{report.file_name(stage, environment)}.json"
        (found if required else shown)[name] = _read(context, report_file)
    return found, shown


def _read(context: Context, file: str) -> StageReport | None:
    path = context.workdir / file
    if not path.is_file():
        return None
    context.inputs[file] = workdir.digest(path)
    try:
        return report.read(path)
    except UsageError:
        return None


def _step(context: Context, name: str) -> tuple[str, str | None]:
    stage, _, environment = name.partition(" ")
    if stage not in STAGES:
        raise UsageError(f"gate or policy requires '{name}'", hint=nearest(stage, STAGES))
    if not STAGES[stage].environment:
        return stage, None
    known = context.config.environments
    environment = environment or "staging"
    if environment not in known:
        raise UsageError(f"gate or policy requires '{name}'", hint=nearest(environment, known))
    return stage, environment


def _nothing_to_promote(champion: Version) -> Outcome:
    check = Check(
        name="nothing to promote",
        verdict=Verdict.PASS,
        observed=f"identity {champion.identity[:12]}",
        expected="a challenger that is not the champion, or no change",
    )
    return Outcome(
        summary=f"nothing to promote: version {champion.number} is the champion already",
        checks=[check],
        metrics={"nothing_to_promote": True, "champion_version": champion.number},
        model=champion.ref,
    )
