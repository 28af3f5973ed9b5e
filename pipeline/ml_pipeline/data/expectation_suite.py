"""Data tests run by great_expectations, with the rows that fail each test.

great_expectations counts the rows that fail an expectation and can return them as Python lists of
values and indices, which is slow. The engine below keeps the boolean column behind each count.
"""

from __future__ import annotations

import gc
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import UsageError, nearest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.data.rules import DataTest

RESULT_FORMAT = {"result_format": "BASIC", "partial_unexpected_count": 3}


@dataclass(frozen=True)
class Result:
    """The result of one test.

    Attributes:
        success: the verdict of great_expectations, without ``tolerance``.
        unexpected: how many rows fail it; None for an aggregate test of a column or table.
        missed: mask of the failing rows; None where ``unexpected`` is None or there was an error.
        observed: the value of an aggregate test, or up to three unexpected values.
        error: why it could not be computed, or "".
        raw: the ExpectationValidationResult.
    """

    success: bool
    unexpected: int | None
    missed: NDArray[np.bool_] | None
    observed: Any
    error: str
    raw: Any


def run_suite(frame: pd.DataFrame, tests: Sequence[DataTest]) -> dict[str, Result]:
    """Validate the tests as one expectation suite over the frame, and return results by name.

    The frame has a RangeIndex. Test names are unique.

    Raises:
        UsageError: an expectation is unknown, its arguments are wrong, or a test with severity
            quarantine or blank does not test rows.
    """
    if not tests:
        return {}
    with _quiet():
        gx, validator_class, engine_class = _great_expectations()
        expectations = {test.name: _expectation(test) for test in tests}
        suite = gx.ExpectationSuite(name="data", expectations=list(expectations.values()))
        engine = engine_class(batch_data_dict={"frame": frame})
        validator = validator_class(execution_engine=engine)
        found = validator.graph_validate(
            suite.expectation_configurations, {"result_format": dict(RESULT_FORMAT)}
        )
        by_name = {item.expectation_config.meta["test"]: item for item in found}
        return {
            name: _result(expectation, by_name[name], engine, len(frame))
            for name, expectation in expectations.items()
        }


def prepare() -> None:
    """Import great_expectations now (it takes seconds) rather than with the first test."""
    with _quiet():
        _great_expectations()


@cache
def _great_expectations() -> tuple[Any, Any, Any]:
    """Import great_expectations (seconds) without its telemetry, and register our expectations."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    with _paused_garbage_collection():
        import great_expectations as gx
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.validator.validator import Validator

    import ml_pipeline.data.expectations  # noqa: F401  registers them

    class ConditionKeepingEngine(PandasExecutionEngine):  # type: ignore[misc]  # it has no type hints
        """Keeps the boolean column of each row condition, and copies no column needlessly."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.conditions: dict[Any, Any] = {}
            super().__init__(*args, **kwargs)

        def get_domain_records(self, domain_kwargs: Any) -> Any:
            """Return only the requested column: copying the whole frame is slow."""
            column = domain_kwargs.get("column")
            if domain_kwargs.get("row_condition") or column not in self.dataframe.columns:
                return super().get_domain_records(domain_kwargs)
            return self.dataframe[[column]]

        def resolve_metrics(
            self,
            metrics_to_resolve: Any,
            metrics: Any = None,
            runtime_configuration: Any = None,
        ) -> Any:
            resolved = super().resolve_metrics(metrics_to_resolve, metrics, runtime_configuration)
            for metric in metrics_to_resolve:
                if metric.metric_name.endswith(".condition") and metric.id in resolved:
                    self.conditions[metric.id] = resolved[metric.id][0]
            return resolved

    class QuietValidator(Validator):  # type: ignore[misc]  # it has no type hints
        """Shows no progress bars: the stage has its own progress line."""

        def _determine_progress_bars(self) -> bool:
            return False

    gx.get_context(mode="ephemeral")  # once per process: each creates a temporary folder
    return gx, QuietValidator, ConditionKeepingEngine


@contextmanager
def _paused_garbage_collection() -> Iterator[None]:
    """Pause garbage collection during an import of thousands of modules: a seventh faster.

    The imported objects live until the process ends, so later collections skip them.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if collects:
            gc.enable()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep warnings and log lines off the console; errors are in the result."""
    logger = logging.getLogger("great_expectations")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _expectation(test: DataTest) -> Any:
    from great_expectations.expectations.registry import (
        get_expectation_impl,
        list_registered_expectation_implementations,
    )

    known = list_registered_expectation_implementations()
    if test.expect not in known:
        raise UsageError(
            f"data test '{test.name}': there is no expectation '{test.expect}'",
            hint=nearest(test.expect, known),
        )
    implementation = get_expectation_impl(test.expect)
    if test.severity != "fail" and not getattr(implementation, "map_metric", None):
        raise UsageError(
            f"data test '{test.name}' has severity {test.severity}",
            expected=f"fail, since {test.expect} does not test single rows",
        )
    try:
        return implementation(**test.args, meta={"test": test.name})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"data test '{test.name}' has wrong args for {test.expect}: {_first_message(error)}"
        ) from None


def _first_message(error: Exception) -> str:
    """Return the first message of a pydantic error with the name of its field."""
    listed = getattr(error, "errors", None)
    if not callable(listed):
        return str(error)
    first = listed()[0]
    field = ".".join(str(part) for part in first["loc"] if part != "__root__")
    return f"{field}: {first['msg']}" if field else str(first["msg"])


def _result(expectation: Any, item: Any, engine: Any, rows: int) -> Result:
    import numpy as np

    error = _error(item.exception_info)
    found: Mapping[str, Any] = item.result or {}
    unexpected = found.get("unexpected_count")
    missed = None
    if not error and unexpected is not None:
        missed = _missed(expectation, engine, rows) if unexpected else np.zeros(rows, dtype=bool)
    observed = found.get("observed_value", found.get("partial_unexpected_list"))
    return Result(bool(item.success), unexpected, missed, observed, error, item)


def _error(info: Mapping[str, Any]) -> str:
    """Return the message of the first exception; its key depends on when it was raised."""
    if "raised_exception" in info:
        return str(info.get("exception_message") or "failed") if info["raised_exception"] else ""
    messages = [str(part.get("exception_message")) for part in info.values()]
    return messages[0] if messages else ""


def _missed(expectation: Any, engine: Any, rows: int) -> NDArray[np.bool_]:
    """Return the mask of the rows that fail a row expectation: the condition that was counted."""
    import numpy as np
    from great_expectations.validator.metric_configuration import MetricConfiguration

    dependencies = expectation.get_validation_dependencies(
        execution_engine=engine, runtime_configuration={"result_format": dict(RESULT_FORMAT)}
    )
    counted = dependencies.metric_configurations[f"{expectation.map_metric}.unexpected_count"]
    metric = MetricConfiguration(
        metric_name=f"{expectation.map_metric}.condition",
        metric_domain_kwargs=counted.metric_domain_kwargs,
        metric_value_kwargs=counted.metric_value_kwargs,
    )
    condition = engine.conditions[metric.id]
    missed = np.zeros(rows, dtype=bool)
    missed[condition.index.to_numpy()[condition.to_numpy(dtype=bool)]] = True
    return missed
