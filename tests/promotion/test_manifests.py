"""ml-pipeline manifests: what Kubernetes needs to serve a version, written without a cluster."""

import json

import kubernetes_validate
import pytest
import yaml
from ml_pipeline import cli
from ml_pipeline.core.home import Home
from ml_pipeline.registry.registry import Registry

KINDS = ["deployment", "horizontalpodautoscaler", "networkpolicy", "poddisruptionbudget"]
KINDS += ["service", "serviceaccount"]


@pytest.fixture
def project(make_project):
    kubernetes = {
        "target": "kubernetes",
        "port": 8000,
        "kubernetes": {"repository": "registry.example.org/small", "namespace": "ml"},
    }
    environments = {"staging": kubernetes, "production": kubernetes, "local": {"port": 1}}
    return make_project(environments=environments)


@pytest.fixture
def registry(project, registry_database, make_bundle):
    home = Home(project.root / ".ml")
    home.make()
    (home / "mlflow.db").write_bytes(registry_database.read_bytes())
    registry = Registry.of(project, home)
    registry.register(make_bundle("one"))
    registry.register(make_bundle("two", identity="b", weight=2.0))
    return registry


@pytest.fixture
def run(project, capsys, monkeypatch):
    monkeypatch.delenv("ML_HOME", raising=False)
    monkeypatch.delenv("ML_POLICY", raising=False)

    def run(*words):
        code = cli.main(["manifests", *words, "--project", str(project.root)])
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def test_the_challenger_as_one_stream(run, registry):
    code, text, _ = run("staging")
    assert code == 0
    made = list(yaml.safe_load_all(text))
    assert sorted(one["kind"].lower() for one in made) == KINDS
    for one in made:
        kubernetes_validate.validate(one, "1.34", strict=True)
    names = [one["metadata"]["name"] for one in made if one["kind"] == "Deployment"]
    assert names == ["small-staging-v2"]
    assert run("staging")[1] == text
    assert list(json.loads(run("staging", "--json")[1])) == made


def test_one_file_a_kind_that_a_change_of_version_changes(run, registry, tmp_path):
    folder = tmp_path / "deploy"
    (folder / "kept").mkdir(parents=True)
    (folder / "ingress.yaml").write_text("from another time")
    code, told, _ = run("staging", "--version", "1", "--out", str(folder))
    assert code == 0
    assert sorted(path.stem for path in folder.glob("*.yaml")) == KINDS
    assert told.split() == [str(folder / f"{kind}.yaml") for kind in order(told)]
    before = {path.name: path.read_text() for path in folder.glob("*.yaml")}
    assert "small-staging-v1" in before["deployment.yaml"]
    run("staging", "--out", str(folder))
    changed = {name for name, text in before.items() if (folder / name).read_text() != text}
    assert changed == {
        "deployment.yaml",
        "horizontalpodautoscaler.yaml",
        "poddisruptionbudget.yaml",
        "service.yaml",
    }
    assert (folder / "kept").is_dir()


def order(told):
    return [line.rpartition("/")[2].removesuffix(".yaml") for line in told.split()]


def test_argo_moves_the_service_last_and_deletes_the_old_version_after_it(run, registry):
    made = {one["kind"]: one for one in yaml.safe_load_all(run("staging")[1])}
    notes = {kind: one["metadata"]["annotations"] for kind, one in made.items()}
    assert notes["Service"]["argocd.argoproj.io/sync-wave"] == "1"
    assert "argocd.argoproj.io/sync-wave" not in notes["Deployment"]
    assert notes["Deployment"]["argocd.argoproj.io/sync-options"] == "PruneLast=true"


def test_production_is_given_what_was_promoted_and_nothing_else(run, registry):
    code, text, error = run("production", "--version", "1")
    assert code == 1
    assert text == ""
    assert "production serves what was promoted, and nothing else" in error


def test_another_target_has_none(run, registry):
    code, _, error = run("local")
    assert code == 2
    assert "target 'process', which has no manifests; expected target kubernetes" in error


def test_before_a_version_is_registered_it_says_so(run, project):
    code, _, error = run("staging")
    assert code == 2
    assert "no version of 'small' is registered" in error
    assert not (project.root / ".ml").exists()


def test_an_environment_is_named(run):
    assert "manifests needs an environment; expected local or production" in run()[2]
    assert "did you mean 'staging'?" in run("stagin")[2]
