"""The policy in force for a project, with the rules of its comparison."""

from __future__ import annotations

from ml_pipeline.approval import policy as policies
from ml_pipeline.approval.policy import Policy, PolicyFiles
from ml_pipeline.config import Project
from ml_pipeline.gate import policy_minimums
from ml_pipeline.gate.comparison_set import ComparisonRules
from ml_pipeline.problem import Problem
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.tasks.loader import load_task


def policy_in_force(
    files: PolicyFiles, project: Project
) -> tuple[Policy, Problem, ComparisonRules]:
    """Return the policy, the problem, and the rules of the comparison, which obey the policy.

    Raises:
        UsageError: a policy file cannot be read, ml.yaml has an unknown name, or a key of it would
            loosen the policy.
    """
    policy = policies.load(files, project.config.policy)
    problem = load_problem(project.config.problem, project.root)
    task = load_task(project.config.problem.task)
    rules = ComparisonRules.of(project.config.gate, problem.primary_metric, problem.guards, task)
    where = policies.file_names(files)
    policy_minimums.require(policy.gate, project.config.gate, rules, where)
    policy_minimums.check_settings(project.config.gate, policy.gate, where)
    return policy, problem, rules
