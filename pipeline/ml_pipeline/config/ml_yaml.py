"""The whole of ``ml.yaml``: one key for each section."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ml_pipeline.config.data import DataSection
from ml_pipeline.config.environments import EnvironmentName, EnvironmentSection
from ml_pipeline.config.evaluate import EvaluateSection
from ml_pipeline.config.features import FeaturesSection
from ml_pipeline.config.gate import GateSection
from ml_pipeline.config.gitops import GitopsSection
from ml_pipeline.config.lint import LintSection
from ml_pipeline.config.load_test import LoadTestSection
from ml_pipeline.config.monitor import MonitorSection
from ml_pipeline.config.policy import PolicySection
from ml_pipeline.config.problem import ProblemSection
from ml_pipeline.config.registry import NAME, RegistrySection
from ml_pipeline.config.score import ScoreSection
from ml_pipeline.config.section import Section
from ml_pipeline.config.serving import ServingSection
from ml_pipeline.config.shadow import ShadowSection
from ml_pipeline.config.split import SplitSection
from ml_pipeline.config.train import TrainSection
from ml_pipeline.config.unit_tests import TestSection
from ml_pipeline.config.user_tests import UserTests
from ml_pipeline.config.watch import WatchSection


class Config(Section):
    """The whole of ``ml.yaml``."""

    project: str = Field(pattern=NAME)
    description: str = ""
    problem: ProblemSection = ProblemSection()
    data: DataSection = DataSection()
    features: FeaturesSection = FeaturesSection()
    split: SplitSection = SplitSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    gate: GateSection = GateSection()
    registry: RegistrySection = RegistrySection()
    environments: dict[EnvironmentName, EnvironmentSection] = Field(
        default_factory=lambda: {
            "staging": EnvironmentSection(port=8001),
            "production": EnvironmentSection(port=8000),
        }
    )
    serving: ServingSection = ServingSection()
    gitops: GitopsSection = GitopsSection()
    score: ScoreSection = ScoreSection()
    load_test: LoadTestSection = LoadTestSection()
    shadow: ShadowSection = ShadowSection()
    watch: WatchSection = WatchSection()
    monitor: MonitorSection = MonitorSection()
    policy: PolicySection = PolicySection()
    lint: LintSection = LintSection()
    test: TestSection = TestSection()
    tests: UserTests = UserTests()
    stages: dict[str, dict[str, Any]] = Field(
        default={}, description="the sections of stages that come as plug-ins, by stage"
    )
