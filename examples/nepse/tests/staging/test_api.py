"""What we ask of the deployed API. `ml-pipeline verify staging` runs this."""

import httpx
import pytest


@pytest.fixture(scope="module")
def features(endpoint):
    return httpx.get(f"{endpoint}/metadata").raise_for_status().json()["features"]


def test_one_row_gives_a_probability(endpoint, features):
    row = [None] * len(features)
    answer = httpx.post(f"{endpoint}/predict", json={"features": row})
    assert answer.status_code == 200
    assert 0 <= answer.json()["probability"] <= 1
    assert "model_version" in answer.json()


def test_a_row_that_is_too_short_is_refused(endpoint, features):
    row = [None] * (len(features) - 1)
    answer = httpx.post(f"{endpoint}/predict", json={"features": row})
    assert answer.status_code == 422
