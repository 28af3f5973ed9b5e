"""How a Jenkins is reached, and what is said when it is not."""

from __future__ import annotations

import socket

import pytest
from strict_jenkins_jobs.errors import ServerError, UsageError
from strict_jenkins_jobs.server import Server, access, job_path, view_path

from .double import TOKEN, USER, Jenkins


def environment(**changes: str) -> dict[str, str]:
    given = {"JENKINS_URL": "http://127.0.0.1:1", "JENKINS_USER": USER, "JENKINS_TOKEN": TOKEN}
    return given | changes


@pytest.mark.parametrize("name", ["JENKINS_URL", "JENKINS_USER", "JENKINS_TOKEN"])
def test_every_variable_is_needed(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} not set"):
        access(environment(**{name: ""}))


@pytest.mark.parametrize("url", ["jenkins", "ftp://a", "http://", "file:///etc"])
def test_an_invalid_address_is_an_error(url: str) -> None:
    with pytest.raises(UsageError, match="JENKINS_URL is not an address"):
        access(environment(JENKINS_URL=url))


def test_credentials_in_the_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="has credentials") as raised:
        access(environment(JENKINS_URL="https://asha:hunter2@jenkins.example.org"))
    assert "hunter2" not in str(raised.value)


def test_the_token_is_in_no_message(jenkins: Jenkins) -> None:
    given = access({**jenkins.environment, "JENKINS_TOKEN": "wrong-token"})
    assert "wrong-token" not in repr(given)
    with Server(given) as server, pytest.raises(UsageError, match="401") as raised:
        server.check_access()
    assert "wrong-token" not in str(raised.value)


def test_a_server_that_cannot_be_reached_is_an_environment_fault() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        with (
            Server(access(environment(JENKINS_URL=url))) as server,
            pytest.raises(ServerError, match="cannot be reached"),
        ):
            server.check_access()


def test_another_server_is_not_an_empty_jenkins(jenkins: Jenkins) -> None:
    given = {**jenkins.environment, "JENKINS_URL": f"{jenkins.url}/wrong/prefix"}
    with Server(access(given)) as server, pytest.raises(UsageError, match="no Jenkins answers"):
        server.check_access()


def test_a_server_without_the_jenkins_header_is_not_a_jenkins(jenkins: Jenkins) -> None:
    jenkins.is_jenkins = False
    with (
        Server(access(jenkins.environment)) as server,
        pytest.raises(UsageError, match="no Jenkins answers"),
    ):
        server.check_access()


def test_a_missing_permission_is_named(jenkins: Jenkins) -> None:
    jenkins.forbidden = ("/createItem?name=a",)
    with (
        Server(access(jenkins.environment)) as server,
        pytest.raises(UsageError, match=r"may not create job 'a' \(403\).*Create"),
    ):
        server.create_job("a", "<project/>")


def test_the_error_of_jenkins_is_in_the_message(jenkins: Jenkins) -> None:
    with Server(access(jenkins.environment)) as server:
        server.create_job("a", "<?xml version='1.0'?><project/>")
        with pytest.raises(UsageError, match=r"\(400\): A job already exists with the name 'a'"):
            server.create_job("a", "<project/>")


def test_an_expired_crumb_is_renewed(jenkins: Jenkins) -> None:
    jenkins.crumb = "first"
    with Server(access(jenkins.environment)) as server:
        server.create_job("a", "<?xml version='1.0'?><project/>")
        jenkins.crumb = "second"
        server.delete_job("a")
    assert jenkins.jobs == {}


def test_non_ascii_letters_are_unchanged(jenkins: Jenkins) -> None:
    text = "<?xml version='1.0'?><project><description>नेप्से ü</description></project>"
    with Server(access(jenkins.environment)) as server:
        server.create_job("a", text)
        assert server.job("a") == text


def test_names_are_quoted_in_paths() -> None:
    assert job_path("team a/ci") == "/job/team%20a/job/ci"
    assert job_path("a/release%2F1") == "/job/a/job/release%252F1"
    assert view_path("ML all") == "/view/ML%20all"
    assert view_path("team/ML") == "/job/team/view/ML"
