"""What the watch compares production's predictions with."""

import io

import pandas as pd
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.home import Home
from ml_pipeline.promotion.production_watch import reference_predictions

ROWS = pd.DataFrame({"__probability": [0.1, 0.9, 0.4, 0.6]})


@pytest.fixture
def released(write_bundle, tmp_path):
    """Put a bundle with these reference rows among those released; return home and digest."""

    def release(content):
        folder = write_bundle(tmp_path / "bundle", reference=content)
        digest = Bundle.open(folder).digest
        (tmp_path / "home/released").mkdir(parents=True)
        folder.rename(tmp_path / "home/released" / digest)
        return Home(tmp_path / "home"), digest

    return release


def parquet(frame):
    content = io.BytesIO()
    frame.to_parquet(content)
    return content.getvalue()


def test_rows_that_the_model_was_not_fitted_to_count_with_their_days(released):
    marked = ROWS.assign(__fitted=[True, True, False, False], __unit=[1, 2, 7, 8])
    found = reference_predictions(*released(parquet(marked)))
    assert found.histogram_values.tolist() == [0.4, 0.6]
    assert found.units.tolist() == [7, 8]


def test_an_older_bundle_has_rows_of_the_fit_without_days(released):
    found = reference_predictions(*released(parquet(ROWS)))
    assert found.histogram_values.tolist() == [0.1, 0.9, 0.4, 0.6]
    assert found.units is None


@pytest.mark.parametrize("content", [b"no parquet", parquet(ROWS.rename(columns=lambda _: "x"))])
def test_rows_that_cannot_be_read_are_unknown(released, content):
    assert reference_predictions(*released(content)) is None
