"""A bundle that does not verify, through every stage that would serve it: exit code 1, one line.

Alias and records stay as they are, and the old model answers. All that can be wrong with a bundle
is in tests/bundle/damage.py; tests/targets/test_damaged_bundle.py shows each to each target.
"""

import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

import mlflow
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import workdir
from ml_pipeline.core.errors import Refused
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.registry.mlflow_session import mlflow_scope
from ml_pipeline.registry.versions import DIGEST
from ml_pipeline.stages.runner import execute
from ml_pipeline.targets.base import Placement
from ml_pipeline.targets.process.target import ProcessTarget

from tests.bundle.damage import BITS, CONTRACTS, GOLDEN, SHAPES, flip, refit
from tests.stages.test_promote import case

__all__ = ["case"]

BY_NAME = {damage.name: damage for damage in [*BITS, *SHAPES, *CONTRACTS, *GOLDEN]}
CHOSEN = [
    *(f"a bit of {name}, middle" for name in ("model.onnx", "golden.json", "source.tar.gz")),
    "a bit of manifest.json, a digest",
    "no model.onnx",
    "an extra file",
    "contract ml-pipeline/bundle/0",
    "golden rows: none",
    "golden rows: an answer that is NaN",
]


def registered(case, version):
    """The folder in which the registry keeps the bundle of a version."""
    (manifest,) = (case.home / "artifacts").glob(f"{version.run_id}/**/bundle/manifest.json")
    return manifest.parent


def text_bit(folder):
    """Turn a bit of a text in the manifest: it stays a manifest, of another digest."""
    path = folder / "manifest.json"
    flip(path, path.read_bytes().index(b'"problem": "') + len('"problem": "'))
    Bundle.open(folder)


def vouched_card(folder):
    """Change a file and let the manifest vouch for it."""
    refit(folder, "MODEL_CARD.md", b"# another")
    Bundle.open(folder)


ONLY_THE_REGISTRY_TELLS = {
    "a bit of the manifest": text_bit,
    "a manifest made to fit": vouched_card,
}


DAMAGES = [(name, BY_NAME[name].does, BY_NAME[name].error) for name in CHOSEN] + [
    (name, does, r"not the one that was registered: the SHA-256 of its manifest\.json is")
    for name, does in ONLY_THE_REGISTRY_TELLS.items()
]


def state(case):
    """All that a change of production changes, and what it serves."""
    files = ("production-model.yaml", "history.jsonl")
    kept = sorted(path.name for path in (case.home / "released").iterdir())
    records = [(case.home / name).read_bytes() for name in files]
    return case.registry.read().champion, case.running(), case.answer(), kept, records


@contextmanager
def damaged(*folders, does):
    """Spoil bundles alike, and put them back afterwards."""
    with tempfile.TemporaryDirectory() as scratch:
        for number, folder in enumerate(folders):
            shutil.copytree(folder, Path(scratch) / str(number))
            does(folder)
        try:
            yield
        finally:
            for number, folder in enumerate(folders):
                shutil.rmtree(folder)
                shutil.copytree(Path(scratch) / str(number), folder)


def run(case, stage, environment=None, **flags):
    return execute(case.make_context(case.project, stage, environment, **flags))


def assert_refused(result, error):
    summary = result.report.summary
    assert (result.exit_code, result.report.verdict) == (1, "fail"), summary
    assert re.search(error, summary), summary
    assert "\n" not in summary


@pytest.fixture
def two(case):
    """Two versions, promoted one after the other."""
    case.approved("one")
    assert case.promote().exit_code == 0
    case.first_file = (case.home / "production-model.yaml").read_bytes()
    case.approved("two", identity="b", weight=2.0)
    assert case.promote().exit_code == 0
    return case


def test_promote_and_deploy(case, subtests):
    case.approved("one")
    assert case.promote().exit_code == 0
    second = case.approved("two", identity="b", weight=2.0)
    case.project.config.environments["staging"] = case.placement.section
    folder, before = registered(case, second), state(case)
    for name, does, error in DAMAGES:
        with subtests.test(name), damaged(folder, does=does):
            assert_refused(case.promote(), error)
            assert_refused(run(case, "deploy", "staging"), error)
            assert state(case) == before
    assert open_journals(case.home) == []
    assert case.promote().exit_code == 0
    assert case.answer()["model_version"] == 2


def test_rollback_and_reconcile(two, subtests, tmp_path):
    """They fetch what the home keeps and finds damaged from the registry: damaged there, too."""
    first = two.registry.read().version(1)
    folders = registered(two, first), two.home / "released" / first.digest
    before = state(two)
    file = tmp_path / "production-model.yaml"
    file.write_bytes(two.first_file)
    for name, does, error in DAMAGES:
        with subtests.test(name), damaged(*folders, does=does):
            result = run(two, "rollback", reason="alarms")
            assert_refused(result, error)
            assert "go back to another version" in result.report.summary
            assert_refused(run(two, "reconcile", "production", file=str(file)), error)
            assert state(two) == before
    assert open_journals(two.home) == []
    assert run(two, "rollback", reason="alarms").exit_code == 0
    assert two.answer()["model_version"] == 1


def test_rollback_takes_the_registry_s_copy_where_only_the_home_s_is_damaged(two):
    first = two.registry.read().version(1)
    flip(two.home / "released" / first.digest / "model.onnx", 0)
    assert run(two, "rollback", reason="alarms").exit_code == 0
    assert two.answer()["model_version"] == 1
    assert Bundle.open(two.home / "released" / first.digest).digest == first.digest


def test_golden_rows_that_are_missing_from_the_start_reach_neither_registry_nor_server(case):
    """The registry vouches for what lies there: the bundle itself has to be refused."""
    case.approved("one")
    assert case.promote().exit_code == 0
    empty = case.make_bundle("empty", identity="b")
    none = BY_NAME["golden rows: none"]
    none.does(empty)
    with pytest.raises(Refused, match=none.error):
        case.registry.register(empty)
    second = case.registry.register(case.make_bundle("two", identity="c")).version
    none.does(registered(case, second))
    digest = workdir.digest(registered(case, second) / "manifest.json")
    with mlflow_scope(case.registry.uri):
        client = mlflow.MlflowClient(tracking_uri=case.registry.uri)
        client.set_model_version_tag(second.name, str(second.number), DIGEST, digest)
    assert_refused(run(case, "deploy", "production", version=2), "serves what was promoted")
    case.project.config.environments["staging"] = case.placement.section
    assert_refused(run(case, "deploy", "staging"), none.error)
    assert case.answer()["model_version"] == 1


def test_a_digest_in_the_registry_that_is_another_bundle_s(case):
    case.approved("one")
    assert case.promote().exit_code == 0
    second = case.registry.register(case.make_bundle("two", identity="b")).version
    with mlflow_scope(case.registry.uri):
        client = mlflow.MlflowClient(tracking_uri=case.registry.uri)
        client.set_model_version_tag(second.name, str(second.number), DIGEST, "0" * 64)
    case.project.config.environments["staging"] = case.placement.section
    assert_refused(run(case, "deploy", "staging"), "is not the one that was registered")
    assert case.answer()["model_version"] == 1


def test_a_target_that_serves_another_bundle_than_it_was_given_is_not_kept(case, monkeypatch):
    case.approved("one")
    assert case.promote().exit_code == 0
    case.registry.register(case.make_bundle("two", identity="b"))
    other = case.make_bundle("other", identity="c")
    real = ProcessTarget.handover
    monkeypatch.setattr(
        ProcessTarget, "handover", lambda self, place, _, version: real(self, place, other, version)
    )
    case.project.config.environments["staging"] = case.placement.section
    assert_refused(run(case, "deploy", "staging"), "staging serves bundle .*; expected")
    staging = Placement.of(case.project, "staging", case.home)
    assert ProcessTarget().status(staging) is None
