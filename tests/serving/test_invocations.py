"""What a client of MLflow's scoring server sends, it may send here."""

import json
import math

import pandas as pd
import pytest
from mlflow.utils.proto_json_utils import dump_input_data

from pipeline.serving.app import Limits, make_app
from tests.serving.conftest import Api

ROWS = [[1.0, "north"], [None, "south"]]
EXPECTED = [1 / (1 + math.exp(-1.5)), 1 / (1 + math.exp(0.5))]
LIMITS = Limits(max_body=4_000, max_rows=4)


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
        {"dataframe_split": {"columns": ["id", "x", "c"], "data": [[7, *row] for row in ROWS]}},
        {"dataframe_records": [{"x": 1.0, "c": "north"}, {"c": "south", "id": 4}]},
        {"instances": [{"x": 1.0, "c": "north"}, {"x": None, "c": "south"}]},
        {"instances": ROWS},
        {"inputs": ROWS},
        {"inputs": {"x": [1.0, None], "c": ["north", "south"]}},
        {"inputs": ROWS, "params": {"temperature": 1}},
        '{"inputs": [[1.0, "north"], [NaN, "south"]]}',
    ],
)
def test_each_form_gives_a_list_of_predictions(api, payload):
    response = invoke(api, payload)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"predictions": pytest.approx(EXPECTED, abs=1e-6)}


@pytest.mark.parametrize(
    "kind", ["text/csv", "text/csv; charset=utf-8", 'Text/CSV;charset="UTF-8"']
)
@pytest.mark.parametrize(
    "text", ["x,c\n1.0,north\n,south\n", '"c",x\r\nnorth,1\r\n"south",NaN\r\n']
)
def test_a_csv_with_a_line_of_names(api, kind, text):
    response = invoke(api, text, kind)
    assert response.json() == {"predictions": pytest.approx(EXPECTED, abs=1e-6)}


def test_what_mlflows_client_sends_of_a_frame(api):
    """Its JSON has NaN where the frame has."""
    frame = pd.DataFrame(ROWS, columns=["x", "c"])
    sent = dump_input_data(frame)
    assert "NaN" in sent
    assert invoke(api, sent).json() == {"predictions": pytest.approx(EXPECTED, abs=1e-6)}


def test_no_rows_give_no_predictions(api):
    assert invoke(api, {"inputs": []}).json() == {"predictions": []}


@pytest.mark.parametrize(
    ("payload", "told"),
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
    ],
)
def test_what_does_not_fit_is_400_as_mlflow_says_it(api, payload, told):
    response = invoke(api, payload)
    assert response.status_code == 400
    assert set(response.json()) == {"error_code", "message"}
    assert response.json()["error_code"] == "BAD_REQUEST"
    assert told in response.json()["message"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "empty"), ("x\n1\n", "'c'"), ("x,c\n1\n", "1 values"), ("x,c\none,north\n", "'x'")],
)
def test_a_csv_that_does_not_fit_is_400(api, text, told):
    response = invoke(api, text, "text/csv")
    assert response.status_code == 400
    assert told in response.json()["message"]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json; charset=latin-1"])
def test_another_content_type_is_415(api, kind):
    assert invoke(api, {"inputs": ROWS}, kind).status_code == 415


def test_limits_hold_here_too(api):
    assert invoke(api, {"inputs": [[1.0, None]] * 5}).status_code == 413
    assert invoke(api, " " * 5_000).status_code == 413


def test_the_token_is_asked_for(bundle, state):
    api = Api(make_app(bundle, 3, LIMITS, state, token="s3cret"))
    response = invoke(api, {"inputs": ROWS})
    assert (response.status_code, response.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_its_other_paths(api, state):
    assert api.get("/ping").status_code == api.get("/health").status_code == 200
    assert api.get("/version").text
    state.draining = True
    assert api.get("/ping").status_code == api.get("/health").status_code == 503
