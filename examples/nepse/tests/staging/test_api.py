"""Tests of the deployed API; `ml-pipeline verify staging` runs them."""

import httpx
import pytest


@pytest.fixture(scope="module")
def names(endpoint):
    features = httpx.get(f"{endpoint}/metadata").raise_for_status().json()["features"]
    return [feature["name"] for feature in features]


def test_one_row_gives_a_probability(endpoint, names):
    row = dict.fromkeys(names)
    response = httpx.post(f"{endpoint}/predict", json={"features": row})
    assert response.status_code == 200
    assert 0 <= response.json()["probability"] <= 1
    assert "model_version" in response.json()


def test_a_row_without_a_feature_is_refused(endpoint, names):
    row = dict.fromkeys(names[:-1])
    response = httpx.post(f"{endpoint}/predict", json={"rows": [row]})
    assert response.status_code == 422
    assert names[-1] in response.json()["error"]
