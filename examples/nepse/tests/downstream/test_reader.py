"""The predictions table holds the predictions of the deployed API.

Run it on a machine that reaches both, after `ml-pipeline score --in FILE --out sql:predictions` and
`ml-pipeline features --in FILE --out features.parquet`:

    NEPSE_DATABASE=postgresql+psycopg://reader:...@host/market \
    NEPSE_ENDPOINT=http://127.0.0.1:8000 NEPSE_FEATURES=features.parquet pytest tests/downstream
"""

import os

import httpx
import pandas as pd
import pytest
import sqlalchemy

VARIABLES = ("NEPSE_DATABASE", "NEPSE_ENDPOINT", "NEPSE_FEATURES")
KEY = ["date", "symbol"]
ROWS = 500
"""Number of the newest rows, sent in one request."""

pytestmark = pytest.mark.skipif(
    any(name not in os.environ for name in VARIABLES), reason=f"needs {', '.join(VARIABLES)}"
)


@pytest.fixture(scope="module")
def metadata():
    response = httpx.get(f"{os.environ['NEPSE_ENDPOINT']}/metadata")
    return response.raise_for_status().json()


@pytest.fixture(scope="module")
def stored(metadata):
    """The stored predictions of the deployed model, as a report would read them."""
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
def served(metadata):
    """The predictions of the API for the newest rows."""
    names = [feature["name"] for feature in metadata["features"]]
    rows = pd.read_parquet(os.environ["NEPSE_FEATURES"]).sort_values(KEY).tail(ROWS)
    values = rows[names].astype(object)
    values = values.where(values.notna(), None)
    response = httpx.post(
        f"{os.environ['NEPSE_ENDPOINT']}/predict", json={"rows": values.to_dict("records")}
    )
    return pd.DataFrame(
        response.raise_for_status().json(), index=pd.MultiIndex.from_frame(rows[KEY])
    )


def test_each_row_has_one_prediction(stored, served):
    assert stored.index.is_unique
    assert served.index.isin(stored.index).all()


def test_the_probabilities_are_those_of_the_api(stored, served):
    probabilities = stored.loc[served.index, "probability"]
    assert probabilities.to_numpy() == pytest.approx(served["probability"].to_numpy(), abs=1e-6)
    assert probabilities.nunique() > ROWS / 10


def test_version_and_time_are_stored(stored, metadata):
    assert set(stored["model_version"]) == {metadata["model_version"]}
    assert pd.to_datetime(stored["scored_at"], utc=True).max() <= pd.Timestamp.now("UTC")
