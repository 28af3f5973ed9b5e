"""A project's own code runs in a copy, and the system refuses what it tries to write elsewhere."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from ml_pipeline.config import Project
from ml_pipeline.core import landlock
from ml_pipeline.core.home import Home
from ml_pipeline.core.landlock import Rules
from ml_pipeline.core.report import Verdict
from ml_pipeline.core.workdir import Workdir
from ml_pipeline.project import isolation
from ml_pipeline.project.isolation import isolated_copy
from ml_pipeline.project.protected_files import Protected
from ml_pipeline.project.test_context import move_search_path
from ml_pipeline.project.tree_copy import LARGE, copy_tree

needs_landlock = pytest.mark.skipif(not landlock.abi(), reason="this system has no Landlock")


@pytest.fixture
def project(make_project) -> Project:
    return make_project()


@pytest.fixture
def protected(project) -> Protected:
    """A project with reports, a model, a registry and keys, all as later stages read them."""
    workdir, home = Workdir(project.root / "build/ml"), Home(project.root.parent / "homes/mine")
    workdir.make()
    for path in (
        workdir / "reports/train.json",
        workdir / "data/predictions.parquet",
        home / "mlflow.db",
        home / "keys/approval.pem",
        home / "keys/a.pub.pem",
        home.root.parent / "theirs/keys/approval.pem",
        project.root.parent / "site-packages/module.py",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as it was")
    return Protected(project, workdir, home)


def run(protected: Protected, code: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run Python code where a project's code runs."""
    with isolated_copy(protected) as place:
        return subprocess.run(
            place.command([sys.executable, "-c", textwrap.dedent(code), *more]),
            cwd=place.root,
            env=dict(place.environment),
            capture_output=True,
            text=True,
            check=False,
        )


ESCAPES = {
    "the configuration, by its absolute path": "open(ROOT / 'ml.yaml', 'w')",
    "predictions": "(ML / 'data/predictions.parquet').write_text('x')",
    "a report that is not there yet": "(ML / 'reports/verify-staging.json').touch()",
    "the registry": "open(HOME / 'mlflow.db', 'r+b')",
    "the registry's journal": "open(HOME / 'mlflow.db-journal', 'w')",
    "a module of the environment": "open(SITE / 'module.py', 'a')",
    "what Python runs at its start": "(SITE / 'evil.pth').write_text('import evil')",
    "a key": "(HOME / 'keys/mine.pub.pem').touch()",
    "the private key, to be read": "(HOME / 'keys/approval.pem').read_text()",
    "the keys of another home, to be read": "(HOME / '../theirs/keys/approval.pem').read_text()",
    "the policy, to be read": "POLICY.read_text()",
    "by a symbolic link": "os.symlink(ML / 'reports/train.json', 'a'); open('a', 'w')",
    "by a link to a folder": "os.symlink(ML, 'b'); Path('b/reports/new.json').touch()",
    "by a hard link": "os.link(ML / 'reports/train.json', 'c'); open('c', 'w')",
    "by a hard link, the other way": "Path('d').touch(); os.link('d', ML / 'reports/d')",
    "by renaming over it": "Path('e').touch(); os.replace('e', ML / 'reports/train.json')",
    "by renaming it away": "os.rename(ML / 'reports', 'f')",
    "by renaming the folder above": "os.rename(ROOT, str(ROOT) + '.old')",
    "by removing it": "os.unlink(ML / 'reports/train.json')",
    "by emptying it": "os.truncate(ML / 'reports/train.json', 0)",
    "by another opening flag": "os.open(ML / 'reports/train.json', os.O_RDONLY | os.O_TRUNC)",
    "by a folder's handle": "os.open('reports/train.json', os.O_RDWR, dir_fd=os.open(ML, 0))",
    "by /proc/self": "open(f'/proc/self/root{ROOT}/ml.yaml', 'w')",
    "by opening what was opened again": (
        "open(f'/proc/self/fd/{os.open(ROOT / \"ml.yaml\", 0)}', 'r+')"
    ),
    "by the parent's folder": "open(f'/proc/{PARENT}/cwd/x', 'w')",
    "by the parent's root": "open(f'/proc/{PARENT}/root{ROOT}/ml.yaml', 'w')",
    "by the parent's open files": "os.readlink(f'/proc/{PARENT}/fd/0')",
    "in the parent's memory": "open(f'/proc/{PARENT}/mem', 'r+b')",
    "the parent's environment": "open(f'/proc/{PARENT}/environ', 'rb').read()",
    "by a Unix socket there": (
        "import socket; socket.socket(socket.AF_UNIX).bind(str(HOME / 'control'))"
    ),
    "by a pipe there": "os.mkfifo(HOME / 'pipe')",
    "by a device": "os.mknod('disk', 0o60600, os.makedev(254, 0))",
    "by a mount": (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
        "assert libc.mount(b'/tmp', str(ROOT).encode(), None, 4096, None) == -1; "
        "raise OSError(ctypes.get_errno(), 'mount')"
    ),
    "by tracing the parent": (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
        "assert libc.ptrace(16, PARENT, 0, 0) == -1; raise OSError(ctypes.get_errno(), 'ptrace')"
    ),
    "by a child": (
        "import subprocess; done = subprocess.run(['sh', '-c', f'echo x > {ROOT}/ml.yaml'], "
        "stderr=subprocess.DEVNULL); assert done.returncode; raise PermissionError"
    ),
}
REFUSED = ("PermissionError", "OSError")


@pytest.fixture(scope="module")
def tried(tmp_path_factory) -> dict[str, str]:
    """Try every escape in one confined process; return how each ended, and what changed."""
    base = tmp_path_factory.mktemp("escapes")
    root, home = base / "project", Home(base / "homes/mine")
    for path in (
        root / "ml.yaml",
        root / "build/ml/reports/train.json",
        root / "build/ml/data/predictions.parquet",
        home / "mlflow.db",
        home / "keys/approval.pem",
        base / "homes/theirs/keys/approval.pem",
        base / "site-packages/module.py",
        base / "policy.yaml",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("project: mine\n")
    (base / "copy").mkdir()
    hidden = (
        home / "keys",
        base / "homes/theirs/keys",
        base / "policy.yaml",
    )
    code = f"""
        import json, os, sys
        from pathlib import Path
        ROOT, HOME = Path({str(root)!r}), Path({str(home.root)!r})
        BASE = Path({str(base)!r})
        SITE, POLICY = BASE / "site-packages", BASE / "policy.yaml"
        ML, PARENT = ROOT / "build/ml", {os.getpid()}
        found = {{}}
        for name, escape in json.loads(sys.argv[1]).items():
            try:
                exec(escape)
                found[name] = "done"
            except Exception as error:
                found[name] = type(error).__name__
        print(json.dumps(found))
    """
    before = {path: path.read_bytes() for path in base.rglob("*") if path.is_file()}
    done = subprocess.run(
        landlock.command(
            Rules((base / "copy",), hidden),
            [sys.executable, "-c", textwrap.dedent(code), json.dumps(ESCAPES)],
        ),
        cwd=base / "copy",
        capture_output=True,
        text=True,
        check=True,
    )
    kept = [
        path for path in base.rglob("*") if path.is_file() and base / "copy" not in path.parents
    ]
    assert {path: path.read_bytes() for path in kept} == before
    result: dict[str, str] = json.loads(done.stdout)
    return result


@needs_landlock
class TestRefusedByLandlock:
    @pytest.mark.parametrize("escape", ESCAPES)
    def test_writes_to_files_of_later_stages(self, tried, escape):
        assert tried[escape] in REFUSED

    def test_input_for_the_shell_of_the_terminal(self, protected):
        """TIOCSTI works on the terminal of one's session: there is none."""
        code = "import os; print(os.getsid(0) == os.getpid()); open('/dev/tty')"
        done = run(protected, code)
        assert done.stdout == "True\n"
        assert "No such device or address: '/dev/tty'" in done.stderr

    @pytest.mark.skipif(
        landlock.abi() < landlock.SCOPES_ABI, reason="signals are not confined before ABI 6"
    )
    def test_a_signal_to_the_parent(self, protected):
        done = run(protected, f"import os; os.kill({os.getpid()}, 0)")
        assert "PermissionError" in done.stderr

    def test_reading_a_key_that_a_variable_names_from_the_current_folder(
        self, protected, monkeypatch
    ):
        key = protected.project.root.parent / "own.pem"
        key.write_text("secret")
        monkeypatch.chdir(key.parent)
        monkeypatch.setenv("ML_APPROVAL_KEY", key.name)
        done = run(protected, f"print(open({str(key)!r}).read())")
        assert "PermissionError" in done.stderr
        assert "secret" not in done.stdout

    def test_processes_that_outlive_the_command_are_confined(self, protected):
        wrote = protected.project.root / "ml.yaml"
        before = wrote.read_bytes()
        code = f"""
            import os, sys
            read, write = os.pipe()
            if os.fork() == 0:
                os.setsid()
                try:
                    open({str(wrote)!r}, "w")
                except PermissionError:
                    os.write(write, b"refused")
                os._exit(0)
            print(os.read(read, 9).decode())
        """
        assert run(protected, code).stdout == "refused\n"
        assert wrote.read_bytes() == before

    def test_a_changed_mode_is_detected(self, protected):
        with protected.detect_changes():
            done = run(
                protected,
                f"import os; os.chmod({str(protected.workdir / 'reports/train.json')!r}, 0o666)",
            )
        assert done.returncode == 0
        assert protected.changed == ["reports/train.json was written"]

    def test_nothing_runs_if_a_writable_folder_is_missing(self, tmp_path):
        command = landlock.command(
            Rules((tmp_path / "none",)), [sys.executable, "-c", "print('ran')"]
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (landlock.FAILED, "")
        assert "confined by Landlock" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux's prctl")
def test_without_landlock_this_process_cannot_be_traced_while_the_code_runs(
    protected, without_landlock
):
    get_dumpable = 3
    prctl = ctypes.CDLL(None).prctl
    assert prctl(get_dumpable) == 1
    with protected.detect_changes():
        assert prctl(get_dumpable) == 0
    assert prctl(get_dumpable) == 1


class TestPermitted:
    def test_writing_into_the_copy_and_the_temporary_folder(self, protected):
        code = """
            import multiprocessing, os, tempfile
            from pathlib import Path
            Path("snapshots").mkdir(); Path("snapshots/one.txt").write_text("new")
            os.rename("snapshots", "renamed")
            Path("ml.yaml").write_text("project: other")
            tempfile.mkdtemp()
            Path(os.devnull).write_text("x")
            assert multiprocessing.Pool(1).map(abs, [-1]) == [1]
            assert Path("/etc").is_dir() and list(Path("/etc").iterdir())
        """
        before = (protected.project.root / "ml.yaml").read_bytes()
        done = run(protected, code)
        assert done.returncode == 0, done.stderr
        assert (protected.project.root / "ml.yaml").read_bytes() == before

    def test_git_works_in_the_copy(self, protected):
        root = protected.project.root
        (root / ".gitignore").write_text("build/\n")
        git(root, "init", "-q")
        git(root, "add", "-A")
        git(root, "commit", "-qm", "first")
        (root / "untracked.txt").write_text("x")
        code = """
            import subprocess
            told = lambda *words: subprocess.check_output(["git", *words], text=True)
            print(told("status", "--short"), told("log", "--format=%s"), sep="", end="")
            told("add", "-A")
            told("-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "b")
            print(told("log", "--format=%s", "-1"), end="")
        """
        done = run(protected, code)
        assert done.stdout == "?? untracked.txt\nfirst\nb\n", done.stderr
        assert git(root, "log", "--format=%s") == "first\n"

    def test_network_and_unix_sockets_work(self, protected):
        code = """
            import socket
            server = socket.create_server(("127.0.0.1", 0))
            socket.create_connection(server.getsockname())
            near = socket.socket(socket.AF_UNIX); near.bind("near"); near.listen()
            socket.socket(socket.AF_UNIX).connect("near")
        """
        assert run(protected, code).returncode == 0


def git(root: Path, *words: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.check_output(["git", *identity, *words], cwd=root, text=True)


def test_a_key_in_the_project_is_not_copied(protected, monkeypatch):
    key = protected.project.root / "own/approval.pem"
    key.parent.mkdir()
    key.write_text("secret")
    monkeypatch.setenv("ML_APPROVAL_KEY", str(key))
    done = run(protected, "import os; print(os.listdir('own'))")
    assert done.stdout == "[]\n"


class TestCopy:
    def copied(self, root: Path, folder: Path, *without: Path, link_large: bool = True) -> Path:
        folder.mkdir()
        return copy_tree(root, folder, without, link_large=link_large)

    def test_files_are_copied_except_those_of_the_pipeline(self, tmp_path):
        root = tmp_path / "project"
        for name in ("src/own.py", "data/rows.csv", "build/ml/reports/a.json", "build/other.txt"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        (root / "src/__pycache__").mkdir()
        (root / "run.sh").write_text("#!/bin/sh\n")
        (root / "run.sh").chmod(0o755)
        copy = self.copied(root, tmp_path / "copy", root / "build/ml")
        assert copy.name == "project"
        result = sorted(p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file())
        assert result == ["build/other.txt", "data/rows.csv", "run.sh", "src/own.py"]
        assert os.access(copy / "run.sh", os.X_OK)
        assert (copy / "src/own.py").stat().st_mtime == (root / "src/own.py").stat().st_mtime

    def test_a_temporary_folder_in_the_project_is_not_copied_into_itself(self, tmp_path):
        root = tmp_path / "project"
        (root / "tmp").mkdir(parents=True)
        (root / "own.py").touch()
        copy = self.copied(root, root / "tmp/copy")
        assert sorted(path.relative_to(copy).as_posix() for path in copy.rglob("*")) == [
            "own.py",
            "tmp",
        ]

    def test_links_keep_their_targets(self, tmp_path):
        root = tmp_path / "project"
        root.mkdir()
        (tmp_path / "neighbour.csv").write_text("shared")
        (root / "own.csv").write_text("own")
        (root / "near").symlink_to("own.csv")
        (root / "absolute").symlink_to(root / "own.csv")
        (root / "outside").symlink_to("../neighbour.csv")
        (root / "broken").symlink_to("nothing")
        copy = self.copied(root, tmp_path / "copy")
        for name in ("near", "absolute"):
            assert (copy / name).resolve() == (copy / "own.csv").resolve()
        assert (copy / "outside").read_text() == "shared"
        assert (copy / "broken").is_symlink()
        assert (copy / "../neighbour.csv").read_text() == "shared"

    @pytest.mark.parametrize("link", [True, False])
    def test_a_large_file_is_linked_only_if_writes_through_the_link_are_refused(
        self, tmp_path, link
    ):
        root = tmp_path / "project"
        root.mkdir()
        with (root / "large.bin").open("wb") as stream:
            stream.truncate(LARGE)
        copy = self.copied(root, tmp_path / "copy", link_large=link)
        large = copy / "large.bin"
        assert large.stat().st_size == LARGE
        assert link or not large.is_symlink()
        assert link or not large.samefile(root / "large.bin")

    def test_environments_are_linked(self, tmp_path):
        root = tmp_path / "project"
        (root / "venv").mkdir(parents=True)
        (root / "venv/pyvenv.cfg").touch()
        (root / ".dvc/cache").mkdir(parents=True)
        copy = self.copied(root, tmp_path / "copy")
        assert (copy / "venv").is_symlink()
        assert (copy / ".dvc/cache").is_symlink()
        assert not (copy / ".dvc").is_symlink()

    def test_siblings_of_a_project_in_a_repository_are_linked(self, tmp_path):
        repository = tmp_path / "repository"
        (repository / "models/churn").mkdir(parents=True)
        (repository / "common").mkdir()
        (repository / "common/holidays.csv").write_text("days")
        (repository / "models/churn/ml.yaml").touch()
        git(repository, "init", "-q")
        git(repository, "add", "-A")
        git(repository, "commit", "-qm", "first")
        copy = self.copied(repository / "models/churn", tmp_path / "copy")
        assert (copy / "../../common/holidays.csv").read_text() == "days"
        assert git(copy, "log", "--format=%s") == "first\n"
        assert git(copy, "rev-parse", "--show-prefix") == "models/churn/\n"


class TestSearchPath:
    def test_editable_installs_are_imported_from_the_copy(self, tmp_path, monkeypatch):
        for folder in ("project/src", "copy/src", "project/venv/lib"):
            (tmp_path / folder).mkdir(parents=True)
        (tmp_path / "copy/venv").symlink_to(tmp_path / "project/venv")
        entries = [str(tmp_path / "project" / name) for name in ("src", "venv/lib", "gone")]
        monkeypatch.setattr(sys, "path", ["/usr/lib", *entries])
        move_search_path(str(tmp_path / "project"), str(tmp_path / "copy"))
        assert sys.path == ["/usr/lib", str(tmp_path / "copy/src"), *entries[1:]]


class TestRead:
    @pytest.mark.parametrize(
        "made",
        [
            "os.symlink('/etc/hostname', OUT / 'told')",
            "os.mkfifo(OUT / 'told')",
            "(OUT / 'told').mkdir()",
            "(OUT / 'told').write_bytes(bytes(1001))",
            "pass",
        ],
    )
    def test_only_a_small_regular_file_is_read(self, protected, made):
        with isolated_copy(protected) as place:
            exec(made, {"os": os, "OUT": place.out})
            assert place.read("told", limit=1000) is None


class TestReport:
    def test_the_check_passes_where_the_system_refuses_writes(self, monkeypatch):
        monkeypatch.setattr(landlock, "abi", lambda: 7)
        [result] = isolation.check(["some"])
        assert (result.verdict, result.required) == (Verdict.PASS, False)
        assert result.observed == "a copy; Landlock (ABI 7) refuses writes elsewhere"

    @pytest.mark.usefixtures("without_landlock")
    def test_the_check_is_skipped_without_landlock(self):
        [result] = isolation.check(["some"])
        assert (result.verdict, result.required) == (Verdict.SKIPPED, False)
        assert result.observed == "a copy; writes elsewhere are detected afterwards, not refused"

    def test_there_is_no_check_where_no_code_ran(self):
        assert isolation.check([]) == []
