"""A bundle is believed only after every file of it has been looked at."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from ml_pipeline.bundle.reader import Bundle, OnnxModel, check_golden
from ml_pipeline.core.errors import Refused
from ml_pipeline.features.schema import FeatureError


def edit_manifest(bundle, change):
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))


class TestSuccess:
    def test_opening_a_model_sends_no_telemetry(self, bundle, tmp_path):
        """ONNX Runtime sends usage data where it is let: what it sends is stored there first."""
        program = (
            "from pathlib import Path; from ml_pipeline.bundle.reader import Bundle; "
            "Bundle.open(Path(PATH)).check_golden()"
        )
        subprocess.run(
            [sys.executable, "-c", program.replace("PATH", repr(str(bundle)))],
            env={"HOME": str(tmp_path / "home")},
            check=True,
        )
        assert not (tmp_path / "home").exists()

    def test_answers_rows_as_a_client_sends_them(self, bundle):
        opened = Bundle.open(bundle)
        found = opened.predict_rows([[0.0, 0.0, None], [1.0, 0.0, None], [None, 0.0, "blue"]])
        assert found == pytest.approx(
            [0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-0.25))], abs=1e-6
        )
        assert found.dtype == np.float64

    def test_golden_rows_hold_missing_values_and_agree(self, bundle):
        opened = Bundle.open(bundle)
        assert len(opened.golden.inputs) == 32
        assert any(None in row for row in opened.golden.inputs)
        assert opened.check_golden() < 1e-6

    def test_tells_what_it_is(self, bundle):
        opened = Bundle.open(bundle)
        assert (opened.project, opened.profile) == ("small", "full")
        assert len(opened.identity) == len(opened.digest) == 64
        assert opened.cutoffs["holdout_end"] == "2024-04-01"

    def test_imports_no_framework(self, bundle):
        code = (
            "import sys; from pathlib import Path; from ml_pipeline.bundle.reader import Bundle;"
            f"Bundle.open(Path({str(bundle)!r})).check_golden();"
            "print(*sorted({name.split('.')[0] for name in sys.modules}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        heavy = {"pandas", "pyarrow", "sklearn", "xgboost", "mlflow", "onnx", "pydantic", "scipy"}
        assert not heavy & set(done.stdout.split())


class TestRefused:
    @pytest.mark.parametrize(
        "name",
        ["model.onnx", "golden.json", "reference.parquet", "source.tar.gz", "MODEL_CARD.md"],
    )
    def test_a_changed_file(self, bundle, name):
        content = bytearray((bundle / name).read_bytes())
        content[len(content) // 2] ^= 1
        (bundle / name).write_bytes(content)
        with pytest.raises(Refused, match=rf"{name} has changed: its SHA-256"):
            Bundle.open(bundle)

    def test_a_longer_file_before_it_is_read(self, bundle):
        with (bundle / "reference.parquet").open("ab") as stream:
            stream.write(b"x")
        with pytest.raises(Refused, match=r"reference.parquet has \d+ bytes; expected \d+"):
            Bundle.open(bundle)

    @pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "sbom.cdx.json"])
    def test_a_missing_file(self, bundle, name):
        (bundle / name).unlink()
        with pytest.raises(Refused, match=rf"{name} cannot be read"):
            Bundle.open(bundle)

    @pytest.mark.parametrize("name", ["model.pkl", "model.ubj", ".hidden"])
    def test_an_extra_file(self, bundle, name):
        (bundle / name).write_text("x")
        with pytest.raises(Refused, match="is not in the manifest"):
            Bundle.open(bundle)

    def test_an_extra_folder(self, bundle):
        (bundle / "more").mkdir()
        with pytest.raises(Refused, match="more is not in the manifest"):
            Bundle.open(bundle)

    def test_a_link_to_a_file_outside(self, bundle, tmp_path):
        shutil.move(bundle / "model.onnx", tmp_path / "elsewhere.onnx")
        (bundle / "model.onnx").symlink_to(tmp_path / "elsewhere.onnx")
        with pytest.raises(Refused, match="is not a regular file"):
            Bundle.open(bundle)

    @pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "a/b", "..", "unknown.bin"])
    def test_a_name_that_no_bundle_has(self, bundle, name):
        edit_manifest(
            bundle,
            lambda manifest: manifest["files"].update({name: {"sha256": "0" * 64, "bytes": 1}}),
        )
        with pytest.raises(Refused, match="plain file names"):
            Bundle.open(bundle)

    @pytest.mark.parametrize("size", [1 << 40, "7", True, None])
    def test_an_absurd_size(self, bundle, size):
        edit_manifest(bundle, lambda manifest: manifest["files"]["model.onnx"].update(bytes=size))
        with pytest.raises(Refused, match=r"model.onnx"):
            Bundle.open(bundle)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("schema", "ml-pipeline/bundle/2"),
            ("files", []),
            ("features", {"schema": 1}),
            ("features", {"schema": 1, "unseen": "missing", "features": [{"name": "a"}]}),
            ("identity", "../../x"),
            ("training", None),
        ],
    )
    def test_a_manifest_of_another_shape(self, bundle, key, value):
        edit_manifest(bundle, lambda manifest: manifest.update({key: value}))
        with pytest.raises(Refused, match=r"manifest\.json"):
            Bundle.open(bundle)

    @pytest.mark.parametrize(
        "content",
        [b"", b"[]", b"{", b'{"schema": NaN}', b'{"a": 1, "a": 2}', b"[" * 100_000, b"\xff"],
    )
    def test_another_document_is_no_manifest(self, bundle, content):
        (bundle / "manifest.json").write_bytes(content)
        with pytest.raises(Refused, match=r"manifest\.json"):
            Bundle.open(bundle)

    def test_a_schema_that_does_not_fit_the_model(self, bundle):
        edit_manifest(bundle, lambda manifest: manifest["features"]["features"].pop())
        with pytest.raises(Refused, match="takes 4 columns; expected 2"):
            Bundle.open(bundle)

    def test_what_is_no_onnx(self, tmp_path):
        (tmp_path / "model.onnx").write_bytes(b"not a model")
        with pytest.raises(Refused, match="ONNX Runtime cannot load"):
            OnnxModel(tmp_path / "model.onnx")


class TestRows:
    def test_a_row_that_does_not_fit_names_the_feature(self, bundle):
        with pytest.raises(FeatureError, match="'b'"):
            Bundle.open(bundle).predict_rows([[0.0, "text", None]])


class TestGolden:
    @pytest.mark.parametrize(
        ("found", "expected"),
        [([], []), ([0.5], [0.5, 0.5]), ([float("nan")], [0.5]), ([0.5], [float("nan")])],
    )
    def test_missing_predictions_and_nan_are_refused(self, found, expected):
        with pytest.raises(Refused):
            check_golden(found, expected)

    def test_a_difference_is_reported(self):
        with pytest.raises(Refused, match=r"is 0\.5; expected 0\.6 within 1e-05"):
            check_golden([0.5], [0.6])

    def test_the_largest_difference_is_returned(self):
        assert check_golden([0.5, 0.1], [0.5, 0.1 + 5e-6]) == pytest.approx(5e-6)


class TestWhatTheManifestVouchesForAndNoModelCanUse:
    """The digests agree, as after a bundle was made by something else than ``package``."""

    def test_a_golden_row_of_another_model(self, make_bundle):
        bundle = make_bundle()
        golden = json.loads((bundle / "golden.json").read_text())
        golden["inputs"][0][0] = "text"
        content = json.dumps(golden).encode()
        (bundle / "golden.json").write_bytes(content)
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        edit_manifest(bundle, lambda manifest: manifest["files"].update({"golden.json": entry}))
        with pytest.raises(Refused, match=r"golden\.json: feature 'x' of row 0 is 'text'"):
            Bundle.open(bundle).check_golden()

    def test_a_model_with_one_output_column(self):
        from onnx import TensorProto, helper

        graph = helper.make_graph(
            [helper.make_node("Identity", ["features"], ["p"])],
            "one",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 1])],
            [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", 1])],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
        ).SerializeToString()
        with pytest.raises(Refused, match="two probabilities a row"):
            OnnxModel(model).predict(np.zeros((2, 1), dtype=np.float32))


def test_onnx_runtime_sends_no_telemetry():
    code = "import os, ml_pipeline.bundle.reader; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
