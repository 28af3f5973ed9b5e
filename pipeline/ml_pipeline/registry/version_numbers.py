"""The highest number that a home saw of each model's versions, whatever becomes of the registry.

MLflow gives a number once. A registry that was restored or made again gives those of the versions
that it lost a second time, though approvals, reports and people name other content by them.
"""

from __future__ import annotations

import json

from ml_pipeline.core import documents, workdir
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import Home

FILE = "version-numbers.json"


def highest_number(home: Home, model: str) -> int:
    """Return the highest number of a model's versions; 0 where none is known.

    Raises:
        EnvironmentFault: the file cannot be read.
    """
    return _read(home).get(model, 0)


def record_number(home: Home, model: str, number: int) -> None:
    """Write down that a number was seen, if it is the highest.

    Raises:
        EnvironmentFault: the file cannot be read.
    """
    numbers = _read(home)
    if number > numbers.get(model, 0):
        workdir.write_text(home / FILE, json.dumps(numbers | {model: number}) + "\n")


def _read(home: Home) -> dict[str, int]:
    path = home / FILE
    try:
        values = documents.read_json(path, "it")
    except FileNotFoundError:
        return {}
    except (OSError, DocumentError) as error:
        raise _unreadable(home, error) from None
    if not isinstance(values, dict) or not all(type(one) is int for one in values.values()):
        raise _unreadable(home, "no number for each model")
    return values


def _unreadable(home: Home, why: object) -> EnvironmentFault:
    return EnvironmentFault(
        f"cannot read {home / FILE}: {why}",
        expected='the highest number of each model, as {"churn": 8}',
        hint="restore it from a backup, or write that",
    )
