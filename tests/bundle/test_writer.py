"""What a bundle holds, and that the same inputs give the same bytes."""

import gzip
import io
import json
import tarfile

import pytest
import yaml
from ml_pipeline import config
from ml_pipeline.bundle import source, writer
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import Refused, UsageError

FEATURES = "from ml_pipeline import feature\n"


@pytest.fixture
def project(make_project):
    made = make_project(features={"modules": ["own.signals"]}, serving={"max_rows": 5})
    (made.root / "own").mkdir()
    (made.root / "own/__init__.py").write_text("")
    (made.root / "own/signals.py").write_text(FEATURES + "from own import helper\n")
    (made.root / "own/helper.py").write_text("X = 1\n")
    (made.root / "own/unused.py").write_text("Y = 1\n")
    return made


def written(project, make_model, destination):
    return writer.write(destination, model=make_model(project), project=project)


def test_same_inputs_give_the_same_bytes(project, make_model, tmp_path):
    one = written(project, make_model, tmp_path / "one")
    other = written(project, make_model, tmp_path / "other")
    assert one.digest == other.digest
    assert workdir.digest(one.path) == workdir.digest(other.path)


def test_what_identity_does_not_cover_changes_no_byte(project, make_model, tmp_path):
    one = written(project, make_model, tmp_path / "one")
    values = yaml.safe_load((project.root / "ml.yaml").read_text())
    values |= {"policy": {"four_eyes": True}, "description": "new words", "gate": {"alpha": 0.01}}
    (project.root / "ml.yaml").write_text(yaml.safe_dump(values) + "# a comment\n")
    (project.root / "own/unused.py").write_text("Y = 2\n")
    again = config.load(project.root, environment={})
    assert written(again, make_model, tmp_path / "other").digest == one.digest


def test_it_replaces_an_older_one_whole(project, make_model, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/old.txt").write_text("old")
    bundle = written(project, make_model, tmp_path / "bundle")
    assert not (bundle.path / "old.txt").exists()
    assert {path.name for path in bundle.path.iterdir()} == {
        "MODEL_CARD.md",
        "golden.json",
        "manifest.json",
        "model.onnx",
        "reference.parquet",
        "sbom.cdx.json",
        "source.tar.gz",
    }


def test_source_holds_the_covered_code_and_a_configuration_that_loads(
    project, make_model, tmp_path
):
    bundle = written(project, make_model, tmp_path / "bundle")
    with tarfile.open(bundle.path / "source.tar.gz") as tar:
        entries = tar.getmembers()
    assert [entry.name for entry in entries] == [
        "ml.yaml",
        "own/__init__.py",
        "own/helper.py",
        "own/signals.py",
    ]
    source.unpack(bundle.path / "source.tar.gz", tmp_path / "unpacked")
    assert {(entry.mtime, entry.uid, entry.gid, entry.uname) for entry in entries} == {
        (0, 0, 0, "")
    }
    unpacked = config.load(tmp_path / "unpacked", environment={})
    assert unpacked.config.features == project.config.features
    assert unpacked.config.train == project.config.train
    assert unpacked.config.serving.max_rows == 1000


def test_groups_file_goes_along_under_a_name_of_its_own(make_project, make_model, tmp_path):
    project = make_project(data={"groups": {"path": "../g.csv", "entity": "s", "group": "g"}})
    (project.root.parent / "g.csv").write_text("s,g\nA,x\n")
    bundle = written(project, make_model, tmp_path / "bundle")
    with tarfile.open(bundle.path / "source.tar.gz") as tar:
        values = yaml.safe_load(tar.extractfile("ml.yaml").read())
        assert tar.extractfile("groups.csv").read() == b"s,g\nA,x\n"
    assert values["data"]["groups"] == {"path": "groups.csv", "entity": "s", "group": "g"}


def test_source_is_stored_so_that_no_zlib_decides_its_bytes(project, make_model, tmp_path):
    content = (
        written(project, make_model, tmp_path / "bundle").path / "source.tar.gz"
    ).read_bytes()
    plain = gzip.decompress(content)
    assert plain[:7] == b"ml.yaml"
    assert plain[:600] in content
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        assert "own/signals.py" in tar.getnames()


def test_sbom_lists_what_identity_locks_and_names_the_model(project, make_model, tmp_path):
    bundle = written(project, make_model, tmp_path / "bundle")
    sbom = json.loads((bundle.path / "sbom.cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert "timestamp" not in sbom["metadata"]
    model = sbom["metadata"]["component"]
    assert model["hashes"][0]["content"] == workdir.digest(bundle.path / "model.onnx")
    assert model["version"] == bundle.identity
    names = {component["name"] for component in sbom["components"]}
    assert {"jenkins-ml-pipeline", "numpy", "xgboost", "python"} <= names


def test_model_card_names_data_dates_and_inputs(project, make_model, tmp_path):
    card = (written(project, make_model, tmp_path / "bundle").path / "MODEL_CARD.md").read_text()
    for text in (
        "# Model card: small",
        "`" + "f" * 64 + "`",
        "2024-02-05",
        "| colour | categorical",
    ):
        assert text in card
    assert "quick" not in card


def test_code_that_changed_since_train_is_refused(project, make_model, tmp_path):
    model = make_model(project)
    (project.root / "own/helper.py").write_text("X = 2\n")
    with pytest.raises(UsageError, match="the project's source is no longer"):
        writer.write(tmp_path / "bundle", model=model, project=project)
    assert not (tmp_path / "bundle").exists()


def test_a_broken_model_leaves_the_old_bundle(project, make_model, tmp_path):
    written(project, make_model, tmp_path / "bundle")
    before = workdir.digest(tmp_path / "bundle")
    model = make_model(project)
    (model / "model.onnx").write_bytes(b"broken")
    with pytest.raises(Refused, match="ONNX Runtime cannot load"):
        writer.write(tmp_path / "bundle", model=model, project=project)
    assert workdir.digest(tmp_path / "bundle") == before
    assert [path.name for path in tmp_path.glob(".bundle*")] == []
