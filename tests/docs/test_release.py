"""bin/release in a repository of its own, and the release that the documentation names."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import ml_pipeline
import pytest
import pytest_jenkinsfile
import strict_jenkins_jobs

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bin/release"
PACKAGE = "pipeline/ml_pipeline/__init__.py"
HARNESS = "harness/src/pytest_jenkinsfile/__init__.py"
JOBS = "strict-jenkins-jobs/src/strict_jenkins_jobs/__init__.py"
CHANGES = "# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-01-31\n\n### Added\n\n- A thing.\n"
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_NAME": "asha" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "asha@example.org" for who in ("AUTHOR", "COMMITTER")},
}

pytestmark = pytest.mark.needs("git")


class Repository:
    """A repository with version 1.2.0 in its packages and its changelog."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "--quiet", "--initial-branch", "main")
        (root / "bin").mkdir()
        shutil.copy(SCRIPT, root / "bin/release")
        self.set_version("1.2.0")
        self.write("CHANGELOG.md", CHANGES)
        self.commit()
        self.record_passed_tests()

    def git(self, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(
            command, cwd=self.root, env=ENVIRONMENT, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def set_version(self, version: str) -> None:
        for file in (PACKAGE, HARNESS, JOBS):
            self.write(file, f'__version__ = "{version}"\n')

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "Change")

    def record_passed_tests(self) -> None:
        (self.root / ".git/tests-passed").write_text(self.git("rev-parse", "HEAD") + "\n")

    def release(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "bin/release", *arguments],
            cwd=self.root,
            env=ENVIRONMENT,
            check=False,
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_makes_the_version_tag_and_the_major_tag(repository: Repository) -> None:
    code, output = repository.release()
    assert code == 0, output
    assert output.splitlines() == [
        "made v1.2.0, moved v1; publish them:",
        "  git push origin v1.2.0 && git push --force origin v1",
    ]
    head = repository.git("rev-parse", "HEAD")
    assert repository.git("rev-parse", "v1.2.0^{commit}") == head
    assert repository.git("rev-parse", "v1") == head
    assert repository.git("cat-file", "-t", "v1.2.0") == "tag"
    message = repository.git("tag", "--list", "v1.2.0", "--format", "%(contents)")
    assert message == "v1.2.0\n\n### Added\n\n- A thing."


def test_moves_the_major_tag_of_the_previous_release(repository: Repository) -> None:
    assert repository.release()[0] == 0
    first = repository.git("rev-parse", "v1")
    repository.set_version("1.3.0")
    repository.write(
        "CHANGELOG.md",
        CHANGES.replace("## [1.2.0]", "## [1.3.0] - 2026-02-28\n\n- B.\n\n## [1.2.0]"),
    )
    repository.commit()
    repository.record_passed_tests()
    code, output = repository.release()
    assert code == 0, output
    assert repository.git("rev-parse", "v1") == repository.git("rev-parse", "HEAD") != first
    assert repository.git("rev-parse", "v1.2.0^{commit}") == first


def test_check_makes_no_tag(repository: Repository) -> None:
    code, output = repository.release("--check")
    assert code == 0, output
    assert output.startswith("v1.2.0 can be released from ")
    assert repository.git("tag") == ""


def uncommitted(repository: Repository) -> None:
    repository.write("new.txt", "x")


def untested(repository: Repository) -> None:
    repository.commit()


def never_tested(repository: Repository) -> None:
    (repository.root / ".git/tests-passed").unlink()


def changed(name: str, old: str, new: str) -> Callable[[Repository], None]:
    def change(repository: Repository) -> None:
        text = (repository.root / name).read_text()
        assert old in text
        repository.write(name, text.replace(old, new))
        repository.commit()
        repository.record_passed_tests()

    return change


def newer(repository: Repository) -> None:
    repository.set_version("1.3.0")
    repository.commit()
    repository.record_passed_tests()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (uncommitted, "the working tree has changes; commit or remove them"),
        (untested, "bin/test has not passed on "),
        (never_tested, "bin/test has not passed on "),
        (changed(PACKAGE, "1.2.0", "1.2"), "__version__ is 1.2; expected X.Y.Z"),
        (changed(PACKAGE, "__version__", "version"), "__version__ is missing; expected X.Y.Z"),
        (
            changed(HARNESS, "1.2.0", "1.1.0"),
            f"{HARNESS}: __version__ is 1.1.0, that of {PACKAGE} is 1.2.0; expected one version",
        ),
        (
            newer,
            "the newest version is 1.2.0, __version__ is 1.3.0; expected ## [1.3.0] - DATE",
        ),
        (changed("CHANGELOG.md", "- 2026-01-31", "- soon"), "expected a date, YYYY-MM-DD"),
        (changed("CHANGELOG.md", "### Added\n\n- A thing.\n", ""), "has no entries"),
        (
            changed("CHANGELOG.md", "[Unreleased]\n", "[Unreleased]\n\n- B.\n"),
            "Unreleased has entries; move them to ## [1.2.0] - DATE",
        ),
    ],
    ids=[
        "uncommitted",
        "untested",
        "never-tested",
        "short-version",
        "no-version",
        "other-distribution",
        "other-version",
        "no-date",
        "no-entries",
        "unreleased-entries",
    ],
)
def test_an_error_says_what_to_do(
    repository: Repository, change: Callable[[Repository], None], message: str
) -> None:
    change(repository)
    code, output = repository.release()
    assert code == 1
    assert message in output
    assert len(output.splitlines()) == 1
    assert repository.git("tag") == ""


def test_a_released_version_is_refused(repository: Repository) -> None:
    assert repository.release()[0] == 0
    code, output = repository.release()
    assert (code, output) == (
        1,
        "bin/release: v1.2.0 is released; raise __version__, now 1.2.0\n",
    )


RELEASE = re.compile(
    r"ml-pipeline(?:-agent|-server(?:-raw)?|-gateway)?(?:\.git@v|@v|:|==)(\d[\w.]*)"
    r"|defaultVersion: v(\S+)"
    r"|ml-agent(?:-gpu)?:(\d[\w.]*)"
    r"|\(`(\d+\.\d+\.)x`\)"
)
"""A release of this repository, in the notations of tags, images and requirements."""
DOCUMENTS = ("README.md", "docs/how-to/*.md", "docker/*.Dockerfile", "examples/nepse/*", "jobs/*.*")


def test_the_documentation_names_this_release() -> None:
    version = ml_pipeline.__version__
    files = [path for pattern in DOCUMENTS for path in ROOT.glob(pattern) if path.is_file()]
    named = [
        (f"{path.relative_to(ROOT)}:{number}", "".join(filter(None, match.groups())))
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        for match in RELEASE.finditer(line)
    ]
    assert len(named) > 15
    minor = version.rpartition(".")[0] + "."
    assert [place for place, release in named if release not in (version, minor)] == []


def test_the_major_tag_of_the_readme_is_the_one_that_a_release_moves() -> None:
    major = f"v{ml_pipeline.__version__.split('.')[0]}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"The tag `{major}`" in readme


def test_the_three_distributions_have_one_version() -> None:
    versions = {pytest_jenkinsfile.__version__, strict_jenkins_jobs.__version__}
    assert versions == {ml_pipeline.__version__}
