"""The HTTP contract, request by request, over the ASGI application."""

import asyncio
import json
import math

import httpx
import pytest

from pipeline.serving.app import Limits, make_app
from pipeline.serving.forms import parse
from pipeline.serving.requests import RequestError
from tests.serving.conftest import Api

LIMITS = Limits(max_body=2_000, max_rows=4)


@pytest.fixture
def api(bundle, state):
    return Api(make_app(bundle, 3, LIMITS, state))


class TestPredict:
    def test_a_row_gives_a_probability_and_the_version(self, api):
        response = api.predict([1.0, "north"])
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json() == {
            "probability": pytest.approx(1 / (1 + math.exp(-1.5)), abs=1e-6),
            "model_version": 3,
        }

    def test_a_list_of_rows_gives_a_list_in_order(self, api):
        rows = [[1.0, "north"], [None, None]]
        together = api.predict(rows).json()
        assert together == [api.predict(row).json() for row in rows]

    def test_a_list_of_one_row_gives_a_list(self, api):
        assert len(api.predict([[1.0, "north"]]).json()) == 1

    def test_null_is_missing(self, api):
        assert api.predict([None, None]).json()["probability"] == 0.5

    def test_an_integer_is_a_number(self, api):
        assert api.predict([1, None]).json() == api.predict([1.0, None]).json()

    def test_a_category_that_training_never_saw_is_missing_by_default(self, api):
        assert api.predict([1.0, "west"]).json() == api.predict([1.0, None]).json()

    def test_escapes_and_other_scripts_are_text(self, api):
        plain = b'{"features": [1.0, "north"]}'
        escaped = b'{"\\u0066eatures": [1.0, "\\u006eorth"]}'
        assert api.predict(content=plain).json() == api.predict(content=escaped).json()
        assert api.predict([1.0, "काठमाडौं"]).status_code == 200

    def test_a_bundle_without_a_number_says_null(self, bundle, state):
        answer = Api(make_app(bundle, None, LIMITS, state)).predict([1.0, None]).json()
        assert answer["model_version"] is None


class TestRefused:
    @pytest.mark.parametrize(
        ("row", "told"),
        [
            ([1.0], "x, c"),
            ([1.0, "north", 2.0], "x, c"),
            ([], "x, c"),
            ([[1.0]], "x, c"),
            (["text", "north"], "'x'"),
            (["1.0", "north"], "'x'"),
            ([True, "north"], "'x'"),
            ([[1.0], "north"], "x, c"),
            ([{}, "north"], "'x'"),
            ([1e39, "north"], "'x'"),
            ([1.0, 2.0], "'c'"),
            ([1.0, ["north"]], "'c'"),
            ([1.0, False], "'c'"),
            ([[1.0, "north"], 5], "row 1"),
            ([[1.0, "north"], [1.0, 5]], "'c' of row 1"),
        ],
    )
    def test_a_row_that_does_not_fit_is_422_and_names_the_place(self, api, row, told):
        response = api.predict(row)
        assert response.status_code == 422
        assert list(response.json()) == ["error"]
        assert told in response.json()["error"]

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
    def test_what_is_no_finite_number_is_422_and_names_the_feature(self, api, number):
        response = api.predict(content=f'{{"features": [{number}, "north"]}}')
        assert response.status_code == 422
        assert "'x'" in response.json()["error"]

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b'{"features": ["\xff"]}',
            b'{"features": [1.0, "north"]} x',
            b'{"features": [1.0, "north"], "features": [2.0, "north"]}',
            b'{"features": [1.0, "north"], "\\u0066eatures": [2.0, "north"]}',
            b'{"features": [1.0, "\\q"]}',
            b'{"features": ' + b"[" * 900,
        ],
    )
    def test_what_is_not_json_or_has_a_key_twice_is_400(self, api, body):
        response = api.predict(content=body)
        assert response.status_code == 400
        assert response.json()["error"].startswith("the body is not JSON")

    def test_deep_nesting_is_no_fault(self, bundle, state):
        api = Api(make_app(bundle, 3, Limits(max_body=1_000_000, max_rows=4), state))
        body = b'{"features": ' + b"[" * 400_000 + b"]" * 400_000 + b"}"
        assert api.predict(content=body).status_code in (400, 422)

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b"1",
            b"{}",
            b'{"rows": []}',
            b'{"features": {}}',
            b'{"features": null}',
            b'{"features": [1.0, "north"], "id": 5}',
        ],
    )
    def test_another_shape_is_422(self, api, body):
        assert api.predict(content=body).status_code == 422

    def test_a_lone_surrogate_is_answered(self, api):
        response = api.predict(content=b'{"features": ["\\ud800", "north"]}')
        assert response.status_code == 422
        assert "'x'" in response.json()["error"]

    def test_too_many_rows_are_413(self, api):
        assert api.predict([[1.0, None]] * 4).status_code == 200
        response = api.predict([[1.0, None]] * 5)
        assert response.status_code == 413
        assert "at most 4" in response.json()["error"]

    def test_a_large_body_is_413(self, api):
        assert api.predict(content=b" " * 2_001).status_code == 413

    def test_a_large_body_without_a_length_is_not_read_to_its_end(self, api):
        read = []

        async def endless():
            while True:
                read.append(1)
                yield b" " * 500

        async def ask():
            transport = httpx.ASGITransport(api.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                return await client.post("/predict", content=endless())

        assert asyncio.run(ask()).status_code == 413
        assert len(read) < 10

    def test_a_compressed_body_is_415(self, api):
        response = api.predict([1.0, None], headers={"content-encoding": "gzip"})
        assert response.status_code == 415

    def test_no_message_is_long_or_shows_the_inside(self, api):
        message = api.predict(["t" * 1_500, "north"]).json()["error"]
        assert len(message) < 200
        assert "Traceback" not in message


class TestPaths:
    def test_health_and_metadata(self, api, bundle):
        assert api.request("GET", "/health/live").json() == {"status": "live"}
        assert api.request("GET", "/health/ready").json() == {"status": "ready"}
        told = api.request("GET", "/metadata").json()
        assert told["digest"] == bundle.digest
        assert told["model_version"] == 3
        assert [feature["name"] for feature in told["features"]] == ["x", "c"]
        assert told["features"][1]["categories"] == ["north", "south"]
        assert (told["max_body"], told["max_rows"]) == (2_000, 4)
        assert str(bundle.path) not in json.dumps(told)

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/", 404),
            ("GET", "/predict/", 404),
            ("POST", "/metadata/../x", 404),
            ("GET", "/predict", 405),
            ("PUT", "/predict", 405),
            ("POST", "/metadata", 405),
            ("DELETE", "/health/live", 405),
        ],
    )
    def test_others_are_json_errors(self, api, method, path, status):
        response = api.request(method, path)
        assert response.status_code == status
        assert list(response.json()) == ["error"]

    def test_while_draining_it_is_not_ready_and_closes_connections(self, api, state):
        state.draining = True
        response = api.request("GET", "/health/ready")
        assert response.status_code == 503
        answered = api.predict([1.0, None])
        assert answered.status_code == 200
        assert answered.headers["connection"] == "close"


class TestToken:
    @pytest.fixture
    def api(self, bundle, state):
        return Api(make_app(bundle, 3, LIMITS, state, token="s3cret"))

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer wrong", "Basic s3cret", "s3cret", "Bearer s3cret x"]
    )
    def test_without_the_right_one_nothing_is_told(self, api, header):
        headers = {} if header is None else {"authorization": header}
        for method, path in (("POST", "/predict"), ("GET", "/metadata")):
            response = api.request(method, path, headers=headers)
            assert response.status_code == 401
            assert "s3cret" not in response.text

    def test_with_it_both_answer(self, api):
        headers = {"authorization": "Bearer s3cret"}
        assert api.predict([1.0, None], headers=headers).status_code == 200
        assert api.request("GET", "/metadata", headers=headers).status_code == 200

    def test_health_needs_none(self, api):
        assert api.request("GET", "/health/live").status_code == 200
        assert api.request("GET", "/health/ready").status_code == 200


def test_a_fault_of_the_server_tells_nothing_of_it(bundle, state, monkeypatch):
    def broken(encoded):
        raise RuntimeError("secret path")

    app = make_app(bundle, 3, LIMITS, state)
    monkeypatch.setattr(bundle, "probabilities", broken)

    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.post("/predict", json={"features": [1.0, None]})

    response = asyncio.run(ask())
    assert response.status_code == 500
    assert "secret" not in response.text


class TestParse:
    def test_the_quick_way_and_the_careful_way_agree(self):
        values = [1.5, -2, None, "text", 1e-7]
        quick = json.dumps({"features": values}).encode()
        careful = json.dumps({"features": [*values, "\\"]}).encode()
        assert [*parse(quick), "\\"] == parse(careful)

    def test_the_word_features_as_a_category_is_no_second_key(self):
        assert parse(b'{"features": ["features"]}') == ["features"]

    def test_a_key_twice_is_refused(self):
        with pytest.raises(RequestError, match="twice"):
            parse(b'{"features": [1], "features": [2]}')
