"""Data tests run by great_expectations, with the rows that missed each test.

great_expectations counts the rows that miss an expectation and lists them on request, as Python
lists of values and indices. The list is not asked for: the engine below keeps the boolean column
that each count is made of.
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
        success: its verdict, without any tolerance of ours.
        unexpected: how many rows miss it, or None for a test about a column or table as a whole.
        missed: which rows, by position; None where ``unexpected`` is None or there was an error.
        observed: the value of a test about the whole, or up to three unexpected values.
        error: why it could not be computed, or empty.
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
        UsageError: an expectation is not known or its arguments are wrong, or a test that would
            set rows or cells aside is not about rows.
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
    """Import great_expectations now (seconds) rather than with the first test."""
    with _quiet():
        _great_expectations()


@cache
def _great_expectations() -> tuple[Any, Any, Any]:
    """Import great_expectations (seconds) without its telemetry, and register our expectations."""
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    with _uncollected():
        import great_expectations as gx
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.validator.validator import Validator

    import ml_pipeline.data.expectations  # noqa: F401  registers them

    class RememberingEngine(PandasExecutionEngine):  # type: ignore[misc]  # no types come with it
        """Keeps the boolean column of each row condition, and copies no column needlessly."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.conditions: dict[Any, Any] = {}
            super().__init__(*args, **kwargs)

        def get_domain_records(self, domain_kwargs: Any) -> Any:
            """Return one column where one is asked for: it is filtered, and the rest with it."""
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

    class QuietValidator(Validator):  # type: ignore[misc]  # no types come with it
        """Shows no progress bars; ours is one line."""

        def _determine_progress_bars(self) -> bool:
            return False

    gx.get_context(mode="ephemeral")  # once a process: each makes a temporary folder
    return gx, QuietValidator, RememberingEngine


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause garbage collection during an import of thousands of modules: a seventh faster.

    What it made stays to the end, so later collections pass over it.
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
            f"data test '{test.name}' names the expectation '{test.expect}'",
            hint=nearest(test.expect, known),
        )
    implementation = get_expectation_impl(test.expect)
    if test.severity != "fail" and not getattr(implementation, "map_metric", None):
        raise UsageError(
            f"data test '{test.name}' has severity {test.severity}",
            expected=f"fail, since {test.expect} is not about rows",
        )
    try:
        return implementation(**test.args, meta={"test": test.name})
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"data test '{test.name}' has wrong args for {test.expect}: {_first(error)}"
        ) from None


def _first(error: Exception) -> str:
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
    """Return the message of the first exception; where it lies depends on when it was raised."""
    if "raised_exception" in info:
        return str(info.get("exception_message") or "failed") if info["raised_exception"] else ""
    messages = [str(part.get("exception_message")) for part in info.values()]
    return messages[0] if messages else ""


def _missed(expectation: Any, engine: Any, rows: int) -> NDArray[np.bool_]:
    """Return which rows miss a row expectation that was counted: the condition it counted."""
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
