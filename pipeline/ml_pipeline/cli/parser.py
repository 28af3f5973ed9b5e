"""The parser of the command line, made from the records of stages and verbs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ml_pipeline import __version__
from ml_pipeline.cli.verb import ENVIRONMENT, CommonFlags, Verb
from ml_pipeline.cli.verbs import VERBS
from ml_pipeline.core.argument_parser import Parser, check_verb
from ml_pipeline.core.errors import UsageError, nearest
from ml_pipeline.stages.plugins import all_stages, may_be_installed
from ml_pipeline.stages.record import Stage, flags_of
from ml_pipeline.stages.table import STAGES

KINDS: Mapping[str, type] = {"text": str, "path": str, "integer": int, "switch": bool}


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the verb's record under ``verb`` and its options by key.

    Raises:
        UsageError: an unknown verb or flag, with the nearest one.
    """
    parser = _program()
    if arguments and (arguments[0] in STAGES or arguments[0] in VERBS):
        verbs = [verb_named(arguments[0])]  # to build the parsers of all takes as long as the rest
    else:
        verbs = all_verbs()
        check_verb(arguments, [verb.name for verb in verbs], parser)
    _add(parser, verbs, called=arguments[0])
    if verbs[0].parses_itself and arguments[0] == verbs[0].name:
        return {"verb": verbs[0], "words": list(arguments[1:])}
    options, unknown = parser.parse_known_args(arguments)
    chosen = vars(options)
    used: Parser = chosen.pop("parser")
    if unknown:
        raise used.unknown(unknown[0])
    if file := chosen.pop("args", None):
        chosen |= read_arguments(file, chosen)
    return chosen


def all_verbs() -> list[Verb]:
    """Return the verbs in the order of the help: the stages, then the others."""
    names = [name for name in VERBS if name not in STAGES]
    stages = all_stages() if may_be_installed() else STAGES
    return [*map(stage_verb, stages.values()), *map(verb_named, names)]


def verb_named(name: str) -> Verb:
    """Return the verb of a stage of the table or of a module in ``cli/verbs``."""
    if name in STAGES:
        return stage_verb(STAGES[name])
    verb: Verb = import_module(f"ml_pipeline.cli.verbs.{name}").VERB
    return verb


def stage_verb(stage: Stage) -> Verb:
    """Return the verb that runs a stage."""

    def run(call: Any) -> int:
        from ml_pipeline.cli.verbs.stage import run_stage

        return run_stage(stage, call)

    return Verb(
        name=stage.name,
        summary=stage.summary,
        description=f"{stage.summary}. Fails when {stage.fails_when}.",
        run=run,
        flags=stage.flags,
        words=(ENVIRONMENT,) if stage.environment else (),
    )


def read_arguments(file: Path, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags that an ``--args`` file holds as a JSON object.

    Raises:
        UsageError: it cannot be read, or has a key that the verb does not know or of another type.
    """
    from ml_pipeline.core import documents

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


def _program() -> Parser:
    parser = Parser(
        prog="ml-pipeline",
        description="Takes a tabular model from a pushed commit to production.",
        epilog="exit codes: 0 pass, 1 the verdict is no, 2 usage, 3 environment, "
        "4 waits for a person, or a watch for its time, 5 a fault of the program",
    )
    parser.add_argument("--version", action="version", version=f"ml-pipeline {__version__}")
    return parser


def _add(parser: Parser, verbs: Iterable[Verb], called: str) -> None:
    """Add a parser for each verb; only that of the called one, if any, gets its flags."""
    added = parser.add_subparsers(metavar="VERB", required=True, title="stages and other verbs")
    for verb in verbs:
        sub: Parser = added.add_parser(
            verb.name,
            help=verb.summary,
            description=verb.description or verb.summary,
            add_help=verb.name == called,
        )
        if verb.name == called:
            sub.set_defaults(verb=verb, parser=sub, kinds=_add_arguments(sub, verb))


def _add_arguments(sub: Parser, verb: Verb) -> dict[str, type]:
    """Add the verb's words and flags; return the type of each by its key in an ``--args`` file."""
    kinds: dict[str, type] = {}
    for word in verb.words:
        sub.add_argument(
            word.name,
            nargs="?" if word.optional else None,
            choices=word.choices,
            metavar=None if word.choices else word.name.upper(),
        )
        kinds[word.name] = str
    for flag in (*flags_of(verb.flags), *flags_of(CommonFlags)):
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
    return kinds | {"set": list}


def _utf8(value: str) -> str:
    """Return an argument that is text; those that are paths may have any bytes."""
    value.encode()
    return value


VALUES: Mapping[str, Callable[[str], Any]] = {"integer": int, "text": _utf8}
