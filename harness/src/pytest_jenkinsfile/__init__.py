"""Run a Jenkinsfile in Jenkins' own engine (groovy-cps), without a controller.

``__all__`` is the public interface. Everything else may change without notice.
"""

from pytest_jenkinsfile.answers import Answer, Prompt
from pytest_jenkinsfile.build import Build, Stage, Step
from pytest_jenkinsfile.errors import (
    CpsMismatch,
    EngineError,
    HarnessError,
    UnsupportedError,
    UsageError,
)
from pytest_jenkinsfile.jenkins import Jenkins
from pytest_jenkinsfile.shell import Sh, ShCall

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Build",
    "CpsMismatch",
    "EngineError",
    "HarnessError",
    "Jenkins",
    "Prompt",
    "Sh",
    "ShCall",
    "Stage",
    "Step",
    "UnsupportedError",
    "UsageError",
]
