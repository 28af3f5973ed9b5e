"""doctor on environments of the docker target, with a real engine."""

import pytest

from pipeline.deploy import engine as engines
from pipeline.home import Home
from pipeline.project import servers
from pipeline.report import Verdict


@pytest.fixture
def look(engine, make_project, tmp_path):
    def look(**section):
        section = {"target": "docker", "port": 8000} | section
        project = make_project(environments={"staging": section})
        (check,) = servers.examine(project, Home(tmp_path / "home"))
        return check

    return look


def test_the_standard_image_is_there(look, engine, base_image, monkeypatch):
    monkeypatch.setattr(engines, "IMAGE", base_image)
    check = look()
    assert check.verdict is Verdict.PASS
    assert check.observed == f"docker, engine {engine.version()['Version']} with image {base_image}"


def test_the_standard_image_is_missing(look, monkeypatch):
    monkeypatch.setattr(engines, "IMAGE", "ml-pipeline-server:never-built")
    check = look()
    assert (check.verdict, check.required) == (Verdict.FAIL, True)
    assert "no image ml-pipeline-server:never-built: docker build -f docker/server" in check.why


def test_another_image_may_still_be_pulled(look):
    check = look(image="localhost:1/none:1")
    assert check.verdict is Verdict.PASS
    assert "without image localhost:1/none:1, which deploy will pull" in check.observed
