"""What a reader finds in the predictions table is what the deployed API answers for the rows.

Run it where both can be reached, after `ml-pipeline score --in FILE --out sql:predictions` and
`ml-pipeline features --in FILE --out features.parquet`:

    NEPSE_DATABASE=postgresql+psycopg://reader:...@host/market \
    NEPSE_ENDPOINT=http://127.0.0.1:8000 NEPSE_FEATURES=features.parquet pytest tests/downstream
"""

import os

import httpx
import pandas as pd
import pytest
import sqlalchemy

ASKED = ("NEPSE_DATABASE", "NEPSE_ENDPOINT", "NEPSE_FEATURES")
KEY = ["date", "symbol"]
ROWS = 500
"""Of the newest, in one request."""

pytestmark = pytest.mark.skipif(
    any(name not in os.environ for name in ASKED), reason=f"needs {', '.join(ASKED)}"
)


@pytest.fixture(scope="module")
def metadata():
    answer = httpx.get(f"{os.environ['NEPSE_ENDPOINT']}/metadata")
    return answer.raise_for_status().json()


@pytest.fixture(scope="module")
def found(metadata):
    """The predictions of the model that is deployed, as a report or a trading desk reads them."""
    engine = sqlalchemy.create_engine(os.environ["NEPSE_DATABASE"])
    query = sqlalchemy.text(
        "select date, symbol, probability, model_version, scored_at from predictions "
        "where bundle_digest = :digest"
    )
    with engine.connect() as connection:
        rows = pd.read_sql_query(
            query, connection, params={"digest": metadata["digest"]}, parse_dates=["date"]
        )
    engine.dispose()
    return rows.set_index(KEY)


@pytest.fixture(scope="module")
def answered(metadata):
    """What the API answers for the newest rows."""
    names = [feature["name"] for feature in metadata["features"]]
    rows = pd.read_parquet(os.environ["NEPSE_FEATURES"]).sort_values(KEY).tail(ROWS)
    values = rows[names].astype(object)
    values = values.where(values.notna(), None)
    answer = httpx.post(
        f"{os.environ['NEPSE_ENDPOINT']}/predict", json={"rows": values.to_dict("records")}
    )
    return pd.DataFrame(answer.raise_for_status().json(), index=pd.MultiIndex.from_frame(rows[KEY]))


def test_each_row_has_one_prediction(found, answered):
    assert found.index.is_unique
    assert answered.index.isin(found.index).all()


def test_the_probabilities_are_those_of_the_api(found, answered):
    stored = found.loc[answered.index, "probability"]
    assert stored.to_numpy() == pytest.approx(answered["probability"].to_numpy(), abs=1e-6)
    assert stored.nunique() > ROWS / 10


def test_the_version_and_the_time_are_told(found, metadata):
    assert set(found["model_version"]) == {metadata["model_version"]}
    assert pd.to_datetime(found["scored_at"], utc=True).max() <= pd.Timestamp.now("UTC")
