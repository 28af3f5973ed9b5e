"""The reference pages name what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.problems import bar_features
from ml_pipeline.problems.bars import Bars, BarsOptions
from ml_pipeline.problems.table import TableOptions

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


@pytest.mark.parametrize("name", bar_features.STANDARD)
def test_every_standard_feature_is_explained(name):
    assert f"`{name}`" in (REFERENCE / "features.md").read_text()


def test_every_option_and_data_test_is_explained():
    page = (REFERENCE / "problems.md").read_text()
    names = [*BarsOptions.model_fields, *TableOptions.model_fields]
    names += [rule.name for rule in Bars().expectations()]
    assert [name for name in names if f"`{name}`" not in page] == []
