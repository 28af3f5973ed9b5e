"""Jobs of a Jenkins from YAML, by jenkins-job-builder: check, diff, update.

``__all__`` is the public interface. Everything else may change without notice.
"""

from strict_jenkins_jobs.builder import RenderedJobs, render
from strict_jenkins_jobs.commands import Outcome, check, diff, update
from strict_jenkins_jobs.errors import JobsError, Refused, ServerError, UsageError

__version__ = "0.1.0"

__all__ = [
    "JobsError",
    "Outcome",
    "Refused",
    "RenderedJobs",
    "ServerError",
    "UsageError",
    "check",
    "diff",
    "render",
    "update",
]
