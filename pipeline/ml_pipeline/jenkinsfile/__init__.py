"""Runs a Jenkinsfile on real CPS without a controller.

What it understands stands in ``docs/reference/jenkinsfile-syntax.md``.
"""

from ml_pipeline.jenkinsfile.answers import Answer, Prompt
from ml_pipeline.jenkinsfile.build import Build, Stage, Step
from ml_pipeline.jenkinsfile.errors import CpsMismatch, HarnessError, NotInHarness
from ml_pipeline.jenkinsfile.harness import Jenkins
from ml_pipeline.jenkinsfile.shell import Sh, ShCall
from ml_pipeline.jenkinsfile.stand_in import MlPipeline

__all__ = [
    "Answer",
    "Build",
    "CpsMismatch",
    "HarnessError",
    "Jenkins",
    "MlPipeline",
    "NotInHarness",
    "Prompt",
    "Sh",
    "ShCall",
    "Stage",
    "Step",
]
