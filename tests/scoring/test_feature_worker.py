"""Features of raw rows by a bundle's own code: those of ``score``, and what is refused."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from ml_pipeline import cli
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import CsvSource, SimulatedSource
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.data.simulated import simulate
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.problems.bars import Bars
from ml_pipeline.scoring.feature_worker import CSV, FeatureCode, reply
from ml_pipeline.serving.feature_messages import ComputedFeatures, Failure

from tests.raw_rows import ROW, make_raw_bundle, make_raw_project


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_raw_project(tmp_path_factory.mktemp("raw-project"))


@pytest.fixture(scope="module")
def bundle(project, write_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw-bundle") / "bundle"
    return Bundle.open(make_raw_bundle(project, folder, write_bundle))


@pytest.fixture(scope="module")
def code(bundle, tmp_path_factory):
    return FeatureCode.load(bundle, tmp_path_factory.mktemp("raw-code").resolve())


def ask(code, rows, max_rows=100, **more):
    return reply(code, json.dumps({"rows": rows} | more).encode(), max_rows)


def test_features_are_in_the_models_order_with_row_indices(code):
    found = ask(code, [ROW, ROW | {"spent": None, "c": "south"}])
    assert found == ComputedFeatures(
        rows=[[1.5, "north"], [None, "south"]], places=[0, 1], set_aside=[]
    )


def test_answers_are_those_of_score_to_the_bit(code, bundle, project, tmp_path):
    rows = [
        ROW | {"client": f"{number:05}", "spent": number / 7, "visits": number % 5 + 1}
        for number in range(40)
    ]
    rows[3] = rows[3] | {"spent": None}
    rows[5] = rows[5] | {"c": "never seen"}
    pd.DataFrame(rows).to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / "scores.parquet"
    given = ["--in", str(tmp_path / "rows.csv"), "--out", str(out), "--bundle", str(bundle.path)]
    assert cli.main(["score", *given, "--project", str(project.root)]) == 0
    scored = pd.read_parquet(out)
    found = ask(code, rows)
    probabilities = dict(
        zip(
            [rows[place]["client"] for place in found.places],
            bundle.predict_list(bundle.schema.encode_rows(found.rows)),
            strict=True,
        )
    )
    assert probabilities == dict(zip(scored["customer"], scored["probability"], strict=True))


def test_large_and_numeric_ids_are_unchanged(code):
    rows = [ROW | {"client": 2**53 + 1}, ROW | {"client": "007"}]
    assert ask(code, rows).places == [0, 1]


def with_date_format(code, form):
    """Return the code with another configuration of its source."""
    config = code.project.config
    source = CsvSource(kind="csv", path="rows.csv", date_format=form)
    data = config.data.model_copy(update={"source": source})
    project = replace(code.project, config=config.model_copy(update={"data": data}))
    return replace(code, project=project)


@pytest.mark.parametrize("form", ["%Y-%d-%m", "%d.%m.%Y", "unix"])
def test_a_day_is_iso_in_a_request_whatever_the_source_writes(code, form):
    other, rows = with_date_format(code, form), [ROW | {"day": "2024-01-05"}]
    assert ask(other, rows, since="2024-01-05").places == [0]
    assert ask(other, rows, since="2024-01-06").places == []


class TestSince:
    HISTORY = ROW | {"day": "2024-01-01"}

    def test_earlier_rows_are_history_only(self, code):
        found = ask(code, [self.HISTORY, ROW], since="2024-01-02")
        assert (found.places, found.rows) == ([1], [[1.5, "north"]])

    def test_history_that_fails_a_data_test_is_set_aside(self, code):
        found = ask(code, [self.HISTORY | {"client": None}, ROW], since="2024-01-02")
        assert (found.places, found.set_aside) == ([1], [(0, "customer_present")])

    @pytest.mark.parametrize("day", [None, "not a day", 5])
    def test_a_row_whose_day_cannot_be_read_is_no_history(self, code, day):
        failure = ask(code, [self.HISTORY | {"day": day}, ROW], since="2024-01-02")
        assert failure.status == 422
        assert failure.error.startswith("row 0 misses the data test day_")

    @pytest.mark.parametrize("since", ["01.02.2024", 5, "2024-13-01", {}])
    def test_it_is_a_day(self, code, since):
        expected = "'since' is no day; expected YYYY-MM-DD"
        assert ask(code, [ROW], since=since) == Failure(422, expected)


class TestIsRefused:
    @pytest.mark.parametrize(
        ("rows", "expected_message"),
        [
            ([], "'rows' is empty; expected at least one"),
            ([5], "row 0 is no object of columns and values"),
            (
                [ROW, {"day": "2024-01-02"}],
                "row 1 lacks 'c', unlike row 0; write null where a value is missing",
            ),
            (
                [ROW, ROW | {"spend": 1}],
                "row 1 has 'spend', unlike row 0; write null where a value is missing",
            ),
            (
                [ROW | {"spent": [1]}],
                "row 0: 'spent' is a list or an object; expected one value",
            ),
            ([ROW | {"spent": "much"}], "row 0: 'spent' is text; expected a number or null"),
            (
                [ROW, ROW | {"client": None}],
                "row 1 misses the data test customer_present ('client' is null)",
            ),
            ([ROW | {"spent": 10**400}], "row 0: 'spent' is beyond the largest float"),
            (
                [ROW, ROW | {"spent": float("nan")}],
                "row 1: 'spent' is nan; expected a finite number or null",
            ),
            ([ROW | {"c": float("inf")}], "row 0: 'c' is inf; expected a finite number or null"),
            (
                [ROW | {"c": "\ud800"}],
                "row 0: 'c' holds half of a surrogate pair, which is no text",
            ),
            (
                [ROW | {"\ud800": 1}],
                "row 0: '\\ud800' holds half of a surrogate pair, which is no text",
            ),
        ],
    )
    def test_the_error_names_row_and_reason(self, code, rows, expected_message):
        assert ask(code, rows) == Failure(422, expected_message)

    def test_a_feature_that_is_not_finite_is_named(self, code):
        failure = ask(code, [ROW | {"spent": 3e38, "visits": 1e-300}])
        assert failure.status == 422
        assert "returns an infinite value in 'x'" in failure.error

    def test_a_misspelt_column_is_named_with_a_similar_one(self, code):
        row = {name: value for name, value in ROW.items() if name != "spent"} | {"spend": "x"}
        expected_message = "row 0 lacks the column 'spent'; is 'spend' meant?"
        assert ask(code, [row]) == Failure(422, expected_message)

    def test_a_day_in_another_format_names_the_expected_format(self, code):
        failure = ask(code, [ROW, ROW | {"day": "02.01.2024"}])
        assert failure.error.startswith("row 1 misses the data test day_")
        assert failure.error.endswith("; a day is YYYY-MM-DD here")

    def test_a_single_row_with_a_day_in_another_form_is_shown(self, code):
        expected_message = (
            "no row passes the data tests; the first one, row 0, misses: day_format "
            "('day' is 13.01.2024); a day is YYYY-MM-DD here"
        )
        assert ask(code, [ROW | {"day": "13.01.2024"}]) == Failure(422, expected_message)

    def test_a_day_of_a_csv_file_has_the_form_of_the_source(self, code):
        files = with_date_format(code, "%d.%m.%Y")
        lines = "day,client,spent,visits,c\n02.01.2024,A,9.0,6,n\n2024-01-13,B,9.0,6,n\n"
        failure = reply(files, CSV + lines.encode(), 100)
        assert failure.error == ("row 1 misses the data test day_format; a day is %d.%m.%Y here")

    def test_a_missing_column_is_named(self, code):
        row = {name: value for name, value in ROW.items() if name != "spent"}
        failure = ask(code, [row])
        assert (failure.status, "'spent'" in failure.error) == (422, True), failure.error

    def test_all_missing_columns_are_named_at_once(self, code):
        row = {"day": ROW["day"], "client": ROW["client"], "spend": 9.0}
        expected_message = (
            "row 0 lacks the columns 'c', 'spent' and 'visits'; is 'spend' meant for 'spent'?"
        )
        assert ask(code, [row]) == Failure(422, expected_message)

    def test_missing_features_of_the_model_are_named(self, code):
        """With ``numeric: auto`` every number of the training data may be a feature."""
        options = code.problem.options.model_copy(update={"numeric": "auto"})
        features = (Feature("c", "categorical", ("north",)), Feature("spent", "numeric"))
        schema = FeatureSchema((*features, Feature("visits", "numeric")))
        problem = type(code.problem)(options)
        auto = replace(code, problem=problem, functions=(), schema=schema)
        row = {"day": ROW["day"], "client": ROW["client"], "c": "north"}
        expected_message = "row 0 lacks the columns 'spent' and 'visits'"
        assert ask(auto, [row]) == Failure(422, expected_message)

    @pytest.mark.parametrize(
        ("body", "status", "expected_message"),
        [
            (b"{", 400, "not JSON"),
            (b'{"rows": [{"a": 1, "a": 2}]}', 400, "twice"),
            (b'{"rows": [{"a": 1}], "rows": []}', 400, "twice"),
            (b"[]", 422, "expected an object"),
            (b'{"row": []}', 422, "expected an object"),
            (b'{"rows": [], "table": 1}', 422, "unknown key 'table'"),
        ],
    )
    def test_a_body_of_another_form(self, code, body, status, expected_message):
        failure = reply(code, body, 100)
        assert (failure.status, expected_message in failure.error) == (status, True), failure.error

    def test_too_many_rows(self, code):
        expected = Failure(413, "3 rows; at most 2 in one request")
        assert ask(code, [ROW] * 3, max_rows=2) == expected


class TestBars:
    """Features of a day's bars need the bars before it: they come with the request."""

    def test_a_day_with_its_history_has_the_features_that_training_has(
        self, make_project, tmp_path
    ):
        project = make_project()
        history = simulate(SimulatedSource(kind="simulated", symbols=4, days=60, seed=2))
        problem = Bars()
        matrix = problem.matrix(history, [], True)
        schema = FeatureSchema.fit(matrix.features)
        code = FeatureCode(project, problem, [], schema, tmp_path)
        rows = history.astype(object).where(history.notna(), None).to_dict("records")
        day = max(row["date"] for row in rows)
        found = ask(code, rows, max_rows=1000, since=day)
        places = [place for place, row in enumerate(rows) if row["date"] == day]
        assert found.places == places
        expected = matrix.features.iloc[places].astype(object)
        expected = expected.where(expected.notna(), None)
        assert found.rows == expected.to_numpy().tolist()


class TestLoad:
    def test_other_packages_than_the_models_are_refused(self, bundle, write_bundle, tmp_path):
        archive = (bundle.path / "source.tar.gz").read_bytes()
        parts = bundle.manifest["identity_parts"] | {"lock": "0" * 64}
        folder = write_bundle(tmp_path / "other", source=archive, identity_parts=parts)
        with pytest.raises(EnvironmentFault, match="not those that the model was trained with"):
            FeatureCode.load(Bundle.open(folder), tmp_path / "code")

    def test_an_invalid_archive_is_refused(self, make_bundle, tmp_path):
        with pytest.raises(EnvironmentFault, match=r"source\.tar\.gz cannot be used"):
            FeatureCode.load(Bundle.open(make_bundle()), tmp_path / "code")

    def test_the_project_may_have_changed(self, write_bundle, tmp_path):
        project = make_raw_project(tmp_path / "project", package="moved_on")
        folder = make_raw_bundle(project, tmp_path / "bundle", write_bundle)
        module = project.root / "moved_on" / "mine.py"
        module.write_text(module.read_text().replace("/ rows", "* rows"))
        code = FeatureCode.load(Bundle.open(folder), (tmp_path / "code").resolve())
        assert ask(code, [ROW]).rows == [[1.5, "north"]]
