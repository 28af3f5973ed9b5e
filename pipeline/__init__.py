"""From a pushed commit to a model in production: the stages behind the Jenkins steps."""

__version__ = "0.1.0"
