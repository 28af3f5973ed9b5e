"""Shared fixtures: small projects, contexts and bundles."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ml_pipeline import config
from ml_pipeline.config import Project
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Profile
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.registry.registry import Registry
from ml_pipeline.stages.context import Context
from ml_pipeline.stages.record import values_of
from ml_pipeline.stages.table import STAGES

pytest_plugins = ["tests.fast_lane"]

SMALL: dict[str, Any] = {
    "project": "small",
    "data": {"source": {"kind": "simulated", "symbols": 24, "days": 160, "seed": 3, "edge": 0.6}},
    "split": {"holdout_days": 40, "validation_days": 20, "folds": 0},
    "train": {"max_epochs": 20, "params": {"max_depth": 3}},
    "evaluate": {"resamples": 50},
    # short, with lenient limits: other tests share the machine
    "load_test": {"rate": 150, "seconds": 1, "warmup": 0.2, "p99_ms": 3000},
    "shadow": {"requests": 200, "p99_ms": 3000, "timeout_ms": 9000},
}

os.environ["PYTEST_ADDOPTS"] = "-p no:schemathesis"
"""For every pytest that a test starts: the plugin takes 0.9 s to load and is not used."""

MakeProject = Callable[..., Project]
MakeContext = Callable[..., Context[Any]]


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in over.items():
        old = result.get(key)
        mergeable = isinstance(old, dict) and isinstance(value, dict) and "kind" not in value
        result[key] = merged(old, value) if mergeable else value
    return result


@pytest.fixture
def make_project(tmp_path: Path) -> MakeProject:
    """Write an ml.yaml (a small simulated exchange, with overrides by section) and load it."""

    def make(name: str = "project", *, bare: bool = False, **sections: Any) -> Project:
        root = tmp_path / name
        root.mkdir(parents=True, exist_ok=True)
        values = sections if bare else merged(SMALL, sections)
        (root / "ml.yaml").write_text(yaml.safe_dump(values))
        return config.load(root, environment={})

    return make


@pytest.fixture
def without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a system without Landlock."""
    monkeypatch.setattr("ml_pipeline.core.landlock.abi", lambda: 0)


@pytest.fixture
def make_context() -> MakeContext:
    """Build the context of one stage of a project, as the command line would."""

    def make(
        project: Project,
        stage: str,
        environment: str | None = None,
        *,
        quick: bool = False,
        policy: Path | None = None,
        **flags: Any,
    ) -> Context[Any]:
        return Context(
            stage=STAGES[stage],
            project=project,
            workdir=Workdir(project.root / "build/ml"),
            home=Home(project.root / ".ml"),
            profile=Profile.QUICK if quick else Profile.FULL,
            run_id="test-run",
            progress=lambda what, share: None,
            environment=environment,
            flags=values_of(STAGES[stage].flags, flags),
            policy=policy,
        )

    return make


InstallDistribution = Callable[..., Path]


@pytest.fixture
def install_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[InstallDistribution]:
    """Put a distribution with modules and entry points on the path, for this test only.

    ``entry_points`` maps each group to its entry points by name; ``modules`` each module's name to
    its source. Returns the folder on ``sys.path``, for ``PYTHONPATH`` of a subprocess.
    """

    def install(
        name: str, entry_points: dict[str, dict[str, str]], version: str = "1.0", **modules: str
    ) -> Path:
        site = tmp_path / f"site-{name}"
        metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        metadata.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        lines = [
            line
            for group, entries in entry_points.items()
            for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
        ]
        metadata.joinpath("entry_points.txt").write_text("\n".join(lines) + "\n")
        for module, source in modules.items():
            site.joinpath(f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
            forgotten.append(module)
        monkeypatch.syspath_prepend(site)
        return site

    forgotten: list[str] = []
    yield install
    for module in forgotten:
        sys.modules.pop(module, None)


MakeBundle = Callable[..., Path]


@pytest.fixture
def make_bundle(tmp_path: Path, write_bundle: MakeBundle) -> MakeBundle:
    """Write a bundle of this name into the test's folder; see ``write_bundle``."""

    def make(name: str = "bundle", **about: Any) -> Path:
        return write_bundle(tmp_path / name, **about)

    return make


@pytest.fixture(scope="session")
def write_bundle() -> MakeBundle:
    """Write a small bundle, one number `x` and one category `c`: p = sigmoid(weight * x + ...).

    No training: the model is written down as ONNX. `weight` changes its content, `identity` (one
    character) what it claims to be; with `golden_shift` it fails its golden predictions; `source`
    is its archive of code, `sbom` its packages, `reference` the file with its answers to rows of
    training. With the task `regression` it predicts the score itself, with
    `multiclass_classification` the softmax of (score, -score, 0) for the classes a, b and c.
    """

    def write(
        folder: Path,
        *,
        weight: float = 1.0,
        identity: str = "a",
        golden_shift: float = 0.0,
        source: bytes = b"source",
        sbom: bytes = b"{}",
        reference: bytes = b"reference",
        task: str = "binary_classification",
        **manifest: Any,
    ) -> Path:
        from onnx import TensorProto, helper

        shape = ["n", 3]
        floats = {"zero": [0.0], "one": [1.0], "weights": [weight, 0.5, -0.5]}
        nodes = [
            helper.make_node("IsNaN", ["features"], ["missing"]),
            helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
            helper.make_node("MatMul", ["filled", "weights"], ["score"]),
        ]
        heads = {
            "binary_classification": [
                helper.make_node("Sigmoid", ["score"], ["p"]),
                helper.make_node("Sub", ["one", "p"], ["q"]),
                helper.make_node("Concat", ["q", "p"], ["probabilities"], axis=1),
            ],
            "multiclass_classification": [
                helper.make_node("Neg", ["score"], ["other"]),
                helper.make_node("Sub", ["score", "score"], ["none"]),
                helper.make_node("Concat", ["score", "other", "none"], ["scores"], axis=1),
                helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
            ],
            "regression": [helper.make_node("Identity", ["score"], ["probabilities"])],
        }
        nodes += heads[task]
        outputs = {"binary_classification": 2, "multiclass_classification": 3, "regression": 1}
        shape_of_output = ["n", outputs[task]]
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape_of_output)],
            [
                helper.make_tensor(key, TensorProto.FLOAT, [len(v), 1] if len(v) > 1 else [1], v)
                for key, v in floats.items()
            ],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
        ).SerializeToString(deterministic=True)
        rows = [[1.0, "north"], [None, "south"], [-2.0, None]]
        scores = [weight + 0.5, -0.5, -2.0 * weight]
        predictions: dict[str, list[Any]] = {
            "probabilities": [abs(1 / (1 + math.exp(-z)) - golden_shift) for z in scores]
        }
        record: dict[str, Any] = {"name": task}
        if task == "multiclass_classification":
            powers = [[math.exp(value) for value in (z, -z, 0.0)] for z in scores]
            predictions = {"probabilities": [[p / sum(row) for p in row] for row in powers]}
            record["classes"] = ["a", "b", "c"]
        if task == "regression":
            predictions = {"predictions": scores}
            record |= {"mean": 0.0, "scale": 1.0, "half_width": 0.5, "coverage": 0.9}
            record["bins"] = [-1.0, 0.0, 1.0]
        golden = {"inputs": rows, **predictions}
        files = {
            "model.onnx": model,
            "golden.json": json.dumps(golden).encode(),
            "reference.parquet": reference,
            "source.tar.gz": source,
            "sbom.cdx.json": sbom,
            "MODEL_CARD.md": b"# small",
        }
        folder.mkdir(parents=True)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        schema = FeatureSchema(
            (Feature("x", "numeric"), Feature("c", "categorical", ("north", "south")))
        )
        parts = {"data": "d" * 64, "config": "c" * 64, "source": "s" * 64, "lock": "1" * 64}
        values: dict[str, Any] = {
            "schema": "ml-pipeline/bundle/1",
            "project": "small",
            "profile": "full",
            "problem": "bars",
            "identity": identity * 64,
            "identity_parts": parts | {"seed": "7"},
            "features": schema.to_json(),
            "training": {} if task == "binary_classification" else {"task": record},
            "cutoffs": {"train_end": "2024-03-01", "holdout_end": None},
            "files": {
                file: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
                for file, content in files.items()
            },
        }
        (folder / "manifest.json").write_text(json.dumps(values | manifest, sort_keys=True))
        return folder

    return write


@pytest.fixture(scope="session")
def registry_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables, to be copied: making one takes a second."""
    home = Home(tmp_path_factory.mktemp("registry"))
    assert Registry(None, "small", home).read().champion is None
    return home / "mlflow.db"


LONGEST_ID = 80
"""Longest text that is used unchanged in a test's id."""

PREREQUISITES = {"git": "apt-get install git"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(program): needs a program of the machine")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    # servers may end with the tests' container
    os.environ["ML_PROCESS_TARGET_IN_CONTAINER"] = "allow"


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long and binary values by their argument, so that ids do not depend on a clock."""
    if isinstance(val, bytes) or (isinstance(val, str) and len(val) > LONGEST_ID):
        return argname
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test if its program is missing, with the fix; with CI=true fail instead."""
    for marker in item.iter_markers("needs"):
        program = marker.args[0]
        if shutil.which(program) is None:
            text = f"needs {program}: {PREREQUISITES[program]}"
            if os.environ.get("CI") == "true":
                pytest.fail(text)
            pytest.skip(text)
