"""Any table with a binary label."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core.errors import Refused, UsageError
from ml_pipeline.features.schema import FeatureSchema
from ml_pipeline.problem import FeatureFunction
from ml_pipeline.problems.table import Table, TableOptions
from sklearn.datasets import load_breast_cancer


def table(**options):
    return Table(TableOptions(**({"label": "bought"} | options)))


@pytest.fixture
def customers():
    """Categories, gaps, dates, a customer of two rows."""
    return pd.DataFrame(
        {
            "day": ["2024-01-02", "2024-01-01", "2024-01-02", "2024-01-03"],
            "customer": ["c1", "c1", "c2", "c3"],
            "age": [30, 29, None, 55],
            "town": ["Pokhara", "Pokhara", None, "Kathmandu"],
            "plan": [1.0, 1.0, 2.0, None],
            "member": [True, True, False, False],
            "bought": ["yes", "no", "no", "yes"],
        }
    )


FULL = {
    "positive": "yes",
    "time": "day",
    "entity": "customer",
    "group": "town",
    "categorical": ("town", "plan"),
}


@pytest.fixture(scope="module")
def cancer():
    frame = load_breast_cancer(as_frame=True).frame
    return Table(TableOptions(label="target")).matrix(frame, [], True)


class TestBreastCancer:
    def test_thirty_numeric_features_and_every_row_labelled(self, cancer):
        assert cancer.features.shape == (569, 30)
        assert cancer.categorical == ()
        assert cancer.label.isin([0, 1]).all()
        assert cancer.label.sum() == 357

    def test_encodes(self, cancer):
        schema = FeatureSchema.fit(cancer.features, cancer.categorical)
        assert schema.encode(cancer.features).shape == (569, 30)

    def test_each_row_is_a_cluster_of_its_own(self, cancer):
        assert cancer.keys["cluster"].is_unique
        assert cancer.keys["time"].dtype.kind == "i"
        assert set(cancer.keys["group"]) == {"all"}


class TestMatrix:
    def test_kinds_missing_values_and_order(self, customers):
        matrix = table(**FULL).matrix(customers, [], True)
        assert list(matrix.features) == ["age", "town", "plan", "member"]
        assert matrix.categorical == ("town", "plan")
        assert matrix.features["town"].tolist() == ["Pokhara", "Pokhara", None, "Kathmandu"]
        assert matrix.features["plan"].tolist() == ["1", "1", "2", None]
        assert matrix.features["age"].isna().tolist() == [False, False, True, False]
        assert matrix.features["member"].tolist() == [1, 1, 0, 0]
        assert matrix.label.tolist() == [1, 0, 0, 1]

    def test_keys(self, customers):
        keys = table(**FULL).matrix(customers, [], True).keys
        assert keys["time"].dt.strftime("%Y-%m-%d").tolist() == customers["day"].tolist()
        assert keys["entity"].tolist() == ["c1", "c1", "c2", "c3"]
        assert keys["group"].tolist() == ["Pokhara", "Pokhara", "unknown", "Kathmandu"]
        assert keys["cluster"].equals(keys["time"])

    def test_cluster_of_its_own(self, customers):
        keys = (
            table(positive="yes", cluster="plan", drop=("day", "customer", "town"))
            .matrix(customers, [], True)
            .keys
        )
        assert keys["cluster"].tolist() == [0, 0, 1, 2]
        assert keys["time"].equals(keys["cluster"].rename("time"))

    def test_named_numeric_features_only(self, customers):
        matrix = table(positive="yes", numeric=("age",)).matrix(customers, [], True)
        assert list(matrix.features) == ["age"]

    def test_standard_by_name(self, customers):
        assert list(table(**FULL).matrix(customers, [], ("plan", "age")).features) == [
            "plan",
            "age",
        ]

    def test_missing_label_is_none(self, customers):
        unlabelled = customers.assign(bought=["yes", None, "no", "yes"])
        label = table(**FULL).matrix(unlabelled, [], True).label
        assert label.isna().tolist() == [False, True, False, False]

    def test_rows_to_predict_need_neither_label_nor_dropped_columns(self, customers):
        problem = table(**FULL, drop=("age",))
        matrix = problem.matrix(customers.drop(columns=["bought", "age"]), [], True)
        assert matrix.label.isna().all()

    def test_number_as_positive(self, customers):
        coded = customers.assign(bought=[2.0, 1.0, 1.0, 2.0])
        assert table(**FULL | {"positive": 2}).matrix(coded, [], True).label.tolist() == [
            1,
            0,
            0,
            1,
        ]

    def test_true_as_positive(self, customers):
        coded = customers.assign(bought=[True, False, False, True])
        options = FULL | {"positive": True}
        assert table(**options).matrix(coded, [], True).label.tolist() == [1, 0, 0, 1]


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"categorical": ("town",), "numeric": ("town",)}, "'town' is in both numeric and cat"),
            ({"categorical": ("bought",)}, "the label 'bought' is also a feature"),
            ({"numeric": ("day",), "time": "day"}, "the time 'day' is also a feature"),
            ({"categorical": ("town",), "drop": ("town",)}, "'town' is both a feature and dropped"),
        ],
    )
    def test_roles_that_clash(self, options, message):
        with pytest.raises(UsageError, match=message):
            table(**options)

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            ({}, {"categorical": ("towm", "plan")}, "no column 'towm'; did you mean 'town'"),
            ({}, {"cluster": "clinic"}, "no column 'clinic'"),
            ({}, {"drop": ("agee",)}, "problem.drop: the table has no column 'agee'.*'age'"),
            ({}, {"group": "clinic"}, "no column 'clinic'"),
        ],
    )
    def test_absent_columns(self, customers, change, options, message):
        with pytest.raises(UsageError, match=message):
            table(**FULL | options).matrix(customers.assign(**change), [], True)

    @pytest.mark.parametrize(
        ("change", "options", "message"),
        [
            (
                {},
                {"categorical": ("plan",), "group": None},
                r"no number in column 'town' \('Pokhara'\); name it",
            ),
            ({"age": [1, np.inf, 2, 3]}, {}, "'age' is infinite in row 1"),
            ({"day": ["2024-01-02", None, "2024-01-02", "2024-01-03"]}, {}, "row 1 has no date"),
            ({"day": ["x", "y", "z", "w"]}, {}, "row 0 has no date in 'day'"),
        ],
    )
    def test_data_that_cannot_serve(self, customers, change, options, message):
        with pytest.raises(Refused, match=message):
            table(**FULL | options).matrix(customers.assign(**change), [], True)

    @pytest.mark.parametrize(
        ("change", "positive", "message"),
        [
            (["a", "b", "c", "yes"], "yes", r"has 4 values: a \(1\), b \(1\), c \(1\), yes \(1\)"),
            (
                ["yes", "no", "no", "yes"],
                "Yes",
                r"problem.positive: .* never 'Yes': it is no \(2\), yes \(2\)",
            ),
            (["gone", "stays", "gone", "gone"], True, r"never true: it is gone \(3\), stays \(1\)"),
            ([0, 1, 2, 1], 1, r"has 3 values: 1 \(2\), 0 \(1\), 2 \(1\)"),
        ],
    )
    def test_labels_that_are_not_two_values(self, customers, change, positive, message):
        with pytest.raises(UsageError, match=message):
            table(**FULL | {"positive": positive}).matrix(customers.assign(bought=change), [], True)

    def test_no_row(self, customers):
        with pytest.raises(Refused, match="the table has no row"):
            table(**FULL).matrix(customers.iloc[:0], [], True)

    def test_no_feature(self, customers):
        with pytest.raises(UsageError, match="no feature"):
            table(**FULL).matrix(customers, [], False)


class TestOwnFeatures:
    def run(self, customers, function, scope="row", **options):
        marked = FeatureFunction("own", "mine", scope, function)
        return table(**FULL | options).matrix(customers, [marked], True).features

    def test_row(self, customers):
        assert self.run(customers, lambda rows: rows["age"] * 2)["own"].tolist()[:2] == [60, 58]

    def test_entity_is_in_time_order(self, customers):
        count = self.run(customers, lambda rows: pd.Series(range(len(rows)), rows.index), "entity")
        assert count["own"].tolist() == [1, 0, 0, 0]

    def test_day_sees_the_features_of_the_day(self, customers):
        size = self.run(customers, lambda day: day["age"] * 0 + len(day), "day")
        assert size["own"].tolist()[0] == 2

    def test_entity_needs_time_and_entity(self, customers):
        with pytest.raises(UsageError, match=r"scope 'entity'; expected .*: row, day"):
            self.run(customers, lambda rows: rows["age"], "entity", entity=None, drop=("customer",))

    def test_row_may_not_look_at_other_rows(self, customers):
        with pytest.raises(UsageError, match="changes when other rows are taken away"):
            self.run(customers, lambda rows: rows["age"] - rows["age"].mean())

    def test_label_is_not_shown(self, customers):
        with pytest.raises(UsageError, match=r"mine\.own raised KeyError: 'bought'"):
            self.run(customers, lambda rows: rows["bought"] == "yes")


class TestColumnsAndRules:
    def test_roles_become_columns(self):
        columns = {column.name: column for column in table(**FULL, numeric=("age",)).columns()}
        assert {name: column.kind for name, column in columns.items()} == {
            "bought": "text",
            "day": "date",
            "town": "text",
            "plan": "text",
            "age": "number",
            "customer": "text",
        }
        critical = {name for name, column in columns.items() if column.critical}
        assert critical == {"bought", "day", "customer"}

    def test_number_as_positive_makes_the_label_a_number(self):
        assert table(positive=1).columns()[0].kind == "number"

    def test_other_columns_are_kept_for_auto_only(self):
        assert table().keeps_other_columns
        assert not table(numeric=("age",)).keeps_other_columns

    def test_rules_are_never_empty(self):
        assert [rule.name for rule in table().expectations()] == [
            "bought_present",
            "bought_two_values",
            "rows_distinct",
        ]
        assert [rule.name for rule in table(**FULL).expectations()] == [
            "bought_present",
            "day_present",
            "customer_present",
            "day_format",
            "bought_two_values",
            "rows_distinct",
        ]
