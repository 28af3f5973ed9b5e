"""``ml.yaml``: a module for each section, and loading.

Each value comes from the first of these that has it: ``--set``, the environment, the file, the
default. Every section is a frozen model that forbids unknown keys; an unknown key names the nearest
one.
"""

from ml_pipeline.config.data import DataSection, Distribution, Expectation, Groups
from ml_pipeline.config.environments import EnvironmentSection
from ml_pipeline.config.evaluate import EvaluateSection, Threshold
from ml_pipeline.config.features import FeaturesSection
from ml_pipeline.config.gate import GateMinimums, GateSection, Guard
from ml_pipeline.config.gitops import GitopsSection
from ml_pipeline.config.kubernetes import IngressSection, KubernetesSection
from ml_pipeline.config.lint import LintSection
from ml_pipeline.config.load_test import LoadTestSection
from ml_pipeline.config.loading import find_root, load, mapping, overridden
from ml_pipeline.config.ml_yaml import Config
from ml_pipeline.config.monitor import LabelSource, MonitorSection
from ml_pipeline.config.policy import PolicySection
from ml_pipeline.config.problem import ProblemSection
from ml_pipeline.config.project import FILE, Project
from ml_pipeline.config.registry import RegistrySection
from ml_pipeline.config.score import ScoreSection
from ml_pipeline.config.section import Section
from ml_pipeline.config.serving import PredictionLogSection, RawRowsSection, ServingSection
from ml_pipeline.config.shadow import ShadowSection
from ml_pipeline.config.sources import (
    NAMED_DATE_FORMATS,
    CsvSource,
    ParquetSource,
    SimulatedSource,
    Source,
    SqlSource,
    WrittenForms,
)
from ml_pipeline.config.split import SplitSection
from ml_pipeline.config.train import Calibration, TrainSection
from ml_pipeline.config.unit_tests import TestSection
from ml_pipeline.config.user_tests import UserTests
from ml_pipeline.config.watch import WatchSection

__all__ = [
    "FILE",
    "NAMED_DATE_FORMATS",
    "Calibration",
    "Config",
    "CsvSource",
    "DataSection",
    "Distribution",
    "EnvironmentSection",
    "EvaluateSection",
    "Expectation",
    "FeaturesSection",
    "GateMinimums",
    "GateSection",
    "GitopsSection",
    "Groups",
    "Guard",
    "IngressSection",
    "KubernetesSection",
    "LabelSource",
    "LintSection",
    "LoadTestSection",
    "MonitorSection",
    "ParquetSource",
    "PolicySection",
    "PredictionLogSection",
    "ProblemSection",
    "Project",
    "RawRowsSection",
    "RegistrySection",
    "ScoreSection",
    "Section",
    "ServingSection",
    "ShadowSection",
    "SimulatedSource",
    "Source",
    "SplitSection",
    "SqlSource",
    "TestSection",
    "Threshold",
    "TrainSection",
    "UserTests",
    "WatchSection",
    "WrittenForms",
    "find_root",
    "load",
    "mapping",
    "overridden",
]
