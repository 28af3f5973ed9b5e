"""Requests of MLflow's clients are accepted."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.serving.app import RequestLimits, make_app
from mlflow.utils.proto_json_utils import dump_input_data

from tests.serving.conftest import Api

ROWS = [[1.0, "north"], [None, "south"]]
EXPECTED = [1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(0.5))]
LIMITS = RequestLimits(max_body=4_000, max_rows=4)


@pytest.fixture
def api(bundle, state):
    return Api(make_app(bundle, 3, LIMITS, state))


def invoke(api, payload, kind="application/json"):
    content = payload if isinstance(payload, str | bytes) else json.dumps(payload)
    return api.request("POST", "/invocations", content=content, headers={"content-type": kind})


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_split": {"columns": ["x", "c"], "data": ROWS}},
        {"dataframe_split": {"columns": ["c", "x"], "data": [[c, x] for x, c in ROWS]}},
        {"dataframe_split": {"index": [5, 9], "columns": ["x", "c"], "data": ROWS}},
        {"dataframe_split": {"data": ROWS}},
        {"dataframe_records": [{"x": 1.0, "c": "north"}, {"c": "south", "x": None}]},
        {"instances": [{"x": 1.0, "c": "north"}, {"x": None, "c": "south"}]},
        {"instances": ROWS},
        {"inputs": ROWS},
        {"inputs": {"x": [1.0, None], "c": ["north", "south"]}},
        {"inputs": ROWS, "params": {"temperature": 1}},
        '{"inputs": [[1.0, "north"], [NaN, "south"]]}',
    ],
)
def test_each_format_gives_a_list_of_predictions(api, payload):
    response = invoke(api, payload)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"predictions": pytest.approx(EXPECTED, abs=1e-6)}


@pytest.mark.parametrize(
    "kind", ["text/csv", "text/csv; charset=utf-8", 'Text/CSV;charset="UTF-8"']
)
@pytest.mark.parametrize(
    "text",
    [
        "x,c\n1.0,north\n,south\n",
        '"c",x\r\nnorth,1\r\n"south",NaN\r\n',
        "\ufeffx , c\n 1e0,north\n\nNA,south\n\n",
    ],
)
def test_a_csv_with_a_header_line(api, kind, text):
    response = invoke(api, text, kind)
    assert response.json() == {"predictions": pytest.approx(EXPECTED, abs=1e-6)}


def test_a_frame_as_mlflows_client_sends_it(api):
    """Its JSON contains NaN."""
    frame = pd.DataFrame(ROWS, columns=["x", "c"])
    sent = dump_input_data(frame)
    assert "NaN" in sent
    assert invoke(api, sent).json() == {"predictions": pytest.approx(EXPECTED, abs=1e-6)}


def test_no_rows_give_no_predictions(api):
    assert invoke(api, {"inputs": []}).json() == {"predictions": []}


@pytest.mark.parametrize(
    ("payload", "expected_message"),
    [
        ("{", "not JSON"),
        ("[]", "dataframe_split"),
        ("{}", "dataframe_split"),
        ({"inputs": ROWS, "instances": ROWS}, "one of"),
        ({"inputs": 5}, "'inputs'"),
        ({"inputs": [5]}, "rows"),
        ({"inputs": [[1.0]]}, "x, c"),
        ({"inputs": [["text", "north"]]}, "'x' of row 0"),
        ({"inputs": [[1.0, 5]]}, "'c' of row 0"),
        ('{"inputs": [[Infinity, "north"]]}', "'x'"),
        ({"inputs": {"x": [1.0]}}, "'c'"),
        ({"inputs": {"x": [1.0], "c": []}}, "lengths"),
        ({"inputs": {"x": 1.0, "c": "north"}}, "list"),
        ({"dataframe_split": ROWS}, "dataframe_split"),
        ({"dataframe_split": {"columns": "x", "data": ROWS}}, "columns"),
        ({"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}, "'c'"),
        ({"dataframe_split": {"columns": ["c", "x"], "data": [[1.0]]}}, "row 0"),
        ({"dataframe_split": {"columns": ["x", "c", "x"], "data": [[1, "a", 2]]}}, "twice"),
        ({"dataframe_records": ROWS}, "dataframe_records"),
        ({"dataframe_records": [{"x": 1.0}]}, "'c'"),
        ({"dataframe_records": [{"x": 1.0, "c": "a"}, {"x": 1.0}]}, "row 1 lacks the feature 'c'"),
        ({"dataframe_records": [{"x": 1.0, "c": "a"}, {"x": 1.0, "cc": "a"}]}, "row 1: unknown"),
        ({"instances": [{"x": 1.0, "c": "a", "id": 4}]}, "row 0: unknown feature 'id'"),
        ({"inputs": [[1.0, "a"], [1.0, "a", 2]]}, "row 1 has 3 values"),
        ({"inputs": {"x": [1.0], "c": ["a"], "id": [4]}}, "unknown feature 'id'"),
        ({"dataframe_split": {"columns": ["x", "c"], "data": [[1, "a"], [1]]}}, "row 1 has 1 val"),
        ({"dataframe_split": {"columns": ["x", "c"], "data": [[1, "a", 2]]}}, "row 0 has 3 values"),
        ({"dataframe_split": {"columns": ["c", "x"], "data": [["a", 1, 2]]}}, "row 0 has 3 values"),
        ({"dataframe_split": {"columns": ["id", "x", "c"], "data": [[7, 1, "a"]]}}, "'id'"),
        ({"dataframe_split": {"columns": ["x", "c", 5], "data": []}}, "list of names"),
        ('{"dataframe_records": [{"x": 1.0, "c": "a", "x": 2.0}]}', "'x' is given twice"),
        ('{"inputs": {"x": [1.0], "c": ["a"], "x": [2.0]}}', "'x' is given twice"),
        ('{"dataframe_split": {"data": [[1.0, "a"]], "data": [[2.0, "a"]]}}', "'data' is given"),
        ('{"inputs": [[1.0, "a"]], "inputs": [[2.0, "a"]]}', "'inputs' is given twice"),
    ],
)
def test_a_schema_error_is_400_in_mlflows_format(api, payload, expected_message):
    response = invoke(api, payload)
    assert response.status_code == 400
    assert set(response.json()) == {"error_code", "message"}
    assert response.json()["error_code"] == "BAD_REQUEST"
    assert expected_message in response.json()["message"]


@pytest.mark.parametrize(
    ("text", "expected_message"),
    [
        ("", "empty"),
        ("x\n1\n", "'c'"),
        ("x,c\n1\n", "row 0 (line 2) has 1 values for 2 columns"),
        ("x,c\none,north\n", "'x'"),
        ("x,c\n1,north,\n", "row 0 (line 2) has 3 values"),
        ("x,c\n1,north\n1,north,9\n", "row 1 (line 3) has 3 values"),
        ("x,c\n1,north,9\n1,north\n", "row 0 (line 2) has 3 values"),
        ("c,x\nnorth,4,5\n", "row 0 (line 2) has 3 values"),
        ("x,c\nkey7,1,north\n", "row 0 (line 2) has 3 values"),
        ('x,c\n\n1,"no\nrth",2\n', "row 0 (line 4) has 3 values"),
        ("x,c,id\n1,north,5\n", "unknown feature 'id'"),
        ("x,c,c\n1,north,5\n", "'c' is given twice"),
        ("x,c,\n1,north,5\n", "unknown feature ''"),
        ("x,c\n1_000,north\n", "'x' of row 0"),
        ("x,c\n\u0661\u0662,north\n", "'x' of row 0"),
        ("x,c\ninf,north\n", "'x' of row 0"),
        ("x,c\n0x10,north\n", "'x' of row 0"),
        ("x;c\n1;north\n", "unknown feature 'x;c'"),
    ],
)
def test_a_csv_that_does_not_fit_is_400(api, text, expected_message):
    response = invoke(api, text, "text/csv")
    assert response.status_code == 400
    assert expected_message in response.json()["message"]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json; charset=latin-1"])
def test_another_content_type_is_415(api, kind):
    assert invoke(api, {"inputs": ROWS}, kind).status_code == 415


def test_limits_apply_to_invocations(api):
    assert invoke(api, {"inputs": [[1.0, None]] * 5}).status_code == 413
    assert invoke(api, " " * 5_000).status_code == 413


def test_invocations_require_the_token(bundle, state):
    api = Api(make_app(bundle, 3, LIMITS, state, token="s3cret"))
    response = invoke(api, {"inputs": ROWS})
    assert (response.status_code, response.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_mlflows_health_and_version_paths(api, state):
    assert api.get("/ping").status_code == api.get("/health").status_code == 200
    assert api.get("/version").text
    state.draining = True
    assert api.get("/ping").status_code == api.get("/health").status_code == 503


def test_a_category_that_looks_like_a_missing_value_is_a_category(bundle, state):
    x, _ = bundle.schema.features
    bundle.schema = FeatureSchema((x, Feature("c", "categorical", ("NA", "south"))))
    api = Api(make_app(bundle, 3, LIMITS, state))
    known = invoke(api, {"inputs": [[1.0, "NA"]]}).json()
    assert invoke(api, "x,c\n1,NA\n", "text/csv").json() == known
    assert invoke(api, "x,c\n1,None\n", "text/csv").json() != known


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_split": {"columns": ["x"], "data": [[1.0]]}},
        {"dataframe_split": {"data": [[1.0]]}},
        {"dataframe_records": [{"x": 1.0}]},
        {"inputs": [[1.0]]},
        {"inputs": {"x": [1.0]}},
        "x\n1.0\n",
    ],
)
def test_an_optional_feature_may_be_left_out(bundle, state, payload):
    x, c = bundle.schema.features
    bundle.schema = FeatureSchema((x, replace(c, optional=True)))
    api = Api(make_app(bundle, 3, LIMITS, state))
    kind = "text/csv" if isinstance(payload, str) else "application/json"
    expected = invoke(api, {"inputs": [[1.0, None]]}).json()
    assert invoke(api, payload, kind).json() == expected
