"""The model card shows names and values of the data as text, never as Markdown or HTML."""

import re

import pytest
from ml_pipeline.bundle.model_card import card
from ml_pipeline.core.report import Profile
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.training.training_record import (
    Cutoffs,
    TrainingRecord,
    UsedWindow,
    WindowTrial,
)

RECORD = TrainingRecord(
    project="small",
    problem="table",
    estimator="xgboost",
    params={},
    best_round=None,
    calibration="none",
    seed=1,
    profile=Profile.FULL,
    rows={"train": 10},
    cutoffs=Cutoffs(),
    split={},
    positive_rate=0.5,
    fingerprint="f" * 64,
    identity="a" * 64,
    identity_parts={},
)


def shown(text):
    """Return the card's row of a feature with this name and this category."""
    schema = FeatureSchema((Feature(text, "categorical", (text, "red")),))
    lines = card(RECORD, schema).splitlines()
    start = lines.index("|---|---|---|") + 1
    assert lines[start + 1] == "", "one row, in one line"
    return lines[start]


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a\n\n<b>",
        "[link](javascript:alert(1))",
        "![image](http://evil.example/x.png)",
        "<http://evil.example>",
        "http://evil.example",
        "`code`",
        "a | b | c",
        "**bold** _it_ ~~gone~~",
        "a\\",
        "&lt;script&gt;",
        "\u202egnp.exe",
        "a\u2028b",
    ],
)
def test_a_name_is_text(text):
    row = shown(text)
    assert "<" not in row
    assert not re.search(r"(?<!\\)[`\[\]*~]", row)
    assert len(re.findall(r"(?<!\\)\|", row)) == 4
    assert "://" not in row
    assert "\u202e" not in row
    assert not re.search(r"&(?!amp;|lt;|gt;|quot;|#x27;|#47;)", row)


def test_a_name_that_means_nothing_stays_as_it_is():
    assert shown("rsi_14") == "| rsi_14 | categorical | rsi_14, red |"


def test_a_window_of_training_days_is_named():
    schema = FeatureSchema((Feature("x", "numeric"),))
    used = UsedWindow(window={"days": 500}, title="the last 500 days", first_day="2024-01-02")
    trials = (WindowTrial(window="all", rows=(9,), scores=(0.7,)),) * 2
    record = RECORD.model_copy(update={"window": used, "windows": trials})
    row = "| Training window | the last 500 days, from 2024-01-02, chosen of 2 by walk-forward |"
    assert row in card(record, schema).splitlines()
    assert "Training window" not in card(RECORD, schema)
