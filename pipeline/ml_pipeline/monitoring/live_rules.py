"""The data tests of the project on live rows: those whose columns are features of the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from ml_pipeline.config import DataSection
from ml_pipeline.data.rules import DataTest, row_tests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from ml_pipeline.problem import Problem


@dataclass(frozen=True)
class LiveRules:
    """Data tests of single rows that live rows can be tested with."""

    tests: tuple[DataTest, ...]
    left_out: int
    """Tests of columns that requests do not have."""

    @classmethod
    def of(
        cls, problem: Problem, data: DataSection, features: Sequence[str], today: date
    ) -> LiveRules:
        """Return the problem's own tests and the project's whose columns are all features.

        Raises:
            UsageError: an expectation of ``ml.yaml`` is wrong.
        """
        present = {*features}
        of_rows = [
            each for each in data.expectations if each.expect.startswith("expect_column_values")
        ]
        possible = [each for each in of_rows if _columns(each.args) <= present]
        section = data.model_copy(update={"expectations": tuple(possible), "tolerances": {}})
        tests = tuple(
            replace(test, tolerance=data.tolerances.get(test.name, test.tolerance))
            if test.own
            else test
            for test in row_tests(problem, section, list(features), today)
            if test.columns and {*test.columns} <= present
        )
        own = [rule for rule in problem.expectations() if not {*_columns(rule.args)} <= present]
        return cls(tests, len(of_rows) - len(possible) + len(own))

    def failures(self, rows: pd.DataFrame) -> Mapping[str, NDArray[np.bool_]]:
        """Return which rows fail each test of their columns.

        All rows fail a test that cannot be computed.
        """
        import numpy as np

        from ml_pipeline.data.expectation_suite import run_suite

        tests = [test for test in self.tests if {*test.columns} <= {*rows.columns}]
        results = run_suite(rows, tests)
        every = np.ones(len(rows), dtype=bool)
        return {
            name: every if result.missed is None else result.missed
            for name, result in results.items()
        }


def _columns(args: Mapping[str, object]) -> set[str]:
    single = {str(args[key]) for key in ("column", "column_A", "column_B") if key in args}
    listed = args.get("column_list", ())
    return single | ({str(name) for name in listed} if isinstance(listed, list | tuple) else set())
