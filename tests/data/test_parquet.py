"""Any bytes are read as Parquet or refused in an error that names the file."""

import random

import numpy as np
import pandas as pd
import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.data import parquet


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "rows.parquet"
    frame = pd.DataFrame({"a": np.arange(200.0), "b": [f"text {n}" for n in range(200)]})
    frame.to_parquet(path)
    return path


def outcome(path, content):
    path.write_bytes(content)
    try:
        return isinstance(parquet.read(path), pd.DataFrame)
    except UsageError as error:
        message = str(error)
    assert str(path) in message
    assert len(message) < 500
    return False


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", b"a,b\n1,2\n", b"\0" * 100])
def test_a_file_that_is_not_parquet_is_refused(path, content):
    assert not outcome(path, content)


def test_a_truncated_file_is_refused(path):
    whole = path.read_bytes()
    for size in range(0, len(whole), 97):
        assert not outcome(path, whole[:size])


def test_an_error_for_corrupted_bytes_names_the_file(path):
    """Mostly in the footer, which holds the schema and the metadata of pandas."""
    whole, chance = path.read_bytes(), random.Random(1)
    refused = 0
    for number in range(300):
        broken = bytearray(whole)
        low = len(whole) * 2 // 3 if number % 2 else 0
        for _ in range(1 + number % 7):
            broken[chance.randrange(low, len(whole))] = chance.randrange(256)
        refused += not outcome(path, bytes(broken))
    assert refused > 50


def test_an_empty_folder_and_a_missing_file_are_refused(tmp_path):
    with pytest.raises(UsageError, match="is a folder without Parquet files"):
        parquet.read(tmp_path)
    with pytest.raises(UsageError, match=r"cannot read .*none\.parquet"):
        parquet.read(tmp_path / "none.parquet")
