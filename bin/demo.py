"""The worked example from daily bars to a production server that answers; bin/demo starts it."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "examples" / "nepse"
COMMAND = Path(sys.executable).with_name("ml-pipeline")
PASS, REFUSED, USAGE, WAITS = 0, 1, 2, 4


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bin/demo", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="FILE", help="daily bars, .csv or .csv.gz")
    parser.add_argument(
        "--groups", type=Path, metavar="FILE", help="a CSV with the columns symbol and sector"
    )
    parser.add_argument("--yes", action="store_true", help="approve without a prompt")
    parser.add_argument("--stop", action="store_true", help="stop the server at the end")
    parser.add_argument(
        "--no-edge", action="store_true", help="data without signal: the gate refuses"
    )
    options = parser.parse_args()
    if options.no_edge and options.data:
        parser.error("--no-edge is simulated data; leave out --data")
    for file in (options.data, options.groups):
        if file is not None and not file.is_file():
            parser.error(f"{file} is not a file")
    return options


def source(options: argparse.Namespace) -> tuple[str, list[str]]:
    """Return the name of the data source and the settings that choose it."""
    if options.no_edge:
        return "no-edge", ["--set", "data.source.edge=0", *ports(8010)]
    if options.data is None:
        return "simulated", []
    path = options.data.resolve()
    settings = ["--set", f"data.source={json.dumps({'kind': 'csv', 'path': str(path)})}"]
    settings += ports(8020)
    if options.groups is not None:
        groups = {"path": str(options.groups.resolve()), "entity": "symbol", "group": "sector"}
        settings += ["--set", f"data.groups={json.dumps(groups)}"]
    word = re.sub(r"[^A-Za-z0-9]+", "-", path.name)[:40].strip("-")
    return f"{word}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}", settings


def ports(production: int) -> list[str]:
    """Return the settings that keep the servers of one data source apart from another's."""
    assignments = f"production.port={production}", f"staging.port={production + 1}"
    return [word for each in assignments for word in ("--set", f"environments.{each}")]


class Demo:
    """The command line in the example's folder, with the home of one data source."""

    def __init__(self, home: Path, settings: list[str]) -> None:
        self.home = home
        self.settings = settings
        self.environment = os.environ | {"ML_HOME": str(home)}

    def run(self, *arguments: str) -> int:
        command = [str(COMMAND), *arguments, *self.settings]
        return subprocess.run(command, cwd=EXAMPLE, env=self.environment, check=False).returncode

    def shown(self, *arguments: str) -> str:
        """Return the command as a person would type it to go on by hand."""
        words = ["ml-pipeline", *arguments, *self.settings]
        return (
            f"cd {shlex.quote(str(EXAMPLE))} && ML_HOME={shlex.quote(str(self.home))} "
            f"PATH={shlex.quote(str(COMMAND.parent))}:$PATH {shlex.join(words)}"
        )

    def status(self) -> list[dict[str, Any]]:
        output = subprocess.run(
            [str(COMMAND), "status", "--json", *self.settings],
            cwd=EXAMPLE,
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        rows: list[dict[str, Any]] = json.loads(output)
        return rows


def ask(url: str) -> None:
    """Send the newest row of the holdout to the production server and print its answer."""
    import httpx
    import pyarrow.parquet as pq

    table = pq.read_table(EXAMPLE / "build/ml/data/holdout.parquet")
    names = [name for name in table.column_names if not name.startswith("__")]
    newest = table.sort_by([("__time", "descending")]).slice(0, 1).to_pylist()[0]
    row = [newest[name] for name in names]
    answer = httpx.post(f"{url}/predict", json={"features": [clean(value) for value in row]})
    print(f"\nPOST {url}/predict   ({newest['__entity']}, {str(newest['__time'])[:10]})")
    print(f"{answer.status_code} {answer.text}")
    answer.raise_for_status()


def clean(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124  NaN


def main() -> int:
    options = parse()
    name, settings = source(options)
    demo = Demo(EXAMPLE / ".ml" / name, settings)
    print(f"data: {name}    home: {demo.home.relative_to(REPOSITORY)}\n")
    code = demo.run("run", "all", *(["--yes"] if options.yes else []))
    production = next((row for row in demo.status() if row["environment"] == "production"), None)
    reports = (EXAMPLE / "build/ml/reports").relative_to(REPOSITORY)
    if code == WAITS:
        print("\nThe model waits for your approval. To go on:")
        print(f"  {demo.shown('approve', '--by', 'NAME', '--reason', 'TEXT')}")
        print(f"  {demo.shown('promote')}")
    elif code == PASS and production and production["url"]:
        ask(production["url"])
    print(f"\nreports: {reports}")
    for row in demo.status():
        if options.stop and row["url"]:
            demo.run("stop", row["environment"])
    if not options.stop and production and production["url"]:
        print(f"stop the server: {demo.shown('stop', 'production')}")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
