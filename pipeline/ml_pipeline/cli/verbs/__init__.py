"""The verbs that are no stage: one module each, whose ``VERB`` is its record."""

VERBS = (
    "run",
    "features",
    "score",
    "show",
    "stages",
    "status",
    "plan",
    "stop",
    "forget",
    "manifests",
    "doctor",
    "config",
    "jobs",
    "jenkinsfile",
    "home",
    "keys",
)
"""In the order of the help."""
