"""Prove the exported model once more and put it into a folder with the hash of every file."""

import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import xgboost
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

OUT = Path("build/bare")
MODEL, BUNDLE = OUT / "model", OUT / "bundle"
TOLERANCE = 1e-5
PACKAGES = (
    "TA-Lib", "numpy", "onnx", "onnxmltools", "pandas", "pyarrow", "scikit-learn", "scipy",
    "skl2onnx", "xgboost-cpu" if sys.platform == "linux" else "xgboost",
)  # fmt: skip


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sbom(model: Path) -> str:
    about = Component(
        name="nepse-direction",
        type=ComponentType.MACHINE_LEARNING_MODEL,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256(model))],
    )
    packages = [
        Component(
            name=name,
            version=version(name),
            purl=PackageURL(type="pypi", name=name.lower(), version=version(name)),
        )
        for name in PACKAGES
    ]
    bom = Bom(components=packages, metadata=BomMetaData(component=about))
    bom.register_dependency(about, packages)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def archive() -> bytes:
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream,
        tarfile.open(fileobj=stream, mode="w") as tar,
    ):
        for name in ("features/__init__.py", "features/nepse.py", "ml.yaml"):
            tar.add(name)
    return packed.getvalue()


def card(record: dict) -> str:
    rows = [
        f"| {feature['name']} | {feature['minimum']:.6g} to {feature['maximum']:.6g} |"
        for feature in record["features"]
    ]
    parts = ", ".join(f"{part} {count}" for part, count in record["rows"].items())
    head = ["# Model card: nepse-direction", "", f"Rows: {parts}", ""]
    head += ["| feature | seen |", "|---|---|"]
    return "\n".join([*head, *rows]) + "\n"


def main() -> int:
    record = json.loads((MODEL / "training.json").read_text())
    names = [feature["name"] for feature in record["features"]]
    parity = pd.read_parquet(MODEL / "parity.parquet")
    x, expected = parity[names].to_numpy(), parity["__probability"].to_numpy()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1

    def difference(model: Path) -> float:
        session = onnxruntime.InferenceSession(model, options)
        answers = session.run(["probabilities"], {"features": x})[0][:, 1]
        return float(np.abs(answers - expected).max())

    native = xgboost.Booster(params={"nthread": 1}, model_file=MODEL / "model.ubj")
    apart = max(
        difference(MODEL / "model.onnx"),
        float(np.abs(native.inplace_predict(x) - expected).max()),
    )
    if not apart <= TOLERANCE:
        print(f"the served model differs by {apart}")
        return 1
    new = BUNDLE.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for name in ("model.onnx", "model.ubj", "reference.parquet"):
        shutil.copyfile(MODEL / name, new / name)
    golden = parity[parity["__golden"]]
    inputs = golden[names].astype(object).where(golden[names].notna(), None)
    (new / "golden.json").write_text(
        json.dumps(
            {
                "features": names,
                "inputs": inputs.to_numpy().tolist(),
                "probabilities": golden["__probability"].tolist(),
            }
        )
    )
    (new / "sbom.cdx.json").write_text(sbom(new / "model.onnx"))
    (new / "source.tar.gz").write_bytes(archive())
    (new / "MODEL_CARD.md").write_text(card(record))
    files = {path.name: sha256(path) for path in sorted(new.iterdir())}
    manifest = {
        "data": json.loads((OUT / "profile.json").read_text())["sha256"],
        "source": sha256(Path("features/nepse.py")),
        "training": record,
        "files": files,
    }
    (new / "manifest.json").write_text(json.dumps(manifest, indent=1))
    shutil.rmtree(BUNDLE, ignore_errors=True)
    new.rename(BUNDLE)
    written = json.loads((BUNDLE / "manifest.json").read_text())["files"]
    changed = [name for name, digest in written.items() if sha256(BUNDLE / name) != digest]
    rows = parity["__golden"].to_numpy()
    x, expected = x[rows], expected[rows]
    if changed or not difference(BUNDLE / "model.onnx") <= TOLERANCE:
        print(f"the bundle is broken: {changed}")
        return 1
    print(f"{sha256(BUNDLE / 'manifest.json')[:12]}: within {apart:.1e} of the trained model")
    return 0


if __name__ == "__main__":
    sys.exit(main())
