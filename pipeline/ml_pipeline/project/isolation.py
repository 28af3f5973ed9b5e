"""Isolation of a project's own code: it runs in a copy of the tree and can write only there.

Without Landlock, writes elsewhere are not prevented but detected afterwards
(``ml_pipeline.project.protected_files``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ml_pipeline.core import documents, landlock, supervisor
from ml_pipeline.core.documents import DocumentError
from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.home import DEFAULT, named_secret_files, secret_files
from ml_pipeline.core.landlock import Rules
from ml_pipeline.core.report import Check, Verdict
from ml_pipeline.project.protected_files import Protected, environment_of
from ml_pipeline.project.tree_copy import copy_tree

CHECK = "isolation of the project's code"
CACHES = ("MPLCONFIGDIR", "NUMBA_CACHE_DIR")
"""Variables of libraries that by default write into a folder of the user's home."""
MAX_READ_BYTES = 256 << 20
"""Largest file of the project's code that is read."""


class ProcessResult(NamedTuple):
    """The exit code of a process of the project's code, and its output."""

    exit_code: int
    printed: str

    def __str__(self) -> str:
        last = next((line for line in reversed(self.printed.splitlines()) if line.strip()), "")
        return f"ended with {self.exit_code}" + (f": {last.strip()}" if last else "")


@dataclass(frozen=True)
class IsolatedCopy:
    """A copy of the project, and the confinement of code that runs in it.

    Attributes:
        root: the copy of the project.
        original: the project.
        out: a folder for the results of the code.
        environment: variables without credentials, with the paths of the copy.
        rules: paths that the code may write, and paths that it may not read.
    """

    root: Path
    original: Path
    out: Path
    environment: Mapping[str, str]
    rules: Rules

    def command(self, program: Sequence[str]) -> list[str]:
        """Return the command that runs the program and ends all processes that it leaves.

        The program is confined if the system supports Landlock.
        """
        return supervisor.command(landlock.command(self.rules, program))

    def run_module(
        self,
        module: str,
        request: str,
        *,
        cwd: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> ProcessResult:
        """Run a module of this package with the project's code, and print its output to stderr.

        Args:
            module: name of the module.
            request: its argument, JSON.
            cwd: working directory; the copy by default.
            variables: environment variables added to those of the copy.
        """
        done = subprocess.run(
            self.command([sys.executable, "-P", "-m", module, request]),
            cwd=cwd or self.root,
            env={**self.environment, **(variables or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        printed = self.with_original_paths(done.stdout.decode(errors="replace"))
        sys.stderr.write(printed)
        return ProcessResult(done.returncode, printed)

    def path_in_copy(self, text: str) -> str:
        """Return a path in the project as the path in its copy; other text is unchanged."""
        path = Path(text)
        if not path.is_absolute() or not path.is_relative_to(self.original):
            return text
        return str(self.root / path.relative_to(self.original))

    def with_original_paths(self, text: str) -> str:
        """Replace paths of the copy in a text with those of the project."""
        return text.replace(str(self.root), str(self.original))

    def read(self, name: str, limit: int = MAX_READ_BYTES) -> bytes | None:
        """Return a file of ``out``; None where there is no regular file of at most ``limit``."""
        path = self.out / name
        try:
            if path.is_symlink():
                return None
            content = documents.read_bytes(path, limit=limit)
        except (OSError, DocumentError):
            return None
        return content if len(content) <= limit else None


@contextmanager
def isolated_copy(protected: Protected) -> Iterator[IsolatedCopy]:
    """Yield a copy of the project to run its code in; it is removed afterwards.

    Raises:
        EnvironmentFault: the copy cannot be made.
    """
    project = protected.project
    original = project.root.resolve()
    with tempfile.TemporaryDirectory(prefix="ml-pipeline-", ignore_cleanup_errors=True) as name:
        scratch = Path(name).resolve()
        tree, out, tmp = scratch / "tree", scratch / "out", scratch / "tmp"
        for folder in (tree, out, tmp):
            folder.mkdir()
        try:
            without = [*_pipeline_folders(protected), *named_secret_files()]
            root = copy_tree(original, tree, without, link_large=landlock.abi() > 0)
        except OSError as error:
            raise EnvironmentFault(
                f"cannot copy {original} to {tree}: {error.strerror or error}",
                expected="disk space for a copy of the project's files",
                hint="set TMPDIR to a folder with enough space",
            ) from None
        places = {name: str(tmp) for name in ("TMPDIR", "TMP", "TEMP")} | {"PWD": str(root)}
        given = environment_of(project)
        caches = {name: str(tmp / name.lower()) for name in CACHES if name not in given}
        yield IsolatedCopy(
            root,
            original,
            out,
            given | caches | places,
            Rules((tree, out, tmp), secret_files(protected.home)),
        )


def check(ran: Iterable[object]) -> list[Check]:
    """Return the advisory check that describes how the project's code was isolated.

    Args:
        ran: names or checks of the code that ran; without any, no check is returned.
    """
    if not list(ran):
        return []
    abi = landlock.abi()
    if abi:
        return [
            Check(
                name=CHECK,
                verdict=Verdict.PASS,
                required=False,
                observed=f"a copy; Landlock (ABI {abi}) refuses writes elsewhere",
                expected="the project's code to write nothing that later stages read",
            )
        ]
    system = "Linux 6.2 or later" if sys.platform.startswith("linux") else "Linux"
    return [
        Check(
            name=CHECK,
            verdict=Verdict.SKIPPED,
            required=False,
            observed="a copy; writes elsewhere are detected afterwards, not refused",
            expected="the project's code to write nothing that later stages read",
            why=f"this system has no Landlock; {system} with it enabled refuses such writes",
        )
    ]


def _pipeline_folders(protected: Protected) -> list[Path]:
    """Return the folders that the pipeline created in the tree."""
    root = protected.project.root
    homes = [root / DEFAULT]
    if protected.home is not None:
        homes += [protected.home.root]
    if given := os.environ.get("ML_HOME"):
        homes += [Path(given)]
    return [protected.workdir.root, *(home for home in homes if home.resolve() != root.resolve())]
