"""How MLflow is called: one client for a registry, quiet, fast to fail, and gone afterwards.

Only ``MlflowClient`` and ``mlflow.artifacts`` are used: no active run, no tracking URI of the
process. MLflow takes over a second to import, so it is imported on the first call.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from ml_pipeline.core.errors import EnvironmentFault, PipelineError, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Progress
from ml_pipeline.registry import sqlite

ALWAYS = {
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
UNLESS_SET = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
"""A server that is away is known in seconds; MLflow's own defaults wait for minutes."""

LOGGERS = ("mlflow", "alembic")


class MlflowSession:
    """A registry's address and its client.

    Args:
        uri: MLflow's tracking URI.
        home: Makes the database where ``uri`` names a SQLite file that is not there yet.
        progress: Called when it does, which takes seconds.
    """

    def __init__(self, uri: str, home: Home, progress: Progress) -> None:
        self.uri = uri
        self._home, self._progress = home, progress

    def scope(self) -> AbstractContextManager[None]:
        """Return the context in which MLflow is called; see :func:`mlflow_scope`."""
        return mlflow_scope(self.uri)

    @cached_property
    def client(self) -> Any:
        """The ``MlflowClient``; first used within :meth:`scope`."""
        file = sqlite.file_of(self.uri)
        if file is not None and not sqlite.has_database(file, self._home):
            self._progress("making the registry's database", 0.0)
            sqlite.create_database(file, self._home)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)


@contextmanager
def mlflow_scope(uri: str) -> Iterator[None]:
    """Call MLflow in here: its log, telemetry and retries are limited, its errors translated.

    Environment, log levels and warning filters are as before when the block ends.

    Raises:
        UsageError: MLflow has no store for this kind of URI.
        EnvironmentFault: the registry, or what it stores on, did not do what it was asked to.
    """
    environment = ALWAYS | {k: v for k, v in UNLESS_SET.items() if k not in os.environ}
    before = {name: os.environ.get(name) for name in environment}
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    os.environ.update(environment)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except PipelineError:
        raise
    except Exception as error:
        translated = _translate(error, uri)
        if translated is None:
            raise
        raise translated from error
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def mask_password(uri: str) -> str:
    """Return the URI with the password, if it holds one, replaced by ``***``."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    user_info, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user_info.partition(':')[0]}:***@{host}"))


def _translate(error: Exception, uri: str) -> PipelineError | None:
    """Return the pipeline's error for one of MLflow, its database or its network, else None."""
    from mlflow.exceptions import MlflowException
    from mlflow.tracking.registry import UnsupportedModelRegistryStoreURIException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    shown = mask_password(uri)
    if isinstance(error, UnsupportedModelRegistryStoreURIException):
        return UsageError(
            f"registry.uri {shown}",
            expected="http(s)://..., sqlite:///..., postgresql://... or mysql://...",
        )
    if isinstance(error, MlflowException | SQLAlchemyError | RequestException | OSError):
        return EnvironmentFault(
            f"registry {shown} does not answer: {_first_line(error).replace(uri, shown)}",
            hint="see that it runs and that registry.uri is right, then try again",
        )
    return None


def _first_line(error: Exception) -> str:
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    root = error.__cause__ or error.__context__
    if "Max retries exceeded" in text and root is not None:
        text = re.sub(r""".*\(Caused by \w+\(["']?(.*?)["']?\)\)$""", r"\1", text)
    return text[:300] or type(error).__name__
