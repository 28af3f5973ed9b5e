"""``ml-pipeline jenkinsfile``: run a Jenkinsfile on real CPS, without a Jenkins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml_pipeline.cli.verb import Verb
from ml_pipeline.stages.record import NoFlags

if TYPE_CHECKING:
    from ml_pipeline.cli.call import Call


def jenkinsfile(call: Call[NoFlags]) -> int:
    from ml_pipeline.core.argument_parser import Parser, check_verb
    from ml_pipeline.jenkins import jenkinsfile as verb

    parser = Parser(prog="ml-pipeline jenkinsfile")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    run: Parser = actions.add_parser("run", help="run a script")
    verb.add_arguments(run)
    words = call.options["words"]
    check_verb(words, ["run"], parser)
    chosen, unknown = parser.parse_known_args(words)
    if unknown:
        raise run.unknown(unknown[0])
    return verb.run(vars(chosen), call.screen.line)


VERB = Verb(
    name="jenkinsfile",
    summary="run a Jenkinsfile on real CPS, without a Jenkins",
    run=jenkinsfile,
    parses_itself=True,
)
