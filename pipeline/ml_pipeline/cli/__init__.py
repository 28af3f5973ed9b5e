"""The command line: parse, call one verb, print its summary, exit with its code.

Importing this package loads nothing heavy, so that ``ml-pipeline --help`` answers at once.
"""

from ml_pipeline.cli.main import main
from ml_pipeline.cli.parser import parse

__all__ = ["main", "parse"]
