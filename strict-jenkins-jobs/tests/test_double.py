"""The double answers as a real Jenkins answered jenkins-job-builder."""

from __future__ import annotations

import json
from pathlib import Path

import httpx

from .double import TOKEN, USER, Jenkins

RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


def test_the_double_answers_every_recorded_request_as_jenkins_did(jenkins: Jenkins) -> None:
    with httpx.Client(base_url=jenkins.url, auth=(USER, TOKEN)) as client:
        for request in RECORDED["requests"]:
            body = f'<?xml version="1.0"?>\n<{request["root"]}/>' if "root" in request else None
            answer = client.request(request["method"], request["path"], content=body)
            seen = {
                "method": request["method"],
                "path": request["path"],
                "status": answer.status_code,
                "response_type": answer.headers.get("Content-Type"),
                "location": answer.headers.get("Location"),
                "x_jenkins": answer.headers["X-Jenkins"],
                "class": answer.json()["_class"] if "class" in request else None,
            }
            assert {key: seen[key] for key in request if key != "root"} == {
                key: value for key, value in request.items() if key != "root"
            }


def test_wrong_credentials_get_401_and_a_missing_crumb_403(jenkins: Jenkins) -> None:
    jenkins.crumb = "c0ffee"
    assert httpx.get(f"{jenkins.url}/api/json", auth=(USER, "guess")).status_code == 401
    answer = httpx.post(f"{jenkins.url}/createItem?name=a", auth=(USER, TOKEN), content="<a/>")
    assert answer.status_code == 403
    assert jenkins.jobs == {}
