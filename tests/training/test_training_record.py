"""The record of a training run survives JSON, and a foreign one is refused in one line."""

from __future__ import annotations

import json

import pytest
from ml_pipeline.core.errors import Refused
from ml_pipeline.training.training_record import Cutoffs, TrainingRecord, Trial

RECORD = TrainingRecord(
    project="p",
    problem="bars",
    estimator="xgboost",
    params={"max_depth": 3},
    best_round=12,
    calibration="none",
    seed=7,
    profile="full",
    rows={"train": 100},
    cutoffs=Cutoffs(train_end="2024-01-01"),
    split={"method": "time"},
    positive_rate=0.42,
    folds=(0.6, 0.7),
    search=(Trial(params={"max_depth": 3}, scores=(0.6, 0.7)),),
    fingerprint="f",
    identity="i",
    identity_parts={"data": "f"},
)


def test_json_and_back():
    values = json.loads(json.dumps(RECORD.to_json()))
    assert values["schema"] == "ml-pipeline/training/1"
    assert values["cutoffs"]["holdout_end"] is None
    assert TrainingRecord.from_json(values) == RECORD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "ml-pipeline/training/9"}, "training record: schema"),
        ({"rows": None}, "training record: rows"),
        ({"more": 1}, "training record: unknown key 'more'"),
    ],
)
def test_another_record_is_refused(change, message):
    with pytest.raises(Refused, match=message):
        TrainingRecord.from_json(RECORD.to_json() | change)


def test_a_missing_key_is_named():
    values = RECORD.to_json()
    del values["identity"]
    with pytest.raises(Refused, match=r"training record: 'identity' is missing"):
        TrainingRecord.from_json(values)
