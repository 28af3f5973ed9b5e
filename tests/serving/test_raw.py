"""``POST /predict/raw`` of a real server, whose worker runs the bundle's code."""

import contextlib
import os
import subprocess
import sys
import time

import httpx
import psutil
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.serving import feature_worker_process
from ml_pipeline.serving.app import RequestLimits, ServerProcessState, make_app
from ml_pipeline.serving.feature_worker_process import RawRowLimits
from ml_pipeline.serving.prediction_log import read

from tests.raw_rows import CRASHES, ROW, make_raw_bundle, make_raw_project
from tests.servers import TOKEN, await_ready, free_port

HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def served(tmp_path_factory, write_bundle):
    """A server with raw rows: its process, a client, and the folder of its prediction log."""
    folder = tmp_path_factory.mktemp("raw")
    project = make_raw_project(folder / "project", package="served_features")
    bundle = make_raw_bundle(project, folder / "bundle", write_bundle)
    port = free_port()
    command = [sys.executable, "-P", "-m", "ml_pipeline.serving", "--bundle", str(bundle)]
    command += ["--port", str(port), "--version", "3", "--token-env", "SECRET"]
    command += ["--raw-seconds", "60", "--raw-rows", "50", "--predictions", str(folder / "log")]
    environment = os.environ | {"SECRET": TOKEN}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    await_ready(url)
    with httpx.Client(base_url=url, headers=HEADERS, timeout=120, trust_env=False) as client:
        yield psutil.Process(process.pid), client, folder / "log"
    process.terminate()
    process.wait(60)


def predict(client, rows, **more):
    return client.post("/predict/raw", json={"rows": rows} | more)


def test_raw_rows_get_the_predictions_of_their_features(served):
    _, client, _ = served
    response = predict(client, [ROW, ROW | {"spent": 3.0}], since="2024-01-01")
    assert response.status_code == 200
    direct = client.post("/predict", json={"features": [[1.5, "north"], [0.5, "north"]]}).json()
    assert response.json() == {
        "predictions": [
            {"row": row, "probability": each["probability"]} for row, each in enumerate(direct)
        ],
        "model_version": 3,
        "set_aside": [],
    }
    assert response.headers["x-request-id"]


def test_the_worker_does_not_get_the_token(served):
    """The feature x would be larger by 1 if SECRET were in the worker's environment."""
    _, client, _ = served
    alone = client.post("/predict", json={"features": [1.5, "north"]}).json()["probability"]
    assert predict(client, [ROW]).json()["predictions"][0]["probability"] == alone


def counted(client):
    lines = client.get("/metrics").text.splitlines()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_features_of_raw_rows_are_counted(served):
    _, client, _ = served
    before = counted(client)
    assert predict(client, [ROW, ROW | {"spent": 3.0}]).status_code == 200
    after = counted(client)
    assert after["ml_serving_rows_total"] - before["ml_serving_rows_total"] == 2
    name = 'ml_serving_feature_out_of_range_total{feature="x"}'
    assert after[name] - before[name] == 2, "the bundle has no range of x"


def test_features_are_in_the_prediction_log(served):
    _, client, log = served
    headers = {"x-request-id": "raw-rows-of-a-test"}
    client.post("/predict/raw", json={"rows": [ROW]}, headers=headers)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        response = [e for _, e in read(log) if e.request_id == "raw-rows-of-a-test"]
        if response:
            break
        time.sleep(0.05)
    assert [entry.features for entry in response] == [[[1.5, "north"]]]


@pytest.mark.parametrize(
    ("body", "status", "expected_message"),
    [
        ({"rows": [ROW | {"client": None}]}, 422, "customer_present"),
        ({"rows": [ROW] * 51}, 413, "51 rows; at most 50 in one request"),
        ({"features": [1.5, "north"]}, 422, "expected an object"),
    ],
)
def test_invalid_raw_rows_are_refused(served, body, status, expected_message):
    _, client, _ = served
    response = client.post("/predict/raw", json=body)
    assert (response.status_code, expected_message in response.json()["error"]) == (status, True), (
        response.text
    )


def test_raw_rows_that_do_not_fit_are_refused_for_their_features(served):
    _, client, _ = served
    before = counted(client)
    assert predict(client, [ROW | {"client": None}]).status_code == 422
    records = {"dataframe_records": [{"spent": 3.0}]}
    assert client.post("/invocations", json=records).status_code == 400
    after = counted(client)
    name = 'ml_serving_refused_total{reason="features"}'
    assert after[name] - before[name] == 2


def test_a_lone_surrogate_is_a_client_error(served):
    """A 500 would count against the version during ``watch``."""
    _, client, _ = served
    body = b'{"dataframe_records": [{"day": "2024-01-02", "client": "\\ud800"}]}'
    headers = {"content-type": "application/json"}
    response = client.post("/invocations", content=body, headers=headers)
    assert (response.status_code, "surrogate" in response.text) == (400, True), response.text


def test_raw_rows_require_the_token(served):
    _, client, _ = served
    response = client.post("/predict/raw", json={"rows": [ROW]}, headers={"authorization": "none"})
    assert response.status_code == 401


CSV_ROWS = "day,client,spent,visits,c\n2024-01-02,007,9.0,6,north\n2024-01-02,8,,6,south\n"
ROWS = [ROW, ROW | {"client": "8", "spent": None, "c": "south"}]


@pytest.mark.parametrize(
    "request_options",
    [
        {"json": {"dataframe_records": ROWS}},
        {"json": {"instances": ROWS}},
        {
            "json": {
                "dataframe_split": {"columns": list(ROW), "data": [[*row.values()] for row in ROWS]}
            }
        },
        {"content": CSV_ROWS, "headers": {"content-type": "text/csv"}},
    ],
    ids=["records", "instances", "split", "csv"],
)
def test_invocations_take_raw_columns(served, request_options):
    _, client, _ = served
    response = client.post("/invocations", **request_options)
    assert response.status_code == 200, response.text
    direct = client.post("/predict", json={"features": [[1.5, "north"], [None, "south"]]}).json()
    assert response.json() == {"predictions": [each["probability"] for each in direct]}


def test_an_error_of_invocations_gives_both_reasons(served):
    _, client, _ = served
    rows = [{"x": 1.0, "city": "north"}]
    response = client.post("/invocations", json={"dataframe_records": rows})
    assert response.status_code == 400
    assert "; as raw rows: row 0 lacks the columns 'c', " in response.json()["message"]


def test_a_crash_of_the_worker_affects_no_other_request(served):
    server, client, _ = served
    predict(client, [ROW])
    response = predict(client, [CRASHES])
    expected_message = "the feature worker failed: it ended with 7; retry later"
    assert (response.status_code, response.json()["error"]) == (503, expected_message)
    assert client.post("/predict", json={"features": [1.5, "north"]}).status_code == 200
    assert predict(client, [ROW]).status_code == 200
    assert len(server.children()) == 1


@pytest.mark.slow
def test_it_ends_with_its_server(served):
    server, client, _ = served
    predict(client, [ROW])
    (worker,) = server.children()
    server.kill()
    with contextlib.suppress(psutil.NoSuchProcess):
        worker.wait(60)
    assert not worker.is_running()


class TestApplication:
    @pytest.fixture
    def bundle(self, make_bundle):
        return Bundle.open(make_bundle())

    def test_enabled_raw_rows_are_in_the_document(self, bundle):
        from tests.serving.conftest import Api

        app = make_app(
            bundle, 3, RequestLimits(1000, 3), ServerProcessState(), raw=RawRowLimits(max_rows=7)
        )
        described = Api(app).get("/openapi.json").json()["paths"]["/predict/raw"]["post"]
        body = described["requestBody"]["content"]["application/json"]["schema"]
        assert body["properties"]["rows"]["maxItems"] == 7
        assert "501" in described["responses"]

    def test_without_a_worker_a_missing_feature_is_a_client_error(self, bundle, monkeypatch):
        """Otherwise any client could cause a rollback during ``watch``."""
        from tests.serving.conftest import Api

        monkeypatch.setattr(
            feature_worker_process, "REQUIRED_MODULES", ("ml_pipeline.no_such_room",)
        )
        api = Api(
            make_app(bundle, 3, RequestLimits(1000, 3), ServerProcessState(), raw=RawRowLimits())
        )
        response = api.request("POST", "/invocations", json={"dataframe_records": [{"spent": 1}]})
        assert response.status_code == 400
        assert (
            "; as raw rows: the packages that compute features are not installed"
            in response.json()["message"]
        )
        counted = [
            line for line in api.get("/metrics").text.splitlines() if "_requests_total{" in line
        ]
        assert counted == ['ml_serving_requests_total{path="/predict/raw",status="400"} 1.0']
        assert 'ml_serving_refused_total{reason="features"} 1.0' in api.get("/metrics").text

    @pytest.mark.slow
    def test_disabled_raw_rows_are_404(self, bundle):
        from tests.serving.conftest import Api

        api = Api(make_app(bundle, 3, RequestLimits(1000, 3), ServerProcessState()))
        assert api.request("POST", "/predict/raw", json={"rows": [ROW]}).status_code == 404
        assert "/predict/raw" not in api.get("/openapi.json").json()["paths"]
