"""Runs a Jenkinsfile on real CPS without a controller.

What it understands stands in ``docs/reference/jenkinsfile-syntax.md``.
"""

from pipeline.jenkinsfile.answers import Answer, Prompt
from pipeline.jenkinsfile.build import Build, Stage, Step
from pipeline.jenkinsfile.errors import CpsMismatch, HarnessError, NotInHarness
from pipeline.jenkinsfile.harness import Jenkins
from pipeline.jenkinsfile.shell import Sh, ShCall
from pipeline.jenkinsfile.stand_in import MlPipeline

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
