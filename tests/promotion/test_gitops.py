"""production-model.yaml in a bare repository: others push, main is protected, a token is asked."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline.config import GitopsSection
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.promotion import gitops, production_history
from ml_pipeline.promotion.environment import Production
from ml_pipeline.promotion.gitops import Published, fetch, publish
from ml_pipeline.promotion.journal import open_journals
from ml_pipeline.promotion.promote import promote
from ml_pipeline.promotion.rollback import rollback
from pydantic import ValidationError

pytestmark = pytest.mark.needs("git")
BRANCH = "promotion/m-v2"
PROTECTED = """#!/bin/sh
while read old new name; do
    [ "$name" != refs/heads/main ] || { echo "main is protected" >&2; exit 1; }
done
"""
CLOSED = "#!/bin/sh\nexit 1\n"


def git(folder: Path, *words: str) -> str:
    settings = ["-c", "user.name=Dev", "-c", "user.email=dev@example.org"]
    return subprocess.run(
        ["git", "-C", str(folder), *settings, *words], check=True, capture_output=True, text=True
    ).stdout


class Repository:
    """A bare repository with a main branch, and a clone in which somebody else works."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.other = folder / "models.git", folder / "other"
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        git(folder, "clone", "--quiet", str(self.bare), str(self.other))
        git(self.other, "checkout", "--quiet", "-B", "main")
        self.somebody_pushes("README.md", "models")

    def somebody_pushes(self, name: str, text: str) -> None:
        if self.holds():
            git(self.other, "pull", "--quiet", "--rebase", "origin", "main")
        (self.other / name).write_text(text)
        git(self.other, "add", name)
        git(self.other, "commit", "--quiet", "-m", f"change {name}")
        git(self.other, "push", "--quiet", "origin", "HEAD:main")

    def holds(self) -> list[str]:
        return git(self.bare, "for-each-ref", "--format=%(refname:short)").split()

    def read(self, branch: str = "main", path: str = "production-model.yaml") -> str:
        return git(self.bare, "show", f"{branch}:{path}")

    def hook(self, text: str) -> None:
        path = self.bare / "hooks/pre-receive"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def section(self, **more: Any) -> GitopsSection:
        return GitopsSection(repository=str(self.bare), **more)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    folder = tmp_path / "git"
    folder.mkdir()
    return Repository(folder)


def push(section: GitopsSection, text: str = "model_version: 2\n", **more: Any) -> Published:
    return publish(section, text.encode(), title="promotion of m", branch=BRANCH, **more)


class TestPublish:
    def test_commits_the_file_to_the_branch(self, repository: Repository) -> None:
        done = push(repository.section(path="live/model.yaml"))
        assert done == Published("main", waits=False)
        assert repository.read(path="live/model.yaml") == "model_version: 2\n"
        assert git(repository.bare, "log", "-1", "--format=%s %an", "main").split() == [
            "promotion", "of", "m", "ml-pipeline",
        ]  # fmt: skip
        assert repository.read(path="README.md") == "models"

    def test_of_the_same_content_makes_no_commit(self, repository: Repository) -> None:
        push(repository.section())
        before = git(repository.bare, "rev-parse", "main")
        push(repository.section())
        assert git(repository.bare, "rev-parse", "main") == before

    def test_lays_its_commit_over_what_others_pushed_meanwhile(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        met: list[str] = []

        def once() -> None:
            if not met:
                repository.somebody_pushes("theirs", "kept")
                met.append("pushed")

        meanwhile(monkeypatch, once)
        assert push(repository.section()) == Published("main", waits=False)
        assert repository.read() == "model_version: 2\n"
        assert repository.read(path="theirs") == "kept"

    def test_gives_up_where_others_are_always_faster(
        self, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pushes = iter(range(100))
        meanwhile(monkeypatch, lambda: repository.somebody_pushes("theirs", f"push {next(pushes)}"))
        with pytest.raises(EnvironmentFault, match=r"others pushed to main of .* 5 times"):
            push(repository.section())

    def test_goes_to_a_branch_where_main_is_protected(self, repository: Repository) -> None:
        repository.hook(PROTECTED)
        assert push(repository.section()) == Published(BRANCH, waits=True)
        assert push(repository.section(), "model_version: 3\n").branch == BRANCH
        assert repository.read(BRANCH) == "model_version: 3\n"
        assert git(repository.bare, "ls-tree", "--name-only", "main").split() == ["README.md"]

    def test_goes_to_a_branch_where_pull_requests_are_asked_for(
        self, repository: Repository
    ) -> None:
        assert push(repository.section(pull_request=True)) == Published(BRANCH, waits=True)
        assert set(repository.holds()) == {"main", BRANCH}

    def test_closes_what_waits_with_another_version(self, repository: Repository) -> None:
        section = repository.section(pull_request=True)
        other = "promotion/m-v3-v1"  # of the model m-v3
        for branch in ("promotion/m-v1", other, "promotion/m-v3"):
            git(repository.other, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
        assert push(section) == Published(BRANCH, waits=True)
        assert set(repository.holds()) == {"main", other, BRANCH}
        assert push(repository.section()) == Published("main", waits=False)
        assert set(repository.holds()) == {"main", other}

    def test_says_what_it_may_not_close(self, repository: Repository) -> None:
        git(repository.other, "push", "--quiet", "origin", "HEAD:refs/heads/promotion/m-v1")
        git(repository.bare, "config", "receive.denyDeletes", "true")
        done = push(repository.section(pull_request=True))
        assert done == Published(BRANCH, waits=True, stale=("promotion/m-v1",))

    def test_is_refused_where_nothing_may_be_pushed(self, repository: Repository) -> None:
        repository.hook(CLOSED)
        with pytest.raises(Refused, match=r"takes no push to promotion/m-v2: .*hook declined"):
            push(repository.section())

    def test_follows_no_link_of_the_repository(
        self, repository: Repository, tmp_path: Path
    ) -> None:
        (repository.other / "live").symlink_to(tmp_path)
        git(repository.other, "add", "live")
        git(repository.other, "commit", "--quiet", "-m", "link")
        git(repository.other, "push", "--quiet", "origin", "HEAD:main")
        with pytest.raises(Refused, match="symbolic link"):
            push(repository.section(path="live/model.yaml"))
        assert not (tmp_path / "model.yaml").exists()

    def test_says_where_no_repository_answers(self, tmp_path: Path) -> None:
        with pytest.raises(EnvironmentFault, match="git fetch: fatal: "):
            push(GitopsSection(repository=str(tmp_path / "none")))


class TestFetch:
    def test_reads_the_branch(self, repository: Repository) -> None:
        push(repository.section())
        assert fetch(repository.section(), pull_request_branch=BRANCH) == b"model_version: 2\n"

    def test_knows_of_a_branch_that_waits(self, repository: Repository) -> None:
        push(repository.section(pull_request=True))
        assert fetch(repository.section(), pull_request_branch=BRANCH) is None

    def test_says_that_the_file_is_not_there(self, repository: Repository) -> None:
        with pytest.raises(UsageError, match=r"has no production-model\.yaml on main"):
            fetch(repository.section(), pull_request_branch=BRANCH)

    @pytest.mark.parametrize("how", ["configuration", "folder", "objects"])
    def test_variables_of_a_build_do_not_lead_it_elsewhere(
        self, repository: Repository, tmp_path: Path, how: str
    ) -> None:
        push(repository.section())
        (tmp_path / "evil").mkdir()
        evil = Repository(tmp_path / "evil")
        push(evil.section(), "model_version: 666\n")
        variables = {
            "configuration": {
                "GIT_CONFIG_COUNT": "1",
                "GIT_CONFIG_KEY_0": f"url.{evil.bare}.insteadOf",
                "GIT_CONFIG_VALUE_0": str(repository.bare),
            },
            "folder": {"GIT_DIR": str(evil.bare), "GIT_WORK_TREE": str(evil.other)},
            "objects": {"GIT_OBJECT_DIRECTORY": str(evil.bare / "objects")},
        }[how]
        found = fetch(
            repository.section(),
            pull_request_branch=BRANCH,
            environment=dict(os.environ) | variables,
        )
        assert found == b"model_version: 2\n"


def meanwhile(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Act between the commit and the push."""
    before = gitops._Clone.push

    def pushed(clone: Any, refs: str) -> str | None:
        act()
        return before(clone, refs)

    monkeypatch.setattr(gitops._Clone, "push", pushed)


def test_the_token_is_told_to_git_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that asks for a password is given it; no argument of git holds it."""
    met: list[str | None] = []
    arguments: list[list[str]] = []

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            met.append(self.headers.get("Authorization"))
            self.send_response(404 if met[-1] else 401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()

        def log_message(self, *about: Any) -> None:
            """Stay quiet."""

    run = subprocess.run

    def watched(words: list[str], **more: Any) -> Any:
        arguments.append(words)
        return run(words, **more)

    monkeypatch.setattr(subprocess, "run", watched)
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/models.git"
        section = GitopsSection(repository=address, token_env="GIT_TOKEN", user="robot")
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "GIT_TOKEN": "s3cr3t"}
        with pytest.raises(EnvironmentFault) as fault:
            push(section, environment=environment)
        with pytest.raises(UsageError, match="GIT_TOKEN is not set"):
            push(section, environment={"PATH": os.environ["PATH"]})
        server.shutdown()
    assert met[-1] == "Basic cm9ib3Q6czNjcjN0"
    assert "s3cr3t" not in str(arguments) + str(fault.value)


@pytest.mark.parametrize(
    "values",
    [
        {"repository": "--upload-pack=x"},
        {"repository": "ext::sh -c x"},
        {"repository": "https://robot:s3cr3t@example.org/m.git"},
        {"path": "../x"},
        {"path": ".git/config"},
        {"path": "/etc/passwd"},
        {"branch": "-x"},
        {"branch": "a/../b"},
    ],
)
def test_what_git_could_misunderstand_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        GitopsSection(**values)


class TestPromotion:
    def production(self, delivery: Any, section: GitopsSection) -> Production:
        return Production(delivery.target, delivery.placement, section)

    def promote(self, delivery: Any, section: GitopsSection) -> str:
        done = promote(
            delivery.registry,
            delivery.policy,
            [delivery.signer.public_key],
            self.production(delivery, section),
            profile=None,
            run_id="run-4",
            progress=lambda what, share: None,
        )
        return done.published

    def test_pushes_what_is_in_production_and_so_does_rollback(
        self, three: Any, repository: Repository
    ) -> None:
        version = three.register("four", identity="d", weight=4.0)
        three.gate(version)
        three.approve(version)
        assert self.promote(three, repository.section()) == "pushed to main"
        own = three.home / production_history.PRODUCTION_MODEL
        assert repository.read() == own.read_text()
        done = rollback(
            three.registry,
            [three.signer.public_key],
            self.production(three, repository.section()),
            to=None,
            by="Bina",
            reason="alarms",
            run_id="back",
        )
        assert done.open == ""
        assert "model_version: 3" in repository.read()

    def test_that_could_not_push_says_so_and_the_next_one_pushes(
        self, three: Any, repository: Repository, tmp_path: Path
    ) -> None:
        version = three.register("four", identity="d", weight=4.0)
        three.gate(version)
        three.approve(version)
        nowhere = GitopsSection(repository=str(tmp_path / "none"))
        with pytest.raises(EnvironmentFault, match=r"version 4 is in .* not pushed"):
            self.promote(three, nowhere)
        assert three.registry.read().champion == version
        assert three.registry.leases.read()[-1].ended == "done"
        self.promote(three, repository.section())
        assert "model_version: 4" in repository.read()
        assert not open_journals(three.home)
