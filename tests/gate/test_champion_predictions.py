"""The champion's own code: unpacked without trust, run without this process's settings."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ml_pipeline.bundle import packaged_code
from ml_pipeline.core import landlock, subprocess_environment
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.gate import champion_predictions
from ml_pipeline.gate.champion_predictions import NoPredictionsError, with_remedy

pytestmark = pytest.mark.slow


@dataclass
class FakeBundle:
    """A bundle's folder with a source archive, and a model that returns its first feature."""

    path: Path

    @property
    def schema(self):
        return FeatureSchema((Feature("x", "numeric"),))

    def predict(self, encoded):
        return encoded[:, 0].astype(float)


def archive(folder, **files):
    with tarfile.open(folder / "source.tar.gz", "w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name.replace("__", "/").replace("_dot_", "."))
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return FakeBundle(folder)


def rows(tmp_path):
    path = tmp_path / "clean.parquet"
    pd.DataFrame({"y": [0.0, 1.0, 1.0], "x": [0.1, 0.2, 0.3]}).to_parquet(path)
    return path


TABLE = yaml.safe_dump(
    {
        "project": "old",
        "problem": {"kind": "table", "label": "y"},
        "data": {"columns": {"y": "Outcome"}, "constants": {}, "groups": None},
    }
)


def test_its_configuration_takes_the_clean_rows_by_the_problems_names(tmp_path):
    """The champion's ml.yaml calls the label 'Outcome', as its source did."""
    bundle = archive(tmp_path, ml_dot_yaml=TABLE)
    features = champion_predictions.features_by_own_code(bundle, rows(tmp_path), np.array([2, 0]))
    assert features["x"].tolist() == pytest.approx([0.3, 0.1])
    assert champion_predictions.score(bundle, features) == pytest.approx([0.3, 0.1])


def test_settings_and_keys_of_this_process_stay_here(monkeypatch):
    monkeypatch.setenv("ML__PROBLEM__KIND", "bars")
    monkeypatch.setenv("ML_SIGNING_KEY", "secret")
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("PYTHONPATH", "/somewhere/with/a/pipeline")
    environment = packaged_code.environment()
    assert "secret" not in environment.values()
    assert environment.keys() <= {*subprocess_environment.SYSTEM, "OMP_NUM_THREADS", "PYTHONPATH"}
    assert environment["PYTHONPATH"] == str(Path(champion_predictions.__file__).parents[2])


@pytest.mark.skipif(not landlock.abi(), reason="this system has no Landlock")
def test_its_code_may_write_in_its_own_folder_only(tmp_path):
    table = yaml.safe_dump(yaml.safe_load(TABLE) | {"features": {"modules": ["own"]}})
    code = f"""
from pathlib import Path
from ml_pipeline import feature

Path(__file__).with_name("cache").touch()

@feature(scope="row")
def more(rows):
    Path({str(tmp_path)!r}, "written").touch()
    return rows["x"] + 1
"""
    bundle = archive(tmp_path, ml_dot_yaml=table, own_dot_py=code)
    with pytest.raises(NoPredictionsError, match=r"more raised PermissionError: .*written"):
        champion_predictions.features_by_own_code(bundle, rows(tmp_path), np.array([0]))
    assert not (tmp_path / "written").exists()


def test_an_archive_that_leads_outside_is_refused(tmp_path):
    bundle = archive(tmp_path, **{"..__evil": "x", "ml_dot_yaml": TABLE})
    with pytest.raises(NoPredictionsError, match=r"source.tar.gz cannot be used: .*no plain file"):
        champion_predictions.features_by_own_code(bundle, rows(tmp_path), np.array([0]))
    assert not (tmp_path.parent / "evil").exists()


def test_what_is_no_archive_is_refused(tmp_path):
    (tmp_path / "source.tar.gz").write_bytes(b"nothing")
    with pytest.raises(NoPredictionsError, match="cannot be used"):
        champion_predictions.features_by_own_code(
            FakeBundle(tmp_path), rows(tmp_path), np.array([0])
        )


def test_code_that_does_not_run_gives_its_last_words(tmp_path):
    bundle = archive(tmp_path, ml_dot_yaml=TABLE.replace("kind: table", "kind: tabel"))
    with pytest.raises(NoPredictionsError, match=r"the champion's code ended with 2: .*tabel"):
        champion_predictions.features_by_own_code(bundle, rows(tmp_path), np.array([0]))


def test_rows_that_its_code_sets_aside_are_not_made_up(tmp_path):
    bundle = archive(tmp_path, ml_dot_yaml=TABLE)
    with pytest.raises(NoPredictionsError, match="set 1 of 2 rows aside"):
        champion_predictions.features_by_own_code(bundle, rows(tmp_path), np.array([0, 17]))


def test_features_that_it_does_not_find_are_not_made_up(tmp_path):
    with pytest.raises(NoPredictionsError, match="missing features: x"):
        champion_predictions.score(FakeBundle(tmp_path), pd.DataFrame({"z": [1.0]}))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"source": "s", "config": "c"}, {"source": "s", "config": "c", "data": "d"}, True),
        ({"source": "s", "config": "c"}, {"source": "t", "config": "c"}, False),
        ({"source": "s", "config": "c"}, {"source": "s", "config": "d"}, False),
        ({}, {}, False),
    ],
)
def test_features_are_shared_only_if_code_and_configuration_are_known_to_agree(one, other, alike):
    assert champion_predictions.has_same_feature_code(one, other) is alike


def test_a_column_that_the_data_lack_is_named_with_what_to_do():
    error = NoPredictionsError("the champion's code ended with 2: KeyError: 'age'", ["age", "plan"])
    message = str(with_remedy(error, ["plan", "tenure"]))
    assert message.startswith(
        "the champion needs the column 'age', which the data lack, so it cannot be compared on "
        "them: keep it in the data and add 'age' to problem.drop in ml.yaml until the new model "
        "is in production (the champion's code"
    )


def test_what_lacks_no_column_is_said_as_it_is():
    error = NoPredictionsError("the champion's code took over 3600 s")
    assert with_remedy(error, ["plan"]) is error
