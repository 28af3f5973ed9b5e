"""The HTTP contract, request by request, over the ASGI application."""

import asyncio
import json
import math
import shlex
from dataclasses import replace

import httpx
import pytest
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.serving.app import Limits, make_app
from ml_pipeline.serving.examples import Examples
from ml_pipeline.serving.predict_formats import Features, by_position
from ml_pipeline.serving.prediction_log import PROBE
from ml_pipeline.serving.requests import RequestError

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
        listed = api.predict(rows).json()
        assert listed == [api.predict(row).json() for row in rows]

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

    @pytest.mark.parametrize(
        ("method", "path", "told"),
        [
            (
                "GET",
                "/predict",
                (
                    "/predict takes POST and no other method; for example: curl "
                    "-H 'content-type: application/json' -d '{\"features\": {"
                ),
            ),
            (
                "GET",
                "/invocations",
                (
                    "/invocations takes POST and no other method; for example: curl "
                    "-H 'content-type: application/json' -d '{\"dataframe_records\": [{"
                ),
            ),
            ("POST", "/health/live", "/health/live takes "),
        ],
    )
    def test_another_method_is_answered_with_the_right_one_and_an_example(
        self, api, method, path, told
    ):
        response = api.request(method, path)
        message = response.json()["error"]
        assert message.startswith(told)
        assert "http://HOST:PORT" + path in message
        allowed = response.headers["allow"]
        assert f"takes {allowed} and" in message

    def test_the_example_is_answered(self, api):
        """What a client copies from the refusal is a request that the model takes."""
        message = api.request("GET", "/predict").json()["error"]
        body = message.partition("-d '")[2].partition("' http")[0]
        assert api.request("POST", "/predict", content=body.encode()).status_code == 200

    def test_the_example_is_one_argument_of_a_shell_whatever_a_category_is_called(self):
        schema = FeatureSchema((Feature("name", "categorical", categories=("O'Brien; id #",)),))
        words = shlex.split(Examples(schema).command("/predict"))
        assert json.loads(words[4]) == {"features": {"name": "O'Brien; id #"}}
        assert words[5:] == ["http://HOST:PORT/predict"]

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
    monkeypatch.setattr(bundle, "predict_list", broken)

    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
            return await client.post("/predict", json={"features": [1.0, None]})

    response = asyncio.run(ask())
    assert response.status_code == 500
    assert "secret" not in response.text


class TestByName:
    """Clients that name their features need not know an order."""

    ROW = {"c": "north", "x": 1.0}  # noqa: RUF012

    def test_one_row_and_a_list_of_rows_are_answered_as_by_position(self, api):
        one = api.request("POST", "/predict", json={"features": self.ROW})
        assert one.json() == api.predict([1.0, "north"]).json()
        rows = {"rows": [self.ROW, {"x": None, "c": None}]}
        many = api.request("POST", "/predict", json=rows)
        assert many.json() == api.predict([[1.0, "north"], [None, None]]).json()
        alone = api.request("POST", "/predict", json={"rows": [self.ROW]})
        assert alone.json() == [one.json()]

    @pytest.mark.parametrize(
        ("body", "status", "told"),
        [
            ({"rows": [{"x": 1.0, "cc": "north"}]}, 422, "row 0: unknown feature 'cc'; did you"),
            ({"rows": [ROW, {"x": 1.0}]}, 422, "row 1 lacks the feature 'c'; expected x, c"),
            ({"rows": [{**ROW, "id": 5}]}, 422, "row 0: unknown feature 'id'; expected x, c"),
            ({"rows": [{**ROW, "y" * 900: 5}]}, 422, "unknown feature 'yyy"),
            ({"rows": [{"x": "1.0", "c": "a"}]}, 422, "'x' of row 0"),
            ({"rows": [ROW, {"x": 1.0, "c": 5}]}, 422, "'c' of row 1"),
            ({"rows": [{"x": True, "c": None}]}, 422, "'x' of row 0"),
            ({"rows": [{"x": 1e39, "c": None}]}, 422, "'x' of row 0"),
            ({"rows": [{"X": 1.0, "c": "north"}]}, 422, "unknown feature 'X'"),
            ({"features": {}}, 422, "lacks the feature 'x'"),
            ({"features": {"x": 1.0}}, 422, "lacks the feature 'c'"),
            ({"features": [ROW]}, 422, "under 'rows'"),
            ({"rows": ROW}, 422, "'rows'"),
            ({"rows": []}, 422, "'rows'"),
            ({"rows": [[1.0, "north"]]}, 422, "by position"),
            ({"rows": [ROW], "features": ROW}, 422, "at once"),
            ({"rows": [ROW], "id": 5}, 422, "unknown keys"),
            ({"rows": [ROW] * 5}, 413, "at most 4"),
        ],
    )
    def test_what_does_not_fit_names_row_and_feature(self, api, body, status, told):
        response = api.request("POST", "/predict", json=body)
        assert (response.status_code, list(response.json())) == (status, ["error"])
        assert told in response.json()["error"]
        assert len(response.json()["error"]) < 200

    @pytest.mark.parametrize(
        "body",
        [
            '{"rows": [{"x": 1.0, "c": "north", "x": 2.0}]}',
            '{"rows": [{"x": 1.0, "c": "north", "\\u0078": 2.0}]}',
            '{"rows": [{"x": 1.0, "c": ":", "c": "north"}]}',
            '{"features": {"x": 1.0, "c": "north", "c": null}}',
            '{"rows": [{"x": 1.0, "c": null}], "rows": [{"x": 2.0, "c": null}]}',
            '{"rows": [{"x": 1.0, "c": null}], "contract": "a", "contract": "b"}',
        ],
    )
    def test_a_key_twice_is_400(self, api, body):
        response = api.predict(content=body)
        assert response.status_code == 400
        assert "is given twice" in response.json()["error"]

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 400])
    def test_what_is_no_finite_number_is_422_and_names_the_feature(self, api, number):
        response = api.predict(content=f'{{"rows": [{{"x": {number}, "c": null}}]}}')
        assert response.status_code == 422
        assert "'x' of row 0" in response.json()["error"]

    def test_the_prediction_is_logged_in_the_models_order(self, bundle):
        form = Features(3, bundle.schema)
        body = json.dumps({"rows": [self.ROW]}).encode()
        rows, many = form.parse(body, {})
        assert ([list(row) for row in rows], many) == ([[1.0, "north"]], True)
        assert json.loads(by_position(rows, many)) == {"features": [[1.0, "north"]]}


class TestContract:
    """A client may say which contract it was written for."""

    FORMS = (
        {"features": [1.0, "north"]},
        {"features": [[1.0, "north"]]},
        {"features": {"x": 1.0, "c": "north"}},
        {"rows": [{"x": 1.0, "c": "north"}]},
    )

    @pytest.mark.parametrize("form", FORMS)
    def test_its_own_is_accepted_and_another_is_409_with_both(self, api, bundle, form):
        own = api.get("/metadata").json()["contract"]
        assert own == bundle.schema.contract
        answer = api.request("POST", "/predict", json=form | {"contract": own})
        assert answer.json() == api.request("POST", "/predict", json=form).json()
        other = "f" * 64
        refused = api.request("POST", "/predict", json=form | {"contract": other})
        assert refused.status_code == 409
        assert own in refused.json()["error"]
        assert other in refused.json()["error"]

    @pytest.mark.parametrize("given", [None, 5, "", [], {"a": 1}, "f" * 900])
    def test_what_is_no_digest_is_409(self, api, given):
        body = {"features": [1.0, None], "contract": given}
        response = api.request("POST", "/predict", json=body)
        assert response.status_code == 409
        assert len(response.json()["error"]) < 250

    def test_one_that_this_model_succeeds_is_accepted(self, bundle, state):
        bundle.schema = replace(bundle.schema, accepts=("a" * 64,))
        api = Api(make_app(bundle, 3, LIMITS, state))
        body = {"features": [1.0, None], "contract": "a" * 64}
        assert api.request("POST", "/predict", json=body).status_code == 200


class TestNeedsContract:
    """After another order an old row by position must not be read as something else."""

    @pytest.fixture
    def api(self, bundle, state):
        bundle.schema = replace(bundle.schema, needs_contract=True)
        return Api(make_app(bundle, 3, LIMITS, state))

    @pytest.mark.parametrize("row", [[1.0, "north"], [[1.0, "north"]], [1.0, "no:th"]])
    def test_a_row_by_position_needs_the_digest(self, api, bundle, row):
        refused = api.predict(row)
        assert refused.status_code == 409
        assert bundle.schema.contract in refused.json()["error"]
        body = {"features": row, "contract": bundle.schema.contract}
        assert api.request("POST", "/predict", json=body).status_code == 200

    def test_names_need_none_and_neither_do_the_programs_own_probes(self, api):
        named = {"features": {"c": "north", "x": 1.0}}
        assert api.request("POST", "/predict", json=named).status_code == 200
        assert api.predict([1.0, "north"], headers={"x-request-id": PROBE}).status_code == 200

    @pytest.mark.parametrize(
        "body",
        [
            {"inputs": [[1.0, "north"]]},
            {"instances": [[1.0, "north"]]},
            {"dataframe_split": {"data": [[1.0, "north"]]}},
        ],
    )
    def test_invocations_take_rows_with_names_only(self, api, body):
        refused = api.request("POST", "/invocations", json=body)
        assert refused.status_code == 400
        assert "the rows have no names" in refused.json()["message"]
        named = {"dataframe_split": {"columns": ["c", "x"], "data": [["north", 1.0]]}}
        assert api.request("POST", "/invocations", json=named).status_code == 200


class TestOptional:
    """A feature that may be left out is missing then, by name and at the end of a row."""

    @pytest.fixture
    def api(self, bundle, state):
        x, c = bundle.schema.features
        bundle.schema = FeatureSchema((x, replace(c, optional=True)))
        return Api(make_app(bundle, 3, LIMITS, state))

    @pytest.mark.parametrize(
        "form",
        [
            {"features": [1.0]},
            {"features": {"x": 1.0}},
            {"features": [1.0], "contract": None},
        ],
    )
    def test_it_may_be_left_out(self, api, form):
        if "contract" in form:
            form = form | {"contract": api.get("/metadata").json()["contract"]}
        expected = api.predict([1.0, None])
        assert api.request("POST", "/predict", json=form).json() == expected.json()

    def test_rows_of_either_length_stand_side_by_side(self, api):
        expected = api.predict([[1.0, None], [1.0, "north"]]).json()
        assert api.predict([[1.0], [1.0, "north"]]).json() == expected
        rows = {"rows": [{"x": 1.0}, {"c": "north", "x": 1.0}]}
        assert api.request("POST", "/predict", json=rows).json() == expected

    def test_a_required_one_may_not(self, api):
        assert "'x'" in api.request("POST", "/predict", json={"rows": [{"c": "a"}]}).text
        refused = api.predict([])
        assert refused.status_code == 422
        assert "the model takes 1 to 2: x, c" in refused.text


class TestNames:
    """Any name that a column of a table can have."""

    @pytest.mark.parametrize(
        "name", ["a:b", 'say "x"', "back\\slash", "rows", "features", "contract", "वर्ष", " ", "f0"]
    )
    def test_each_is_answered_by_name_and_a_duplicate_is_refused(self, name):
        schema = FeatureSchema((Feature("x", "numeric"), Feature(name, "numeric")))
        form = Features(1, schema)
        body = json.dumps({"rows": [{name: 2, "x": 1}]}).encode()
        assert [[*row] for row in form.parse(body, {})[0]] == [[1, 2]]
        twice = b'{"features": {"x": 1, %b: 2, %b: 3}}' % ((json.dumps(name).encode(),) * 2)
        with pytest.raises(RequestError, match="twice"):
            form.parse(twice, {})


class TestParse:
    @pytest.fixture
    def form(self, bundle):
        return Features(1, bundle.schema)

    def test_the_quick_way_and_the_careful_way_agree(self, form):
        quick = json.dumps({"features": [1.5, "text"]}).encode()
        careful = json.dumps({"features": [1.5, "te:xt"]}).encode()
        assert form.parse(quick, {}) == ([[1.5, "text"]], False)
        assert form.parse(careful, {}) == ([[1.5, "te:xt"]], False)

    def test_the_word_features_as_a_category_is_no_second_key(self, form):
        assert form.parse(b'{"features": [1, "features"]}', {}) == ([[1, "features"]], False)

    def test_a_key_twice_is_refused(self, form):
        with pytest.raises(RequestError, match="twice"):
            form.parse(b'{"features": [1], "features": [2]}', {})
