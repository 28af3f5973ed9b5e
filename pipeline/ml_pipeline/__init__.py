"""From a pushed commit to a model in production: the stages behind the Jenkins steps.

``__all__`` is the public interface: what a project's code and plug-ins import. Everything else may
change without notice.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ml_pipeline.config import Section
    from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
    from ml_pipeline.core.report import Check, StageReport, Verdict
    from ml_pipeline.features.decorator import feature
    from ml_pipeline.features.indicators import compute_rsi
    from ml_pipeline.gate.checks.base import AT_LEAST, AT_MOST, GateCheck
    from ml_pipeline.gate.model_comparison import ComparedRows, ModelComparison
    from ml_pipeline.jenkins.fake_agent import FakeMlPipeline
    from ml_pipeline.problem import Column, FeatureFunction, Matrix, Problem, Rule
    from ml_pipeline.stages.context import Context, Outcome
    from ml_pipeline.stages.record import (
        NoFlags,
        Stage,
        flag_set,
        integer_flag,
        path_flag,
        switch_flag,
        text_flag,
    )
    from ml_pipeline.targets.base import Deployment, Handover, Placement, Target
    from ml_pipeline.tasks.base import Task
    from ml_pipeline.tasks.binary_classification import BinaryClassification
    from ml_pipeline.tasks.metrics import Metric
    from ml_pipeline.tasks.multiclass_classification import MulticlassClassification
    from ml_pipeline.tasks.regression import Regression
    from ml_pipeline.training.estimators.base import (
        Encoded,
        Estimator,
        FitSettings,
        Fitted,
        LabelledRows,
        Objective,
        Predictions,
    )
    from ml_pipeline.training.onnx_graph import OnnxGraph

__version__ = "0.1.0"

__all__ = [
    "AT_LEAST",
    "AT_MOST",
    "BinaryClassification",
    "Check",
    "Column",
    "ComparedRows",
    "Context",
    "Deployment",
    "Encoded",
    "EnvironmentFault",
    "Estimator",
    "FakeMlPipeline",
    "FeatureFunction",
    "FitSettings",
    "Fitted",
    "GateCheck",
    "Handover",
    "LabelledRows",
    "Matrix",
    "Metric",
    "ModelComparison",
    "MulticlassClassification",
    "NoFlags",
    "Objective",
    "OnnxGraph",
    "Outcome",
    "Placement",
    "Predictions",
    "Problem",
    "Refused",
    "Regression",
    "Rule",
    "Section",
    "Stage",
    "StageReport",
    "Target",
    "Task",
    "UsageError",
    "Verdict",
    "compute_rsi",
    "feature",
    "flag_set",
    "integer_flag",
    "path_flag",
    "switch_flag",
    "text_flag",
]

MODULES: Final = {
    "config": ("Section",),
    "core.errors": ("EnvironmentFault", "Refused", "UsageError"),
    "core.report": ("Check", "StageReport", "Verdict"),
    "features.decorator": ("feature",),
    "features.indicators": ("compute_rsi",),
    "jenkins.fake_agent": ("FakeMlPipeline",),
    "gate.checks.base": ("AT_LEAST", "AT_MOST", "GateCheck"),
    "gate.model_comparison": ("ComparedRows", "ModelComparison"),
    "problem": ("Column", "FeatureFunction", "Matrix", "Problem", "Rule"),
    "tasks.base": ("Task",),
    "tasks.binary_classification": ("BinaryClassification",),
    "tasks.metrics": ("Metric",),
    "tasks.multiclass_classification": ("MulticlassClassification",),
    "tasks.regression": ("Regression",),
    "training.estimators.base": (
        "Encoded",
        "Estimator",
        "FitSettings",
        "Fitted",
        "LabelledRows",
        "Objective",
        "Predictions",
    ),
    "training.onnx_graph": ("OnnxGraph",),
    "stages.context": ("Context", "Outcome"),
    "stages.record": (
        "NoFlags",
        "Stage",
        "flag_set",
        "integer_flag",
        "path_flag",
        "switch_flag",
        "text_flag",
    ),
    "targets.base": ("Deployment", "Handover", "Placement", "Target"),
}
"""The module that defines each public name."""

# Read when ONNX Runtime is imported. Otherwise a thread of it looks up its maker's collector every
# few seconds, and where no name server answers, a process waits seconds for that thread to end.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used: the server's image has a few rooms only."""
    for module, names in MODULES.items():
        if name in names:
            return getattr(import_module(f"ml_pipeline.{module}"), name)
    raise AttributeError(f"module 'ml_pipeline' has no attribute {name!r}")
