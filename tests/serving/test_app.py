"""The HTTP contract, request by request, over the ASGI application."""

import asyncio
import json
import math
import shlex
from dataclasses import replace

import httpx
import pytest
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.serving.app import RequestLimits, make_app
from ml_pipeline.serving.examples import Examples
from ml_pipeline.serving.predict_formats import PredictFormat, by_position
from ml_pipeline.serving.prediction_log import PROBE
from ml_pipeline.serving.request_checks import RequestError

from tests.serving.conftest import Api

LIMITS = RequestLimits(max_body=2_000, max_rows=4)


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

    def test_an_unregistered_bundle_has_version_null(self, bundle, state):
        answer = Api(make_app(bundle, None, LIMITS, state)).predict([1.0, None]).json()
        assert answer["model_version"] is None


class TestRefused:
    @pytest.mark.parametrize(
        ("row", "expected_message"),
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
    def test_a_row_that_does_not_fit_is_422_and_names_the_place(self, api, row, expected_message):
        response = api.predict(row)
        assert response.status_code == 422
        assert list(response.json()) == ["error"]
        assert expected_message in response.json()["error"]

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 400])
    def test_a_number_that_is_not_finite_is_422_and_names_the_feature(self, api, number):
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
    def test_invalid_json_or_a_duplicate_key_is_400(self, api, body):
        response = api.predict(content=body)
        assert response.status_code == 400
        assert response.json()["error"].startswith("the body is not JSON")

    def test_deep_nesting_is_a_client_error(self, bundle, state):
        api = Api(make_app(bundle, 3, RequestLimits(max_body=1_000_000, max_rows=4), state))
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
    def test_another_structure_is_422(self, api, body):
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

    def test_error_messages_are_short_and_have_no_traceback(self, api):
        message = api.predict(["t" * 1_500, "north"]).json()["error"]
        assert len(message) < 200
        assert "Traceback" not in message


class TestPaths:
    def test_health_and_metadata(self, api, bundle):
        assert api.request("GET", "/health/live").json() == {"status": "live"}
        assert api.request("GET", "/health/ready").json() == {"status": "ready"}
        expected_message = api.request("GET", "/metadata").json()
        assert expected_message["digest"] == bundle.digest
        assert expected_message["model_version"] == 3
        assert [feature["name"] for feature in expected_message["features"]] == ["x", "c"]
        assert expected_message["features"][1]["categories"] == ["north", "south"]
        assert (expected_message["max_body"], expected_message["max_rows"]) == (2_000, 4)
        assert str(bundle.path) not in json.dumps(expected_message)

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
    def test_unknown_paths_and_methods_are_json_errors(self, api, method, path, status):
        response = api.request(method, path)
        assert response.status_code == status
        assert list(response.json()) == ["error"]

    @pytest.mark.parametrize(
        ("method", "path", "expected_message"),
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
    def test_a_wrong_method_names_the_allowed_one_with_an_example(
        self, api, method, path, expected_message
    ):
        response = api.request(method, path)
        message = response.json()["error"]
        assert message.startswith(expected_message)
        assert "http://HOST:PORT" + path in message
        allowed = response.headers["allow"]
        assert f"takes {allowed} and" in message

    def test_the_example_is_a_valid_request(self, api):
        """The example in the error is a request that the model accepts."""
        message = api.request("GET", "/predict").json()["error"]
        body = message.partition("-d '")[2].partition("' http")[0]
        assert api.request("POST", "/predict", content=body.encode()).status_code == 200

    def test_the_example_is_quoted_for_a_shell(self):
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
    def test_without_the_right_token_the_response_is_401(self, api, header):
        headers = {} if header is None else {"authorization": header}
        for method, path in (("POST", "/predict"), ("GET", "/metadata")):
            response = api.request(method, path, headers=headers)
            assert response.status_code == 401
            assert "s3cret" not in response.text

    def test_with_the_token_both_paths_respond(self, api):
        headers = {"authorization": "Bearer s3cret"}
        assert api.predict([1.0, None], headers=headers).status_code == 200
        assert api.request("GET", "/metadata", headers=headers).status_code == 200

    def test_health_needs_no_token(self, api):
        assert api.request("GET", "/health/live").status_code == 200
        assert api.request("GET", "/health/ready").status_code == 200


def test_an_internal_error_reveals_nothing(bundle, state, monkeypatch):
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
    """Rows by name, in any order."""

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
        ("body", "status", "expected_message"),
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
    def test_a_schema_error_names_the_row_and_the_feature(
        self, api, body, status, expected_message
    ):
        response = api.request("POST", "/predict", json=body)
        assert (response.status_code, list(response.json())) == (status, ["error"])
        assert expected_message in response.json()["error"]
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
    def test_a_number_that_is_not_finite_is_422_and_names_the_feature(self, api, number):
        response = api.predict(content=f'{{"rows": [{{"x": {number}, "c": null}}]}}')
        assert response.status_code == 422
        assert "'x' of row 0" in response.json()["error"]

    def test_rows_by_name_are_parsed_in_the_models_order(self, bundle):
        form = PredictFormat(3, bundle.schema)
        body = json.dumps({"rows": [self.ROW]}).encode()
        rows, many = form.parse(body, {})
        assert ([list(row) for row in rows], many) == ([[1.0, "north"]], True)
        assert json.loads(by_position(rows, many)) == {"features": [[1.0, "north"]]}


class TestContract:
    """A client may send the digest of its request contract."""

    FORMS = (
        {"features": [1.0, "north"]},
        {"features": [[1.0, "north"]]},
        {"features": {"x": 1.0, "c": "north"}},
        {"rows": [{"x": 1.0, "c": "north"}]},
    )

    @pytest.mark.parametrize("form", FORMS)
    def test_the_models_contract_is_accepted_and_another_is_409_with_both_digests(
        self, api, bundle, form
    ):
        own = api.get("/metadata").json()["contract"]
        assert own == bundle.schema.contract
        answer = api.request("POST", "/predict", json=form | {"contract": own})
        assert answer.json() == api.request("POST", "/predict", json=form).json()
        other = "f" * 64
        refused = api.request("POST", "/predict", json=form | {"contract": other})
        assert refused.status_code == 409
        assert own in refused.json()["error"]
        assert other in refused.json()["error"]

    @pytest.mark.parametrize("digest", [None, 5, "", [], {"a": 1}, "f" * 900])
    def test_an_invalid_digest_is_409(self, api, digest):
        body = {"features": [1.0, None], "contract": digest}
        response = api.request("POST", "/predict", json=body)
        assert response.status_code == 409
        assert len(response.json()["error"]) < 250

    def test_an_accepted_earlier_contract_is_accepted(self, bundle, state):
        bundle.schema = replace(bundle.schema, accepts=("a" * 64,))
        api = Api(make_app(bundle, 3, LIMITS, state))
        body = {"features": [1.0, None], "contract": "a" * 64}
        assert api.request("POST", "/predict", json=body).status_code == 200


class TestNeedsContract:
    """After a change of the order, a row by position needs the contract."""

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

    def test_rows_by_name_and_probes_need_no_contract(self, api):
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
    """An omitted optional feature is missing, by name and at the end of a row."""

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
    def test_an_optional_feature_may_be_omitted(self, api, form):
        if "contract" in form:
            form = form | {"contract": api.get("/metadata").json()["contract"]}
        expected = api.predict([1.0, None])
        assert api.request("POST", "/predict", json=form).json() == expected.json()

    def test_rows_with_and_without_the_optional_feature_can_be_mixed(self, api):
        expected = api.predict([[1.0, None], [1.0, "north"]]).json()
        assert api.predict([[1.0], [1.0, "north"]]).json() == expected
        rows = {"rows": [{"x": 1.0}, {"c": "north", "x": 1.0}]}
        assert api.request("POST", "/predict", json=rows).json() == expected

    def test_a_required_feature_may_not_be_omitted(self, api):
        assert "'x'" in api.request("POST", "/predict", json={"rows": [{"c": "a"}]}).text
        refused = api.predict([])
        assert refused.status_code == 422
        assert "the model takes 1 to 2: x, c" in refused.text


class TestNames:
    """Any name that a column of a table can have."""

    @pytest.mark.parametrize(
        "name", ["a:b", 'say "x"', "back\\slash", "rows", "features", "contract", "वर्ष", " ", "f0"]
    )
    def test_every_column_name_works_and_a_duplicate_is_refused(self, name):
        schema = FeatureSchema((Feature("x", "numeric"), Feature(name, "numeric")))
        form = PredictFormat(1, schema)
        body = json.dumps({"rows": [{name: 2, "x": 1}]}).encode()
        assert [[*row] for row in form.parse(body, {})[0]] == [[1, 2]]
        twice = b'{"features": {"x": 1, %b: 2, %b: 3}}' % ((json.dumps(name).encode(),) * 2)
        with pytest.raises(RequestError, match="twice"):
            form.parse(twice, {})


class TestParse:
    @pytest.fixture
    def form(self, bundle):
        return PredictFormat(1, bundle.schema)

    def test_fast_and_strict_parsing_agree(self, form):
        quick = json.dumps({"features": [1.5, "text"]}).encode()
        careful = json.dumps({"features": [1.5, "te:xt"]}).encode()
        assert form.parse(quick, {}) == ([[1.5, "text"]], False)
        assert form.parse(careful, {}) == ([[1.5, "te:xt"]], False)

    def test_a_category_called_features_is_no_duplicate_key(self, form):
        assert form.parse(b'{"features": [1, "features"]}', {}) == ([[1, "features"]], False)

    def test_a_key_twice_is_refused(self, form):
        with pytest.raises(RequestError, match="twice"):
            form.parse(b'{"features": [1], "features": [2]}', {})
