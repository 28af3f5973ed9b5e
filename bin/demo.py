"""The worked example from daily bars to a production server that answers; bin/demo starts it."""

from __future__ import annotations

import argparse
import hashlib
import io
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
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="daily bars, .csv or .csv.gz: date, symbol, open, high, low, close, volume",
    )
    parser.add_argument(
        "--groups", type=Path, metavar="FILE", help="a CSV with the columns symbol and sector"
    )
    parser.add_argument("--yes", action="store_true", help="approve without a prompt")
    parser.add_argument("--stop", action="store_true", help="stop the servers at the end")
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


def source(options: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """Return the name of the data source and the configuration that chooses it."""
    if options.no_edge:
        return "no-edge", {"data.source.edge": "0", "data.ci": "null"} | ports(8010)
    if options.data is None:
        return "simulated", {}
    path = options.data.resolve()
    chosen = {"data.source": json.dumps({"kind": "csv", "path": str(path)}), "data.ci": "null"}
    if options.groups is not None:
        groups = {"path": str(options.groups.resolve()), "entity": "symbol", "group": "sector"}
        chosen["data.groups"] = json.dumps(groups)
    word = re.sub(r"[^A-Za-z0-9]+", "-", path.name)[:40].strip("-")
    name = f"{word}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    return name, chosen | ports(8020)


def ports(production: int) -> dict[str, str]:
    """Keep the servers of one data source apart from another's."""
    return {
        "environments.production.port": str(production),
        "environments.staging.port": str(production + 1),
    }


class Demo:
    """The command line in the example's folder, with the home of one data source."""

    def __init__(self, name: str, configuration: dict[str, str]) -> None:
        self.name = name
        self.homes = EXAMPLE / ".ml" / name
        self.own = {"ML_HOME": str(self.homes)} | {
            f"ML__{key.upper().replace('.', '__')}": value for key, value in configuration.items()
        }

    def run(self, *arguments: str) -> int:
        command = [str(COMMAND), *arguments]
        environment = os.environ | self.own
        return subprocess.run(command, cwd=EXAMPLE, env=environment, check=False).returncode

    @property
    def home(self) -> Path:
        """The folder of this project's registry, keys and bundles."""
        from pipeline import config
        from pipeline.home import Owner, find_home

        project = config.load(EXAMPLE)
        return find_home(self.homes, Owner(project.config.project, project.model_name)).root

    def shell(self) -> Path:
        """Write what a shell has to source so that `ml-pipeline` is this demo's, and return it."""
        lines = [f"cd {shlex.quote(str(EXAMPLE))}"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.own.items()]
        lines.append(f"PATH={shlex.quote(str(COMMAND.parent))}:$PATH")
        self.homes.mkdir(parents=True, exist_ok=True)
        file = self.homes / "shell"
        file.write_text("\n".join(lines) + "\n")
        return file.relative_to(REPOSITORY)

    def running(self) -> dict[str, str]:
        """Return the address of each environment that has a server."""
        output = subprocess.run(
            [str(COMMAND), "status", "--json"],
            cwd=EXAMPLE,
            env=os.environ | self.own,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        rows: list[dict[str, Any]] = json.loads(output)
        return {row["environment"]: row["url"] for row in rows if row["url"]}


def ask(url: str) -> None:
    """Send the newest row of the holdout to the production server and print its answer."""
    import httpx
    import pyarrow.parquet as pq

    table = pq.read_table(EXAMPLE / "build/ml/data/holdout.parquet")
    names = [name for name in table.column_names if not name.startswith("__")]
    newest = table.sort_by([("__time", "descending")]).slice(0, 1).to_pylist()[0]
    row = {name: clean(newest[name]) for name in names}
    answer = httpx.post(f"{url}/predict", json={"features": row})
    print(f"\nPOST {url}/predict   ({newest['__entity']}, {str(newest['__time'])[:10]})")
    print(f"{answer.status_code} {answer.text}")
    answer.raise_for_status()


def clean(value: Any) -> Any:
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124  NaN


def main() -> int:
    options = parse()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # in a log our lines keep their place, and a file's name may have any character
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    demo = Demo(*source(options))
    print(f"data: {demo.name}    home: {demo.home.relative_to(REPOSITORY)}\n")
    code = demo.run("run", "all", *(["--yes"] if options.yes else []))
    running = demo.running()
    if code == PASS and "production" in running:
        ask(running["production"])
    print(f"\nreports: {(EXAMPLE / 'build/ml/reports').relative_to(REPOSITORY)}")
    if options.stop:
        demo.run("stop")
        running = {}
    print(f"to go on by hand in this shell: . {demo.shell()}")
    if code == WAITS:
        print("  ml-pipeline approve --by NAME --reason TEXT")
        print("  ml-pipeline promote")
    elif code == REFUSED:
        print("  ml-pipeline show gate")
    for name, url in running.items():
        print(f"  {name} serves at {url}; ml-pipeline stop stops the servers")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
