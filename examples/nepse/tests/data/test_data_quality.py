"""Data tests beyond those in ml.yaml; `ml-pipeline validate-data` runs them.

`df` holds the rows that passed the tests of ml.yaml, in the column names of the source.
"""

import pandas as pd


def test_data_quality(df):
    assert {"date", "symbol", "open", "high", "low", "close", "volume"} <= set(df.columns)
    assert (df["close"] > 0).mean() > 0.999
    assert (df["volume"] >= 0).all()


def test_a_symbol_has_one_spelling(df):
    assert df["symbol"].nunique() == df["symbol"].str.strip().str.upper().nunique()


def test_the_exchange_rests(df):
    weekdays = pd.to_datetime(df["date"]).dt.day_of_week
    assert weekdays.value_counts(normalize=True).head(6).sum() > 0.99
