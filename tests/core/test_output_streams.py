"""Output that cannot be written, or not as it is, changes no verdict and shows no traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from ml_pipeline.core.output_streams import replace_plainly

pytestmark = pytest.mark.slow

PRINT = """
import sys
from ml_pipeline.cli.console import Screen
from ml_pipeline.core.output_streams import lost_output, steady_output
steady_output()
screen = Screen()
for _ in range(int(sys.argv[1])):
    screen.line("… 5 ≤ 6 ± é ł 学 \\udcff")
print("done", file=sys.stderr)
lost = lost_output()
print(lost, file=sys.stderr)
sys.exit(7)
"""


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", command],
        env=os.environ | {"PY": sys.executable, "CODE": PRINT} | environment,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("utf-8", "… 5 ≤ 6 ± é ł 学 \\udcff"),
        ("ascii", "... 5 <= 6 +- e \\u0142 \\u5b66 \\udcff"),
        ("latin-1", "... 5 <= 6 ± é \\u0142 \\u5b66 \\udcff"),
        ("cp1252", "… 5 <= 6 ± é \\u0142 \\u5b66 \\udcff"),
        ("cp437", "... 5 ≤ 6 ± é \\u0142 \\u5b66 \\udcff"),
    ],
)
def test_every_encoding_gets_plain_characters(encoding: str, line: str) -> None:
    done = shell('"$PY" -c "$CODE" 1', PYTHONIOENCODING=encoding)
    assert done.stdout.decode(encoding) == line + "\n", done.stderr.decode()
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ('"$PY" -c "$CODE" 1 >&-', "done\n\n"),
        ('"$PY" -c "$CODE" 1 <&- >&- 2>&-', ""),
        ('"$PY" -c "$CODE" 1 >/dev/full', "done\nNo space left on device\n"),
        ('"$PY" -c "$CODE" 1 2>/dev/full >/dev/null', ""),
        ('"$PY" -c "$CODE" 50000 | head -1 >/dev/null; exit ${PIPESTATUS[0]}', "done\n\n"),
    ],
)
def test_closed_output_does_not_change_the_exit_code(command: str, said: str) -> None:
    done = shell(command)
    assert done.returncode == 7
    assert done.stderr.decode() == said


def test_a_file_that_is_opened_later_does_not_take_the_place_of_a_closed_stream(tmp_path) -> None:
    code = """
import os, sys
from ml_pipeline.core.output_streams import steady_output
steady_output()
file = open(sys.argv[1], "w")
os.write(1, b"printed by a library")
file.write("rows")
"""
    path = tmp_path / "rows"
    done = shell('"$PY" -c "$CODE" "$FILE" >&-', CODE=code, FILE=str(path))
    assert done.returncode == 0, done.stderr
    assert path.read_text() == "rows"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_verb_prints_its_result_in_any_encoding(tmp_path, encoding: str) -> None:
    (tmp_path / "ml.yaml").write_text('project: a\ndescription: "5 ≤ 6 …"\n', encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "ml_pipeline", "config", "show", "--project", str(tmp_path)],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""


def test_a_verb_whose_output_cannot_be_written_reports_it(tmp_path) -> None:
    (tmp_path / "ml.yaml").write_text("project: a\n")
    command = '"$PY" -m ml_pipeline config show --project "$ROOT" > /dev/full'
    done = shell(command, ROOT=str(tmp_path))
    assert done.returncode == 3
    assert done.stderr.decode() == (
        "ml-pipeline config: cannot write the output: No space left on device\n"
    )


def test_only_an_encoding_fault_is_replaced() -> None:
    with pytest.raises(UnicodeDecodeError):
        replace_plainly(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"))
