"""The verbs: parse, call one stage, print its summary, exit with its code.

Importing this module loads nothing heavy, so that ``ml-pipeline --help`` answers at once.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_pipeline import __version__
from ml_pipeline.core import documents, errors
from ml_pipeline.core.argument_parser import Parser, check_verb
from ml_pipeline.core.errors import EnvironmentFault, PipelineError, UsageError, nearest
from ml_pipeline.core.output_streams import lost_output, steady_output
from ml_pipeline.stages.record import Flag, Stage, flags_of
from ml_pipeline.stages.table import RUNS, STAGES

if TYPE_CHECKING:
    from ml_pipeline.console import Screen
    from ml_pipeline.core.report import StageReport
    from ml_pipeline.stages.runner import Result
    from ml_pipeline.stages.session import Session

COMMON = (
    Flag("project", "the folder of ml.yaml; the nearest upwards if left out", "path"),
    Flag("policy", "a policy that tightens that of the administrators", "path"),
    Flag("run-id", "the name of this run in its reports"),
    Flag("json", "print the report as JSON", "switch"),
)
RUN_FLAGS = tuple(
    flag for stage in STAGES.values() for flag in flags_of(stage.flags) if flag.in_run
)

SCORE_FLAGS = (
    Flag("in", "a file (.csv, packed or not, .parquet) or sql:QUERY; data.source if left out"),
    Flag("out", "a file (.parquet, .csv) or sql:TABLE"),
    Flag("environment", "score by what it serves; production if left out"),
    Flag("bundle", "score by the bundle in this folder", "path"),
    Flag("version", "score by this registered version", "integer"),
    Flag("since", "write rows from this day on (YYYY-MM-DD); those before are history"),
)


Verb = Callable[[Mapping[str, Any], "Screen"], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code.

    Without ``argv`` this is the program: the interpreter ends after it, and then does not search
    what the imported packages leave for garbage, which takes up to a second.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if argv is not None:
        return _ended(arguments)
    atexit.register(gc.freeze)
    steady_output()
    code = _ended(arguments)
    if lost := lost_output():
        _say(f"{_prefix(arguments)}: cannot write the output: {lost}")
        return code or EnvironmentFault.exit_code
    return code


def _ended(arguments: Sequence[str]) -> int:
    """Run one verb and return its exit code; what it raises becomes a line and a code."""
    try:
        options = parse(arguments)
        verb: Verb = options.pop("verb")
        from ml_pipeline.console import Screen, console_on

        # progress must not come between the lines of a report as JSON
        return verb(options, Screen(console_on(sys.stderr if options.get("json") else sys.stdout)))
    except PipelineError as error:
        _say(f"{_prefix(arguments)}: {error}")
        _leave_beside_args(arguments, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _say(f"{_prefix(arguments)}: interrupted{_left(arguments)}")
        return errors.INTERRUPTED
    except Exception:  # noqa: BLE001  the one place where a fault of the program ends
        _say(errors.masked(traceback.format_exc()))
        _say("this is a fault of ml-pipeline; please report it with the lines above")
        return errors.PROGRAM_FAULT


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the verb's function under ``verb`` and its options by key.

    Raises:
        UsageError: an unknown verb or flag, with the nearest one.
    """
    parser, verbs = build()
    check_verb(arguments, verbs, parser)
    if arguments[0] == "jenkinsfile":
        return {"verb": _jenkinsfile, "words": arguments[1:]}
    options, unknown = parser.parse_known_args(arguments)
    chosen = vars(options)
    used: Parser = chosen.pop("parser")
    if unknown:
        raise used.unknown(unknown[0])
    if file := chosen.pop("args", None):
        chosen |= read_arguments(file, chosen)
    return chosen


def read_arguments(file: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that an ``--args`` file holds as a JSON object.

    Raises:
        UsageError: it cannot be read, or has a key that the verb does not know or of another type.
    """
    try:
        given = documents.read_json(file, f"--args {file}")
    except OSError as error:
        raise UsageError(f"--args {file}: {error.strerror}", expected="a JSON object") from None
    if not isinstance(given, dict):
        raise UsageError(f"--args {file}: {type(given).__name__}", expected="a JSON object")
    kinds: Mapping[str, type] = chosen["kinds"]
    for key, value in given.items():
        if key not in kinds:
            raise UsageError(f"--args {file}: unknown key '{key}'", hint=nearest(key, kinds))
        if value is not None and type(value) is not kinds[key]:
            raise UsageError(
                f"--args {file}: '{key}' is {value!r}", expected=f"{kinds[key].__name__}"
            )
    for assignment in given.get("set") or ():
        if not isinstance(assignment, str):
            raise UsageError(
                f"--args {file}: 'set' holds {assignment!r}", expected="texts, 'section.key=value'"
            )
    return {key: value for key, value in given.items() if value is not None}


# --- the parser, made from the stage table --------------------------------------------------

KINDS: Mapping[str, type] = {"text": str, "path": str, "integer": int, "switch": bool}


def build() -> tuple[Parser, list[str]]:
    """Return the parser and the names of its verbs."""
    parser = Parser(
        prog="ml-pipeline",
        description="Takes a tabular model from a pushed commit to production.",
        epilog="exit codes: 0 pass, 1 the verdict is no, 2 usage, 3 environment, "
        "4 waits for a person, or a watch for its time, 5 a fault of the program",
    )
    parser.add_argument("--version", action="version", version=f"ml-pipeline {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, title="stages and other verbs")

    for stage in STAGES.values():
        positional = ("environment",) if stage.environment else ()
        sub = _verb(
            verbs, stage.name, stage.summary, _stage_verb(stage), flags_of(stage.flags), positional
        )
        sub.description = f"{stage.summary}. Fails when {stage.fails_when}."
    _verb(verbs, "run", "run the stages of ci, cd or all", _run, RUN_FLAGS, ("name",), tuple(RUNS))
    _verb(
        verbs,
        "features",
        "turn raw rows into the model's inputs",
        _features,
        (Flag("in", "raw rows: .csv, .csv.gz or .parquet", "path"), Flag("out", "result", "path")),
    )
    _verb(
        verbs,
        "score",
        "write a model's probabilities for rows into a file or a database table",
        _score,
        SCORE_FLAGS,
    )
    _verb(verbs, "show", "show every check of a report", _show, (), ("stage", "environment?"))
    _verb(
        verbs,
        "status",
        "show environments, versions and who approved them; of production its history",
        _status,
        (),
        ("environment?",),
    )
    _verb(verbs, "stop", "stop the server of an environment, or all", _stop, (), ("environment?",))
    _verb(
        verbs,
        "manifests",
        "write what Kubernetes needs to serve a version, without a cluster",
        _manifests,
        (
            *flags_of(STAGES["deploy"].flags),
            Flag(
                "out",
                "folder for one file a kind; one stream to standard output if left out",
                "path",
            ),
        ),
        ("environment",),
    )
    _verb(verbs, "doctor", "check that this machine can run the project", _doctor)
    _verb(
        verbs,
        "config",
        "show each value with its origin, or the JSON Schema of ml.yaml",
        _config,
        (),
        ("name",),
        ("show", "schema"),
    )
    _verb(
        verbs,
        "jobs",
        "check the Jenkins jobs in YAML, show what would change, or change it",
        _jobs,
        (
            Flag("jobs", "the folder with the YAML; jobs if left out", "path"),
            Flag("golden", "check: the folder with the XML that must come of it", "path"),
            Flag("renew", "check: write the golden XML anew", "switch"),
            Flag("yes", "update: change without asking", "switch"),
            Flag("delete", "update: also delete what the YAML no longer has", "switch"),
        ),
        ("name",),
        ("check", "diff", "update"),
    )
    verbs.add_parser("jenkinsfile", help="run a Jenkinsfile on real CPS, without a Jenkins")
    _verb(
        verbs,
        "home",
        "show whose home this project uses, or let this repository use one of its name",
        _home,
        (),
        ("name",),
        ("show", "adopt"),
    )
    _verb(verbs, "keys", "make the key pair that signs approvals", _keys, (), ("name",), ("new",))
    return parser, list(verbs.choices)


def _verb(
    verbs: Any,
    name: str,
    summary: str,
    function: Verb,
    flags: Sequence[Flag] = (),
    positional: Sequence[str] = (),
    choices: Sequence[str] | None = None,
) -> Parser:
    sub: Parser = verbs.add_parser(name, help=summary, description=summary)
    kinds: dict[str, type] = {}
    for argument in positional:
        key = argument.rstrip("?")
        optional = "?" if argument.endswith("?") or key == "environment" else None
        sub.add_argument(
            key, nargs=optional, choices=choices, metavar=key.upper() if not choices else None
        )
        kinds[key] = str
    for flag in (*flags, *COMMON):
        kinds[flag.key] = KINDS[flag.kind]
        if flag.kind == "switch":
            sub.add_argument(f"--{flag.name}", action="store_true", help=flag.help)
        else:
            sub.add_argument(
                f"--{flag.name}",
                type=VALUES.get(flag.kind, str),
                metavar={"integer": "N", "path": "PATH"}.get(flag.kind, "TEXT"),
                help=flag.help,
            )
    sub.add_argument("--set", action="append", metavar="KEY=VALUE", help="set section.key=value")
    sub.add_argument("--args", type=Path, metavar="FILE", help="read the flags from a JSON file")
    sub.set_defaults(verb=function, parser=sub, kinds=kinds | {"set": list})
    return sub


def _utf8(value: str) -> str:
    """Return an argument that is text; those that are paths may have any bytes."""
    value.encode()
    return value


VALUES: Mapping[str, Callable[[str], Any]] = {"integer": int, "text": _utf8}


# --- the verbs --------------------------------------------------------------------------------


def _open(options: Mapping[str, Any], screen: Screen) -> Session:
    from ml_pipeline.stages.session import Session

    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    return Session.open(options, screen.progress, interactive=interactive)


def _stage_verb(stage: Stage) -> Verb:
    def verb(options: Mapping[str, Any], screen: Screen) -> int:
        from ml_pipeline.stages.runner import execute

        session = _open(options, screen)
        if stage.environment:
            _environment_of(stage.name, options, session)
        flags = {flag.key: options.get(flag.key) for flag in flags_of(stage.flags)}
        context = session.context(stage, options.get("environment"), flags)
        alone = session.exclusive() if stage.exclusive else contextlib.nullcontext()
        with alone, _own_output(options), _ended_gently():
            screen.begin(stage.name, context.environment)
            result = execute(context)
        screen.clear()
        if options["json"]:
            sys.stdout.write(result.report.to_json())
        else:
            screen.end(result.report)
            _closing_lines(result, screen)
        _explain_fault(result)
        return result.exit_code

    return verb


def _run(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.stages.run import run

    session = _open(options, screen)
    flags = {flag.key: options.get(flag.key) for flag in RUN_FLAGS}
    quiet = bool(options["json"])

    def started(stage: Stage, environment: str | None) -> None:
        if not quiet:
            screen.begin(stage.name, environment)

    def ended(_stage: Stage, _environment: str | None, result: Result) -> None:
        if not quiet:
            screen.end(result.report, summary=False)

    with session.exclusive(), _own_output(options), _ended_gently():
        done = run(session, options["name"], flags, started=started, ended=ended)
    last = done.results[-1]
    if quiet:
        _print_json([json.loads(result.report.to_json()) for result in done.results])
    else:
        screen.closing((result.report for result in done.results), done.left)
        _closing_lines(last, screen)
    _explain_fault(last)
    return done.exit_code


@contextlib.contextmanager
def _own_output(options: Mapping[str, Any]) -> Any:
    """Keep standard output for the report where it is asked for as JSON."""
    if options["json"]:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    else:
        yield


@contextlib.contextmanager
def _ended_gently() -> Iterator[None]:
    """Let SIGTERM, by which a server of builds aborts, end a stage as Ctrl-C does.

    What the stage began is taken back, and its report says that it was interrupted.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _closing_lines(result: Result, screen: Screen) -> None:
    from ml_pipeline.console import look_closer, report_path
    from ml_pipeline.core.errors import WaitingForPerson

    if result.exit_code == errors.PASS:
        return
    screen.line()
    if result.exit_code == WaitingForPerson.exit_code:
        screen.line(f"waiting: {result.report.summary}")
        return
    screen.line(f"look closer: {look_closer(result.report)}    ({report_path(result.report)})")


def _explain_fault(result: Result) -> None:
    if result.exit_code == errors.PROGRAM_FAULT and result.error is not None:
        _say(errors.masked("".join(traceback.format_exception(result.error))))
        _say("this is a fault of ml-pipeline; please report it with the lines above")


def _features(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.problems.compute_features import compute_features

    for flag in ("in", "out"):
        if not options[flag]:
            raise UsageError(f"features lacks --{flag}", expected="a file")
    session = _open(options, screen)
    with _own_output(options):
        computed = compute_features(
            session.project, Path(options["in"]), Path(options["out"]), session.progress
        )
    if options["json"]:
        _print_json(computed.to_json())
    else:
        screen.line(computed.summary)
    return errors.PASS


def _score(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.scoring.score import Order, score

    session = _open(options, screen)
    session.home.check_owner()
    order = Order.of(options)
    if order.environment is not None:
        session.check_environment(order.environment)
    with _own_output(options), _ended_gently():
        scored = score(session.project, session.home, order, session.progress)
    screen.clear()
    if options["json"]:
        _print_json(scored.to_json())
    else:
        screen.line(scored.summary)
    return errors.PASS


def _show(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.core import report
    from ml_pipeline.stages.plugins import stage_named

    session = _open(options, screen)
    stage, environment = options["stage"], options.get("environment")
    made = {item.stem: item for item in sorted((session.workdir / "reports").glob("*.json"))}
    listed = environment is None and (stage in made or _is_listed(stage))
    name = stage if listed else report.file_name(stage_named(stage).name, environment)
    if name not in made:
        raise UsageError(
            f"no report of {name}", expected=f"one of: {', '.join(made) or 'none yet'}"
        )
    found: StageReport = report.read(made[name])
    if options["json"]:
        sys.stdout.write(found.to_json())
    else:
        screen.end(found.model_copy(update={"checks": ()}))
        screen.checks(found)
    return errors.PASS


def _is_listed(name: str) -> bool:
    """Return whether a name is one of a stage in an environment, as ``deploy-staging``."""
    return any(stage.environment and name.startswith(f"{stage.name}-") for stage in STAGES.values())


def _status(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.approval import policy_files
    from ml_pipeline.promotion.environment import PRODUCTION
    from ml_pipeline.promotion.status import UNKNOWN, history, registry_fault, status
    from ml_pipeline.registry.mlflow_registry import Registry

    session = _open(options, screen)
    session.home.check_owner()
    if name := options.get("environment"):
        session.check_environment(name)
        if name != PRODUCTION:
            raise UsageError(f"{name} has no history", expected=PRODUCTION)
        rows = history(session.home)
    else:
        rows = status(session.project, session.home, session.policy)
    if not session.home.root.is_dir():
        _say(
            f"home {session.home.root} is not there: nothing was deployed from it, or ML_HOME errs"
        )
    unknown = [
        f"{row['environment']}: {row['open']}" for row in rows if row.get("state") == UNKNOWN
    ]
    if options["json"]:
        _print_json(rows)
    elif not rows:
        screen.line("nothing was promoted yet")
    else:
        header = tuple(key for key in rows[0] if key != "details")
        lost = registry_fault(rows)
        shown = (row | {"alias": UNKNOWN} if lost and row["alias"] == lost else row for row in rows)
        screen.rows(
            header, (tuple("-" if row[k] is None else str(row[k]) for k in header) for row in shown)
        )
        if lost:
            screen.line()
            screen.line(f"aliases: {lost}")
        for row in rows:
            if row.get("details"):
                screen.line()
                screen.line(f"{row['environment']}: {row['open']}")
            for detail in row.get("details", ()):
                screen.line(f"    {detail}")
        if not options.get("environment"):
            screen.line()
            screen.line(f"policy: {policy_files.in_words(session.policies)}")
            if command := Registry.of(session.project, session.home).ui_command():
                screen.line(f"runs, parameters and metrics: {command}")
    if unknown:
        raise errors.EnvironmentFault("; ".join(unknown))
    return errors.PASS


def _stop(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.targets.base import Placement
    from ml_pipeline.targets.loader import load_target

    session = _open(options, screen)
    session.home.check_owner()
    environments = session.project.config.environments
    if name := options.get("environment"):
        session.check_environment(name)
        environments = {name: environments[name]}
    stopped = {
        name: load_target(section.target).stop(Placement.of(session.project, name, session.home))
        for name, section in environments.items()
    }
    minutes = session.project.config.watch.minutes
    if "production" in stopped:
        from ml_pipeline.promotion.environment import mark_stopped

        mark_stopped(session.home)
    if minutes and stopped.get("production"):
        from ml_pipeline.promotion import watch_state

        watch_state.give_up(session.home, minutes, "it was stopped")
    if options["json"]:
        _print_json(stopped)
    else:
        for name, was_up in stopped.items():
            screen.line(f"{name}: stopped" if was_up else f"{name}: no server was running")
    return errors.PASS


def _manifests(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.promotion import manifests
    from ml_pipeline.targets.kubernetes.manifests import to_yaml

    session = _open(options, screen)
    session.home.check_owner()
    environment = _environment_of("manifests", options, session)
    with contextlib.redirect_stdout(sys.stderr):
        made = manifests.render(
            session.project,
            session.home,
            session.policy,
            environment=environment,
            number=options["version"],
            progress=session.progress,
        )
    screen.clear()
    if options["out"] is None:
        sys.stdout.write(json.dumps(made, indent=2) + "\n" if options["json"] else to_yaml(made))
        return errors.PASS
    try:
        files = [str(path) for path in manifests.write(made, Path(options["out"]))]
    except OSError as error:
        raise errors.EnvironmentFault(f"--out {options['out']}: {error.strerror}") from None
    if options["json"]:
        _print_json(files)
    else:
        for file in files:
            screen.line(file)
    return errors.PASS


def _environment_of(verb: str, options: Mapping[str, Any], session: Session) -> str:
    """Return the environment that a verb was given; raises UsageError with those that there are."""
    name: str | None = options.get("environment")
    if not name:
        known = " or ".join(session.project.config.environments)
        raise UsageError(f"{verb} lacks its environment", expected=known)
    session.check_environment(name)
    return name


def _doctor(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.console import verdict_of
    from ml_pipeline.core.report import Verdict, judge
    from ml_pipeline.project.doctor import OWN_FAULTS, examine

    session = _open(options, screen)
    checks = examine(session.project, session.home, session.policies)
    if options["json"]:
        _print_json([check.model_dump() for check in checks])
    else:
        screen.rows_with_notes(
            ("check", "verdict", "observed"),
            (((c.name, verdict_of(c), str(c.observed)), c.why) for c in checks),
        )
    failed = {check.name for check in checks if judge([check]) is Verdict.FAIL}
    if failed & OWN_FAULTS:
        return errors.UsageError.exit_code
    return errors.EnvironmentFault.exit_code if failed else errors.PASS


def _config(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.project import config_listing

    if options["name"] == "schema":
        _print_json(config_listing.schema())
        return errors.PASS
    session = _open(options, screen)
    rows = config_listing.values(session.project)
    if options["json"]:
        _print_json({key: {"value": value, "origin": origin} for key, value, origin in rows})
    else:
        screen.rows(("key", "value", "from"), ((k, json.dumps(v), o) for k, v, o in rows))
    return errors.PASS


def _jobs(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.jenkins import jobs as verb

    folder = Path(options["jobs"] or verb.FOLDER)
    golden = Path(options["golden"]) if options["golden"] else None

    def asked(question: str) -> bool:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    if options["name"] == "check":
        found = verb.check(folder, golden=golden, renew=options["renew"])
    elif options["name"] == "diff":
        found = verb.diff(os.environ, folder)
    else:
        found = verb.update(
            os.environ,
            folder,
            say=_say if options["json"] else screen.line,
            yes=options["yes"],
            delete=options["delete"],
            confirm=asked if sys.stdin.isatty() else None,
        )
    if options["json"]:
        sys.stdout.write(json.dumps(found.data, indent=2) + "\n")
    else:
        for line in found.lines:
            screen.line(line)
    return found.exit_code


def _jenkinsfile(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.jenkins import jenkinsfile as verb

    parser = Parser(prog="ml-pipeline jenkinsfile")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run: Parser = actions.add_parser("run", help="run a script")
    verb.add_arguments(run)
    words = options["words"]
    check_verb(words, ["run"], parser)
    chosen, unknown = parser.parse_known_args(words)
    if unknown:
        raise run.unknown(unknown[0])
    return verb.run(vars(chosen), screen.line)


def _keys(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.approval.keys import PUBLIC_SUFFIX, create_keypair, made_keys

    session = _open(options, screen)
    session.home.make()
    before = made_keys(session.home)
    pair = create_keypair(session.home)
    if options["json"]:
        _print_json({"private": str(pair.private), "public": str(pair.public)})
        return errors.PASS
    screen.line(f"private key {pair.private} (keep it where only 'approve' runs)")
    screen.line(f"public key  {pair.public} (name it in the policy's 'keys')")
    lost = [
        keyid for keyid in before if not (pair.public.parent / f"{keyid}{PUBLIC_SUFFIX}").exists()
    ]
    if lost:
        screen.line(
            f"what key {', '.join(keyid[:12] for keyid in lost)} signed does not verify until its "
            "public half is restored"
        )
    return errors.PASS


def _home(options: Mapping[str, Any], screen: Screen) -> int:
    from ml_pipeline.core.home import origins_of

    home = _open(options, screen).home
    if options["name"] == "adopt":
        adopted = home.adopt()
        if not options["json"]:
            screen.line(f"{adopted} uses home {home.root}")
            return errors.PASS
    known = origins_of(home.root)
    if options["json"]:
        _print_json({"home": str(home.root), "repositories": [one.to_json() for one in known]})
        return errors.PASS
    screen.line(f"home {home.root} of {home.owner}")
    for one in known:
        screen.line(f"  used by {one}")
    return errors.PASS


def _print_json(values: Any) -> None:
    sys.stdout.write(json.dumps(values, indent=2) + "\n")


def _leave_beside_args(arguments: Sequence[str], text: str) -> None:
    """Write an error that no report tells beside the ``--args`` file, for the program that gave it.

    ``train.json`` gets ``train.error``.
    """
    if "--args" not in arguments[:-1]:
        return
    file = Path(arguments[list(arguments).index("--args") + 1])
    with contextlib.suppress(OSError, ValueError):
        file.with_suffix(".error").write_text(text + "\n")


def _prefix(arguments: Sequence[str]) -> str:
    verb = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    return f"ml-pipeline {verb}".strip()


def _left(arguments: Sequence[str]) -> str:
    """Return what an interrupted verb leaves, where that is more than nothing."""
    name = arguments[0] if arguments else ""
    if name == "run":
        return "; the stages that had ended are kept, and 'ml-pipeline status' tells what serves"
    return f"; {STAGES[name].when_interrupted}" if name in STAGES else ""


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
