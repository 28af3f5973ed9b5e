"""Runs the worked example, from daily bars to a production server; bin/demo starts it."""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.argument_parser import Parser
from ml_pipeline.core.errors import UsageError

if TYPE_CHECKING:
    from ml_pipeline.config import Project

REPOSITORY = Path(__file__).resolve().parent.parent
EXAMPLE = REPOSITORY / "examples" / "nepse"
COMMAND = Path(sys.executable).with_name("ml-pipeline")
PASS, REFUSED, USAGE, WAITS = 0, 1, 2, 4


def parse() -> argparse.Namespace:
    parser = Parser(prog="bin/demo", description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="daily bars as CSV, packed or not: date, symbol, open, high, low, close, volume in "
        "the usual spellings; without a symbol column one share",
    )
    parser.add_argument(
        "--groups", type=Path, metavar="FILE", help="a CSV with the columns symbol and sector"
    )
    parser.add_argument("--yes", action="store_true", help="approve without a prompt")
    parser.add_argument("--stop", action="store_true", help="stop the servers at the end")
    parser.add_argument(
        "--no-edge", action="store_true", help="data without signal: the gate refuses"
    )
    parser.add_argument(
        "--drift",
        action="store_true",
        help="then let the market change: monitor, retrain with the cause, and deliver again",
    )
    options, unknown = parser.parse_known_args()
    if unknown:
        raise parser.unknown(unknown[0])
    if options.no_edge and options.data:
        parser.error("--no-edge is simulated data; leave out --data")
    if options.drift and (options.no_edge or options.data):
        parser.error("--drift has simulated data of its own; leave out --data and --no-edge")
    for file in (options.data, options.groups):
        if file is not None and not file.is_file():
            parser.error(f"{file} is not a file")
    return options


def source(options: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """Return the name of the data source and the configuration that chooses it."""
    if options.no_edge:
        return "no-edge", {"data.source.edge": "0", "data.ci": "null"} | ports(8010)
    if options.drift:
        return "drift", drift_settings() | ports(8030)
    if options.data is None:
        return "simulated", {}
    path = options.data.resolve()
    word = re.sub(r"[^A-Za-z0-9]+", "-", path.name)[:40].strip("-")
    name = f"{word}-{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    chosen = with_standard_columns(path, EXAMPLE / ".ml" / name) | {"data.ci": "null"}
    if options.groups is not None:
        groups = {"path": str(options.groups.resolve()), "entity": "symbol", "group": "sector"}
        chosen["data.groups"] = json.dumps(groups)
    return name, chosen | ports(8020)


SPELLINGS = {
    "date": ("date", "day", "tradedate", "tradingdate", "businessdate", "datetime", "timestamp"),
    "symbol": ("symbol", "ticker", "scrip", "stock", "stocksymbol", "instrument", "code", "share"),
    "open": ("open", "openprice", "openingprice"),
    "high": ("high", "highprice", "max", "maxprice"),
    "low": ("low", "lowprice", "min", "minprice"),
    "close": ("close", "closeprice", "closingprice", "last", "lastprice", "ltp", "price"),
    "volume": ("volume", "vol", "shares", "qty", "quantity", "totaltradedquantity", "tradedshares"),
}
"""Names of columns in files of daily bars: lower case, letters only."""
OPTIONAL = {"turnover": ("turnover", "amount", "totaltradedvalue"), "sector": ("sector",)}


def columns_of(path: Path) -> dict[str, str]:
    """Return the configuration that reads a file of daily bars in the usual spellings."""
    from ml_pipeline.core.errors import PipelineError
    from ml_pipeline.data.csv_file import SEPARATORS, read_header

    source = {"kind": "csv", "path": str(path)}
    names, failure = [], None
    for separator in SEPARATORS:
        try:
            names = read_header(path, separator)
        except PipelineError as error:
            failure = failure or error
        else:
            source["separator"] = separator
            break
    if not names:
        raise SystemExit(f"bin/demo: {failure}")
    plain = {re.sub(r"[^a-z]", "", name.lower()): name for name in reversed(names)}
    columns, missing = {}, []
    for column, spellings in (SPELLINGS | OPTIONAL).items():
        spelling = next((plain[each] for each in spellings if each in plain), None)
        if spelling is None and column not in OPTIONAL:
            missing.append(column)
        elif spelling is not None and spelling != column:
            columns[column] = spelling
    chosen = {"data.source": json.dumps(source)}
    if missing == ["symbol"]:  # the rank metric of bars is undefined for one share
        share = re.sub(r"[^A-Za-z0-9]+", "-", path.name.split(".")[0]).strip("-") or "share"
        chosen |= {"data.constants": json.dumps({"symbol": share}), "gate.metric": "log_loss"}
        print(f"no column of symbols: one share, {share}")
    elif missing:
        raise SystemExit(
            f"bin/demo: {path} has no column '{missing[0]}'; known spellings: "
            f"{', '.join(SPELLINGS[missing[0]])}; its columns: {', '.join(names)}"
        )
    if columns:
        chosen["data.columns"] = json.dumps(columns)
        print("columns: " + ", ".join(f"{name} is '{source}'" for name, source in columns.items()))
    return chosen


def with_standard_columns(path: Path, folder: Path) -> dict[str, str]:
    """Return the configuration of a file; with other column names, of a copy with renamed ones.

    The example's data tests use its own column names.
    """
    from ml_pipeline.data.file_bytes import read_text

    chosen = columns_of(path)
    columns = json.loads(chosen.pop("data.columns", "{}"))
    constants = json.loads(chosen.pop("data.constants", "{}"))
    source = json.loads(chosen["data.source"])
    if not columns and not constants:
        return chosen
    names = {source: name for name, source in columns.items()}
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / "bars.csv"
    lines = csv.reader(
        io.StringIO(read_text(path).decode(), newline=""), delimiter=source["separator"]
    )
    with copy.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        header = [name.strip() for name in next(lines)]
        writer.writerow([*constants, *(names.get(name, name) for name in header)])
        writer.writerows([*constants.values(), *line] for line in lines if line)
    return chosen | {"data.source": json.dumps({"kind": "csv", "path": str(copy)})}


def ports(production: int) -> dict[str, str]:
    """Return the ports of the servers, which differ between data sources."""
    return {
        "environments.production.port": str(production),
        "environments.staging.port": str(production + 1),
    }


class Demo:
    """Runs `ml-pipeline` in the example's folder, with the home of one data source."""

    def __init__(self, name: str, configuration: dict[str, str]) -> None:
        self.name = name
        self.homes = EXAMPLE / ".ml" / name
        self.own = {"ML_HOME": str(self.homes)} | {
            variable(key): value
            for key, value in configuration.items()
            if variable(key) not in os.environ
        }

    def set(self, key: str, value: str) -> None:
        """Set a key of ``ml.yaml`` for the commands that follow."""
        self.own[variable(key)] = value

    def run(self, *arguments: str) -> int:
        command = [str(COMMAND), *arguments]
        return subprocess.run(command, cwd=EXAMPLE, env=self.environment, check=False).returncode

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | self.own

    def project(self, configuration: dict[str, str]) -> Project:
        """Return the project, as it is configured here and by further keys."""
        from ml_pipeline import config

        assignments = [f"{key}={value}" for key, value in configuration.items()]
        return config.load(EXAMPLE, assignments, self.environment)

    @property
    def home(self) -> Path:
        """The folder of this project's registry, keys and bundles."""
        from ml_pipeline.core.home import Owner, find_home

        project = self.project({})
        return find_home(self.homes, Owner(project.config.project, project.model_name)).root

    def report(self, name: str) -> dict[str, Any]:
        """Return the report of a stage's last run."""
        report: dict[str, Any] = json.loads((EXAMPLE / f"build/ml/reports/{name}.json").read_text())
        return report

    def shell(self) -> Path:
        """Write a file that sets a shell up for the `ml-pipeline` of this demo; return its path."""
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
            env=self.environment,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        rows: list[dict[str, Any]] = json.loads(output)
        return {row["environment"]: row["url"] for row in rows if row["url"]}


def variable(key: str) -> str:
    """Return the environment variable that sets a key of ``ml.yaml``."""
    return f"ML__{key.upper().replace('.', '__')}"


def predict(url: str) -> None:
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


def drift_settings() -> dict[str, str]:
    from drift_demo import settings

    return settings()


def drift(demo: Demo, approval: list[str]) -> int:
    from drift_demo import DriftDemo

    return DriftDemo(demo, approval).run()


def main() -> int:
    try:
        options = parse()
    except UsageError as error:
        print(f"bin/demo: {error}", file=sys.stderr)
        return USAGE
    if isinstance(sys.stdout, io.TextIOWrapper):
        # keep the order of lines in a log; file names may have any character
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    demo = Demo(*source(options))
    print(f"data: {demo.name}    home: {demo.home.relative_to(REPOSITORY)}\n")
    approval = ["--yes"] if options.yes else []
    code = drift(demo, approval) if options.drift else demo.run("run", "all", *approval)
    running = demo.running()
    if code == PASS and "production" in running and not options.drift:
        predict(running["production"])
    print(f"\nreports: {(EXAMPLE / 'build/ml/reports').relative_to(REPOSITORY)}")
    if options.stop:
        demo.run("stop")
        running = {}
    print(f"to go on by hand in this shell: . {demo.shell()}")
    if code == WAITS:
        print("  ml-pipeline approve --by NAME --reason TEXT")
        print("  ml-pipeline promote")
        if options.drift:
            print(f"then go on with the demonstration: bin/demo {shlex.join(sys.argv[1:])}")
    elif options.drift:
        print("  ml-pipeline status production         # the versions, who approved them, and why")
        print("  ml-pipeline show monitor production   # every test of the last look")
        print("  ml-pipeline show gate                 # the comparison of the two versions")
        alarms = demo.home.relative_to(EXAMPLE) / "monitor/production/alarms.jsonl"
        print(f"  cat {alarms}   # the alarms")
    elif code == REFUSED:
        print("  ml-pipeline show gate")
    for name, url in running.items():
        print(f"  {name} serves at {url}; ml-pipeline stop stops the servers")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
