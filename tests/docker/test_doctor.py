"""doctor on environments of the docker target, with a real engine."""

import pytest
from ml_pipeline.core.home import Home
from ml_pipeline.core.report import Verdict
from ml_pipeline.project import doctor_environments
from ml_pipeline.targets.docker import engine as engines


@pytest.fixture
def look(engine, make_project, tmp_path):
    def look(**section):
        section = {"target": "docker", "port": 8000} | section
        project = make_project(environments={"staging": section})
        checks = doctor_environments.examine(project, Home(tmp_path / "home"))
        return next(check for check in checks if check.name == "target of staging")

    return look


def test_the_standard_images_exist(look, engine, base_image, gateway_image, monkeypatch):
    monkeypatch.setattr(engines, "RAW_IMAGE", base_image)
    monkeypatch.setattr(engines, "GATEWAY", gateway_image)
    check = look()
    assert check.verdict is Verdict.PASS
    version = engine.version()["Version"]
    told = f"docker, engine {version} with image {base_image} with image {gateway_image}"
    assert check.observed == told


def test_the_gateway_s_image_is_missing(look, base_image, monkeypatch):
    monkeypatch.setattr(engines, "RAW_IMAGE", base_image)
    monkeypatch.setattr(engines, "GATEWAY", "ml-pipeline-gateway:never-built")
    check = look()
    assert (check.verdict, check.required) == (Verdict.FAIL, True)
    assert "no image ml-pipeline-gateway:never-built: docker build -f docker/gateway" in check.why


def test_the_standard_image_is_missing(look, monkeypatch):
    monkeypatch.setattr(engines, "RAW_IMAGE", "ml-pipeline-server-raw:never-built")
    check = look()
    assert (check.verdict, check.required) == (Verdict.FAIL, True)
    told = "no image ml-pipeline-server-raw:never-built: docker build -f docker/server.Dockerfile"
    assert told in check.why
    assert "does with environments.NAME.raw_rows: false" in check.why


def test_without_raw_rows_the_small_image_is_sufficient(
    look, base_image, gateway_image, monkeypatch
):
    monkeypatch.setattr(engines, "RAW_IMAGE", "ml-pipeline-server-raw:never-built")
    monkeypatch.setattr(engines, "IMAGE", base_image)
    monkeypatch.setattr(engines, "GATEWAY", gateway_image)
    assert look(raw_rows=False).verdict is Verdict.PASS


def test_another_image_may_still_be_pulled(look, gateway_image):
    check = look(image="localhost:1/none:1", gateway_image=gateway_image)
    assert check.verdict is Verdict.PASS
    assert "without image localhost:1/none:1, which deploy will pull" in check.observed
