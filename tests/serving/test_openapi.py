"""The OpenAPI document, and whether the API conforms to it."""

import json
import re
from html.parser import HTMLParser

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.serving import openapi
from ml_pipeline.serving.app import PATHS, RequestLimits, make_app
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS

from tests.serving.conftest import Api

LIMITS = RequestLimits(max_body=20_000, max_rows=3)
POSTED = ("/predict", "/invocations")
CHECKED = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)


@pytest.fixture
def app(bundle, state):
    return make_app(bundle, 3, LIMITS, state)


@pytest.fixture
def api(app):
    return Api(app)


@pytest.mark.parametrize("path", PATHS)
def test_valid_requests_get_the_documented_responses(app, path):
    assert 200 in fuzzed(app, path, GenerationMode.POSITIVE)


@pytest.mark.parametrize("path", POSTED)
def test_invalid_requests_get_documented_errors(app, path):
    assert fuzzed(app, path, GenerationMode.NEGATIVE) & {400, 415, 422}


def fuzzed(app, path, mode):
    """Send requests that schemathesis generates, check each response, return the statuses."""
    described = schemathesis.openapi.from_asgi("/openapi.json", app)
    method = "POST" if path in POSTED else "GET"
    checks = CHECKS.get_by_names(CHECKED)
    seen = set()

    @settings(
        max_examples=60 if method == "POST" else 3,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described[path][method].as_strategy(generation_mode=mode))
    def ask(case):
        response = case.call()
        seen.add(response.status_code)
        case.validate_response(response, checks=checks)

    ask()
    return seen


class TestDocument:
    def test_the_document_has_every_path(self, api):
        document = api.get("/openapi.json").json()
        assert set(document["paths"]) == set(PATHS)
        assert document["openapi"].startswith("3.1")

    @pytest.mark.parametrize(
        ("row", "fits"),
        [
            ([1.0, "north"], True),
            ([None, None], True),
            ([1, "west"], True),
            ([1.0], False),
            ([1.0, "north", 1], False),
            (["1.0", "north"], False),
            ([True, "north"], False),
            ([1.0, 5], False),
            ([1e39, "north"], False),
        ],
    )
    def test_exactly_the_rows_that_match_the_schema_are_predicted(self, api, row, fits):
        document = api.get("/openapi.json").json()
        body = {"features": row}
        schema = {"$ref": "#/components/schemas/Row", "components": document["components"]}
        assert jsonschema.Draft202012Validator(schema).is_valid(row) == fits
        assert api.request("POST", "/predict", json=body).status_code == (200 if fits else 422)

    @pytest.mark.parametrize(
        ("record", "fits"),
        [
            ({"x": 1.0, "c": "north"}, True),
            ({"c": None, "x": None}, True),
            ({"x": 1, "c": "west"}, True),
            ({"x": 1.0}, False),
            ({"x": 1.0, "c": "north", "id": 1}, False),
            ({"x": "1.0", "c": "north"}, False),
            ({"x": True, "c": "north"}, False),
            ({"x": 1.0, "c": 5}, False),
            ([1.0, "north"], False),
        ],
    )
    def test_exactly_the_records_that_match_the_schema_are_predicted(self, api, record, fits):
        document = api.get("/openapi.json").json()
        schema = {"$ref": "#/components/schemas/Record", "components": document["components"]}
        assert jsonschema.Draft202012Validator(schema).is_valid(record) == fits
        response = api.request("POST", "/predict", json={"rows": [record]})
        assert response.status_code == (200 if fits else 422)

    def test_an_optional_feature_is_not_required(self):
        features = (Feature("a", "numeric"), Feature("b", "numeric", optional=True))
        document = openapi.document(FeatureSchema(features), max_rows=1, version="1", secured=False)
        schemas = document["components"]["schemas"]
        assert schemas["Record"]["required"] == ["a"]
        assert (schemas["Row"]["minItems"], schemas["Row"]["maxItems"]) == (1, 2)

    @pytest.mark.parametrize("needs", [False, True])
    def test_whether_a_row_by_position_needs_the_contract(self, needs):
        schema = FeatureSchema((Feature("a", "numeric"),), needs_contract=needs)
        document = openapi.document(schema, max_rows=1, version="1", secured=False)
        content = document["paths"]["/predict"]["post"]["requestBody"]["content"]
        described = content["application/json"]["schema"] | {"components": document["components"]}
        fits = jsonschema.Draft202012Validator(described).is_valid
        assert fits({"features": [1.0]}) != needs
        assert fits({"features": [1.0], "contract": schema.contract})
        assert fits({"features": {"a": 1.0}})
        assert fits({"rows": [{"a": 1.0}]})
        assert not fits({"rows": [[1.0]]})
        assert not fits({"features": [1.0], "contract": "0" * 64})

    def test_categories_are_an_enum_if_unseen_ones_are_refused(self):
        schema = FeatureSchema((Feature("c", "categorical", ("a", "b")),), "refuse")
        document = openapi.document(schema, max_rows=1, version="1", secured=False)
        items = document["components"]["schemas"]["Row"]["prefixItems"]
        assert items == [{"title": "c", "enum": ["a", "b", None]}]

    def test_with_a_token_the_document_marks_the_secured_paths(self, bundle, state):
        api = Api(make_app(bundle, 3, LIMITS, state, token="s3cret"))
        assert api.get("/openapi.json").status_code == 401
        headers = {"authorization": "Bearer s3cret"}
        document = api.get("/openapi.json", headers=headers).json()
        secured = {
            path
            for path, operations in document["paths"].items()
            if any("security" in operation for operation in operations.values())
        }
        assert secured == {"/predict", "/invocations", "/metadata", "/metrics", "/openapi.json"}
        for path in PATHS:
            method = "POST" if path in POSTED else "GET"
            refused = api.request(method, path).status_code == 401
            assert refused == (path in secured), path


class ParsedPage(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


class TestPage:
    def test_the_page_names_every_path(self, api):
        text = api.get("/docs").text
        for path in PATHS:
            assert f" {path}</code>" in text

    def test_the_page_loads_nothing_and_has_a_strict_policy(self, api):
        response = api.get("/docs")
        page = ParsedPage(response.text)
        assert not page.tags & {"script", "link", "img", "iframe", "form", "object"}
        assert not page.attributes & {"src", "href", "style", "onclick"}
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert re.search(r"style-src 'sha256-[A-Za-z0-9+/]+='", policy)

    def test_the_page_contains_nothing_about_the_model(self, bundle, state):
        api = Api(make_app(bundle, 3, LIMITS, state, token="s3cret"))
        text = api.get("/docs").text
        assert "north" not in text
        assert json.dumps(bundle.project) not in text
        assert "Bearer TOKEN" in text
