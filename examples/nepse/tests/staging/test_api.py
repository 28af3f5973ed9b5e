"""What we ask of the deployed API. `ml-pipeline verify staging` runs this."""

import httpx
import pytest


@pytest.fixture(scope="module")
def names(endpoint):
    features = httpx.get(f"{endpoint}/metadata").raise_for_status().json()["features"]
    return [feature["name"] for feature in features]


def test_one_row_gives_a_probability(endpoint, names):
    row = dict.fromkeys(names)
    answer = httpx.post(f"{endpoint}/predict", json={"features": row})
    assert answer.status_code == 200
    assert 0 <= answer.json()["probability"] <= 1
    assert "model_version" in answer.json()


def test_a_row_without_a_feature_is_refused(endpoint, names):
    row = dict.fromkeys(names[:-1])
    answer = httpx.post(f"{endpoint}/predict", json={"rows": [row]})
    assert answer.status_code == 422
    assert names[-1] in answer.json()["error"]
