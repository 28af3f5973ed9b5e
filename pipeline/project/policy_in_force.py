"""The policy that holds for a project, with what its gate is to compare."""

from __future__ import annotations

from pipeline.approval import policy as policies
from pipeline.approval.policy import Policy, PolicyFiles
from pipeline.config import Project
from pipeline.gate import floor
from pipeline.gate.contest import Rules
from pipeline.problems.base import Problem
from pipeline.problems.loader import load_problem


def in_force(files: PolicyFiles, project: Project) -> tuple[Policy, Problem, Rules]:
    """Return the policy, the problem and the rules of the comparison, which the policy allows.

    Raises:
        UsageError: a policy file cannot be read, ml.yaml names what does not exist, or a key of it
            would loosen the policy.
    """
    policy = policies.load(files, project.config.policy)
    problem = load_problem(project.config.problem, project.root)
    rules = Rules.of(project.config.gate, problem.primary_metric, problem.guards)
    floor.require(policy.gate, project.config.gate, rules, policies.named(files))
    return policy, problem, rules
