"""Stage ``gate``: decide whether the challenger may be promoted, and record the decision."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.keys import trusted_keys
from ml_pipeline.approval.subject import check_nothing_to_promote
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import artefacts, report
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.data import parquet
from ml_pipeline.gate.checks.base import judge_all
from ml_pipeline.gate.checks.earlier_decisions import EarlierDecisions
from ml_pipeline.gate.checks.feature_leaks import FeatureLeaks
from ml_pipeline.gate.checks.file_lineage import FileLineage
from ml_pipeline.gate.checks.heuristic_comparison import HeuristicComparison
from ml_pipeline.gate.checks.paired_difference import PairedDifference
from ml_pipeline.gate.checks.reports_passed import ReportsPassed
from ml_pipeline.gate.checks.request_contract import RequestContract
from ml_pipeline.gate.checks.same_run import SameRun
from ml_pipeline.gate.compare_models import (
    BEST_HEURISTIC,
    CHAMPION,
    ComparisonInputs,
    compare_models,
    without_rows,
)
from ml_pipeline.gate.comparison_set import ComparisonRules, headline, no_comparison
from ml_pipeline.gate.model_comparison import ModelComparison
from ml_pipeline.gate.record import record
from ml_pipeline.gate.reports import read_reports
from ml_pipeline.monitoring.performance_history import (
    EARLIER_PROMOTIONS,
    earlier_promotions,
    read_production,
)
from ml_pipeline.problem import Problem
from ml_pipeline.project.comparison_tests import ComparisonTests
from ml_pipeline.project.configured_checks import configured_checks, judge_all_configured
from ml_pipeline.project.policy_in_force import policy_in_force
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.promotion.agreement import contenders, production_of
from ml_pipeline.promotion.earlier_decisions import decisions
from ml_pipeline.promotion.environment import registered_bundle
from ml_pipeline.registry.records import GATE_RECORD
from ml_pipeline.registry.registry import Registry
from ml_pipeline.registry.versions import CAUSE, Version
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.gate_demands import demands
from ml_pipeline.stages.record import NoFlags

UNPROVEN = "the reports do not prove that the files in the working folder are the challenger's"


def run(context: Context[NoFlags]) -> Outcome:
    """Check the reports, compare the models, and attach ``gate.json`` to the challenger's version.

    Raises:
        UsageError: nothing was registered, or the configuration names what does not exist.
        EnvironmentFault: the registry does not answer, or registry, history and production differ
            on the champion.
    """
    policy, problem, rules = policy_in_force(context.policy, context.project)
    registry = Registry.of(context.project, context.home, context.progress)
    context.progress("reading the registry", 0.0)
    production = production_of(context.project, context.home)
    found = contenders(registry, production, context.home)
    challenger, champion = found.challenger, found.champion
    if champion is not None and champion.identity == challenger.identity:
        return _nothing_to_promote(champion)

    wanted = demands(context.config, (*context.config.gate.require, *policy.require))
    reports = read_reports(context.workdir, wanted, context.inputs)
    section = context.config.gate
    comparison = ModelComparison(
        model=challenger.ref,
        challenger=registry.bundles.manifest(challenger),
        champion=None if champion is None else registry.bundles.manifest(champion),
        reports=reports.required,
        advisory_reports=reports.advisory,
        stages_without_model=[one.name for one in wanted if not one.names_model],
        code_stages=[one.name for one in wanted if one.of_code],
        comparisons=no_comparison(rules, CHAMPION if champion else BEST_HEURISTIC, UNPROVEN),
        why=UNPROVEN,
    )
    contract = RequestContract.of(section).judgement(comparison)
    evidence = judge_all(
        (ReportsPassed.of(), FileLineage.of(), SameRun.of(), FeatureLeaks.of(policy.gate)),
        comparison,
    )
    is_proven = report.judge(evidence) is Verdict.PASS
    if is_proven:
        comparison = _compare(context, registry, challenger, champion, problem, rules, comparison)
    protected = Protected(context.project, context.workdir, context.home)
    tests = ComparisonTests(context.config.tests.model, context.profile, protected, context.take)
    context.progress("running the project's checks", 0.8)
    compared = judge_all((PairedDifference.of(), tests, HeuristicComparison.of()), comparison)
    configured = configured_checks(
        section, policy.gate, policies.file_names(context.policy), protected
    )
    further = judge_all_configured(configured, comparison, protected)
    checks = [*compared, *evidence] if is_proven else [*evidence, *compared]
    checks.insert(0 if contract.breaks else len(compared), contract.check)
    checks += further
    summary = headline(checks, comparison.comparisons.primary, comparison.goal)
    keys = partial(trusted_keys, context.home, policy)
    earlier = "; ".join(decisions(registry, context.home, found, keys))
    comparison = replace(comparison, earlier_decisions=earlier)
    checks += judge_all((EarlierDecisions.of(),), comparison)
    checks += _earlier_promotions(context.home)
    if earlier and report.judge(checks) is Verdict.PASS:
        summary = f"{earlier}; {summary}"
    summary = contract.headline(summary)
    metrics: dict[str, Any] = {
        "nothing_to_promote": False,
        "challenger_version": challenger.number,
        "champion_version": champion.number if champion else None,
        "cause": challenger.tags.get(CAUSE),
        "contract": contract.to_json(),
        **comparison.to_json(),
    }
    content = record(
        checks,
        metrics,
        summary=summary,
        challenger=challenger.digest,
        champion=champion.digest if champion else None,
        policy=policy.digest,
    )
    context.progress("attaching the record to the version", 0.95)
    metrics["record"] = registry.records.attach(challenger, GATE_RECORD, content)
    return Outcome(summary=summary, checks=checks, metrics=metrics, model=challenger.ref)


def _earlier_promotions(home: Home) -> list[Check]:
    """Return the check of how earlier promotions did; what monitoring knows decides nothing."""
    try:
        check = earlier_promotions(read_production(home))
    except EnvironmentFault as error:
        why = str(error)
        return [
            Check(name=EARLIER_PROMOTIONS, verdict=Verdict.INCONCLUSIVE, required=False, why=why)
        ]
    return [check] if check is not None else []


def _compare(
    context: Context[NoFlags],
    registry: Registry,
    challenger: Version,
    champion: Version | None,
    problem: Problem,
    rules: ComparisonRules,
    comparison: ModelComparison,
) -> ModelComparison:
    """Return the comparison with its rows, if the bundle in the working folder is registered."""
    holdout = parquet.read(context.take(artefacts.HOLDOUT))
    bundle = Bundle.open(context.take(artefacts.BUNDLE))
    if bundle.digest != challenger.digest:
        why = f"the bundle here is {bundle.digest[:12]}, the challenger {challenger.digest[:12]}"
        return without_rows(comparison, rules, comparison.against, why)
    context.take(artefacts.PREDICTIONS)  # a changed one means others changed too
    with ExitStack() as stack:
        if champion is not None:
            context.progress("fetching the champion", 0.1)
            path = stack.enter_context(registered_bundle(registry, champion, context.home))
        inputs = ComparisonInputs(
            holdout=holdout.reset_index(drop=True),
            matrix=context.take(artefacts.MATRIX),
            clean=context.take(artefacts.CLEAN),
            challenger=bundle,
            champion=Bundle.open(path) if champion is not None else None,
            problem=problem,
        )
        return compare_models(
            comparison,
            inputs,
            rules,
            context.config.gate.goal,
            resamples=context.config.evaluate.resamples,
            seed=context.config.train.seed,
            progress=context.progress,
            group_by=context.config.monitor.group_by,
        )


def _nothing_to_promote(champion: Version) -> Outcome:
    check = check_nothing_to_promote(champion.identity)
    return Outcome(
        summary=f"nothing to promote: version {champion.number} is the champion already",
        checks=[check],
        metrics={"nothing_to_promote": True, "champion_version": champion.number},
        model=champion.ref,
    )
