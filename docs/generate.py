"""Writes the generated pages of docs/reference, and the table and help of the Jenkins steps.

tests/docs/test_generated.py detects drift. Run: .venv/bin/python docs/generate.py
"""

from __future__ import annotations

import inspect
import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import architecture
import python_api
import sections
import yaml
from ml_pipeline import __version__
from ml_pipeline.core.report import SCHEMA, StageReport
from ml_pipeline.project.config_listing import schema
from ml_pipeline.stages.facts import as_arguments, facts_of
from ml_pipeline.stages.record import Stage, flags_of
from ml_pipeline.stages.table import STAGES, Step, runs
from ml_pipeline.training.estimators.loader import installed_estimators

DOCS = Path(__file__).resolve().parent
REFERENCE = DOCS / "reference"
ROOT = "../.."
LIMITS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
JENKINS = DOCS.parent / "jenkins/steps.yaml"
"""Options and steps that only Jenkins has, described at the head of the file."""

STAGE_SWITCHES = ("decides", "concludesItself", "commitCheck", "summarizesModel", "namesLocks")
KINDS = ("text", "name", "integer", "switch", "path", "texts", "map", "any")


def pages(stages: Mapping[str, Stage] = STAGES) -> dict[str, str]:
    """Return the content of each generated file by its name, seen from docs/reference."""
    steps = steps_table(stages)
    report = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    report |= StageReport.model_json_schema(by_alias=True)
    return {
        "report.schema.json": json.dumps(report, indent=2) + "\n",
        "ml.schema.json": json.dumps(schema(), indent=2) + "\n",
        "stages.md": stages_page(stages),
        f"{ROOT}/README.md": readme(stages),
        "estimator-parameters.md": estimators(),
        "python-api.md": python_api.page(),
        "../explanation/architecture.md": architecture.page(),
        "../explanation/architecture.svg": architecture.picture(),
        "steps.md": steps_page(steps),
        f"{ROOT}/resources/steps.json": json.dumps(steps, indent=1) + "\n",
        **{f"{ROOT}/vars/{name}.txt": steps_help(name, steps) for name in sorted(steps["steps"])},
        **step_scripts(stages),
    }


def readme(stages: Mapping[str, Stage]) -> str:
    """Return the README with the present table of stages."""

    def table() -> str:
        rows = [f"| `{_shown(stage)}` | {stage.fails_when} |" for stage in stages.values()]
        return "\n".join(["| stage | fails when |", "|---|---|", *rows]) + "\n"

    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    return sections.fill(text, {"stages": table})


def _shown(stage: Stage) -> str:
    return f"{stage.name} ENV" if stage.environment else stage.name


def stages_page(stages: Mapping[str, Stage]) -> str:
    lines = [
        "# Stages",
        "",
        "All stages, the runs that contain them, and their flags as commands of `ml-pipeline`.",
        "Generated from `pipeline/ml_pipeline/stages/table.py`; do not edit by hand.",
        "",
        "| stage | does | fails when |",
        "|---|---|---|",
    ]
    lines += [
        f"| `{_shown(stage)}` | {stage.summary} | {stage.fails_when} |" for stage in stages.values()
    ]
    lines += ["", "## Runs", ""]
    for name, steps in runs(stages.values()).items():
        words = [f"{step} {environment or ''}".strip() for step, environment, _ in steps]
        lines.append(f"- `run {name}`: {', '.join(words)}")
    lines += ["", "## Flags", ""]
    for stage in stages.values():
        if flags := flags_of(stage.flags):
            lines += [
                f"### {stage.name}",
                "",
                "| flag | key in `--args` | kind | |",
                "|---|---|---|---|",
            ]
            lines += [
                f"| `--{flag.name}` | `{flag.key}` | {flag.kind} | {flag.help} |" for flag in flags
            ]
            lines.append("")
    return "\n".join(lines).rstrip() + "\n\n" + STAGE_PLUGINS


STAGE_PLUGINS = """\
## A stage of another package

A package adds a stage by an entry point of the group `ml_pipeline.stages` that names its record:

```toml
[project.entry-points."ml_pipeline.stages"]
bias-audit = "acme_audit:STAGE"
```

```python
from ml_pipeline import Section, Stage, flag_set, integer_flag


class AuditSection(Section):
    most: int = 3


@flag_set
class AuditFlags:
    rows: int | None = integer_flag("audit the newest N rows; all if left out")


STAGE = Stage(
    name="bias-audit",
    summary="count findings of bias",
    fails_when="there are more than `most` of its section",
    module="acme_audit.run",
    phase="delivery",
    after="evaluate",
    flags=AuditFlags,
    section=AuditSection,
    profile_of="train",
    gate_requires_report=True,
)
```

The module has `run(context: Context) -> Outcome` and is imported when the stage runs, so the module
of the record should import nothing heavy. `context.flags` and `context.section` have the types that
the record declares; `context.take("model/model.onnx")` returns the path of an artefact of another
stage and verifies its digest. The stage is then a command with its help, runs in `run cd` after the
stage that `after` names, has the configuration `stages.bias-audit` in `ml.yaml`, and the gate
passes only with its report, which must name the model that it is about
(`Outcome(summary, checks, model=context.report_of("train").model)`) unless the record has
`names_model=False`. `ml-pipeline stages` lists every installed stage; with `--json` it
prints what a Jenkins step reads about each.

`name`, `summary`, `fails_when` and `phase` are required. `phase` is `check`, `delivery`,
`promotion` or `on demand`; [mlPipeline](../how-to/jenkins.md) says when each runs in a build.

A record that cannot be loaded, has the name of another stage, or has a `phase` or an `after` that
does not exist is a usage error (exit code 2) that names the entry point and its package; so is a
module that cannot be imported.
"""


def estimators() -> str:
    """Return the page of the installed estimators and their parameters."""
    lines = [
        "# Parameters of the estimators",
        "",
        "The keys of `train.params` for each installed estimator. Common to all estimators:",
        "[Estimators, split and calibration](estimators.md).",
        "Generated from the estimator plug-ins; do not edit by hand.",
    ]
    for name, estimator in installed_estimators().items():
        lines += ["", f"## {name}", "", inspect.cleandoc(estimator.Parameters.__doc__ or ""), ""]
        lines += ["| parameter | default | range | |", "|---|---|---|---|"]
        rows = estimator.Parameters.model_json_schema(by_alias=False)["properties"]
        lines += [_parameter(key, about) for key, about in rows.items()]
    return "\n".join(lines) + "\n"


def _parameter(name: str, about: Mapping[str, Any]) -> str:
    """Return the row of a parameter; the limits are those of its JSON Schema."""
    variants = about.get("anyOf", [about])
    words = []
    for one in variants:
        if "enum" in one:
            words.append(", ".join(f"`{value}`" for value in one["enum"]))
        elif one.get("type") in ("integer", "number"):
            kind = "whole number" if one["type"] == "integer" else "number"
            limits = [f"{sign} {one[key]:g}" for key, sign in LIMITS.items() if key in one]
            words.append(" ".join([kind, *limits]))
        else:
            words.append(
                {"null": "`null`", "boolean": "true or false"}.get(one["type"], one["type"])
            )
    default = json.dumps(about.get("default")).strip('"')
    return f"| `{name}` | {default} | {' or '.join(words)} | {about.get('description', '')} |"


# --- the steps of the Jenkins library ---------------------------------------------------------


def step_name(stage: str) -> str:
    return "ml" + "".join(word.capitalize() for word in stage.split("-"))


def steps_table(stages: Mapping[str, Stage] = STAGES) -> dict[str, Any]:
    """Return the contract between library and package: every step, its arguments and files."""
    planned = runs(stages.values())
    own = yaml.safe_load(JENKINS.read_text())
    steps = {step_name(stage.name): _stage_step(stage, own) for stage in stages.values()}
    for name, step in own["steps"].items():
        steps[name] = {
            "summary": step["summary"],
            "about": step["about"],
            "arguments": _arguments(step["arguments"] | step.get("also", {})),
        } | ({"anyStage": True} if step.get("anyStage") else {})
    return {
        "contract": ".".join(__version__.split(".")[:2]),
        "report": SCHEMA,
        "credentials": {
            name: credential
            | {"stages": [one.name for one in stages.values() if name in one.credentials]}
            for name, credential in own["credentials"].items()
        },
        "runs": {
            name: [_planned(step, stages, own) for step in planned[name]] for name in ("ci", "cd")
        },
        "steps": steps,
    }


def step_scripts(stages: Iterable[str]) -> dict[str, str]:
    """Return the Groovy of each stage's step by its file, seen from docs/reference."""
    own = yaml.safe_load(JENKINS.read_text())["stages"]
    return {
        f"{ROOT}/vars/{step_name(name)}.groovy": _step_script(name, own.get(name, {}))
        for name in stages
    }


def _step_script(stage: str, own: Mapping[str, Any]) -> str:
    """Return the Groovy of a step, with the class and the method that steps.yaml names."""
    step_class = own.get("class", "StageStep")
    arguments = "arguments" if "class" in own else f"'{step_name(stage)}', arguments"
    lines = [
        f"import org.mlpipeline.{step_class}",
        "",
        "Map call(Map arguments = [:]) {",
        f"    return new {step_class}(this).run({arguments})",
        "}",
    ]
    if "due" in own:
        lines += [
            "",
            f"/** {own['due']}. */",
            "boolean due(Map arguments = [:]) {",
            f"    return new {step_class}(this).due(arguments)",
            "}",
        ]
    return "\n".join(lines) + "\n"


def _stage_step(stage: Stage, own: Mapping[str, Any]) -> dict[str, Any]:
    more = own["stages"].get(stage.name, {})
    facts = facts_of(stage)
    return facts | {
        "fixed": more.get("fixed", {}),
        "follows": more.get("follows"),
        "versionOf": more.get("versionOf"),
        "describes": more.get("describes", "other"),
        "returns": more.get("returns", {}),
        **{flag: more.get(flag, False) for flag in STAGE_SWITCHES},
        "arguments": _arguments(own["environment"] if stage.environment else {})
        | facts["arguments"]
        | _arguments(more.get("arguments", {}) | own["common"]),
    }


def _planned(step: Step, stages: Mapping[str, Stage], own: Mapping[str, Any]) -> dict[str, Any]:
    name, environment, flags = step
    stage = stages[name]
    more = own["stages"].get(name, {})
    return {
        "stage": name,
        "step": step_name(name),
        "phase": stage.phase,
        "environment": environment,
        "engine": stage.engine,
        "engineWith": list(stage.engine_with),
        "needs": list(stage.needs),
        "waits": more.get("waits", False),
        "locks": more.get("locks"),
        "fromPipeline": sorted(
            own["steps"]["mlPipeline"]["arguments"].keys()
            & (more.get("arguments", {}).keys() | facts_of(stage)["arguments"].keys())
        ),
        "arguments": as_arguments(flags),
    }


def _arguments(definitions: Mapping[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for name, (kind, text, *more) in definitions.items():
        if kind not in KINDS:
            raise ValueError(f"argument {name} has the kind {kind}; expected {', '.join(KINDS)}")
        arguments[name] = {"kind": kind, "help": text}
        for one in more:
            arguments[name] |= {"required": True} if one == "required" else {"choices": one}
    return arguments


def _credentials_of(step: Mapping[str, Any], steps: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, credential in steps["credentials"].items()
        if step.get("stage") in credential["stages"]
    ]


def steps_help(name: str, steps: Mapping[str, Any]) -> str:
    """Return the help page of a step, as Jenkins shows it: plain text."""
    step = steps["steps"][name]
    width = max(map(len, step["arguments"]))
    lines = [f"{name}: {step['summary']}.", "", *textwrap.wrap(step["about"], 96), "", "Arguments:"]
    for argument, about in step["arguments"].items():
        first, *rest = textwrap.wrap(f"{_kind(about)}: {about['help']}", 92 - width)
        lines.append(f"  {argument:<{width}}  {first}")
        lines += [f"  {'':<{width}}  {line}" for line in rest]
    if "stage" in step:
        bound = _credentials_of(step, steps)
        lines += ["", f"Credentials it binds: {', '.join(bound) or 'none'}."]
        returned = "stage, environment, verdict, passed, summary, model, version, url, report, page"
        lines += textwrap.wrap(f"Returns a map: {', '.join([returned, *step['returns']])}.", 96)
    return "\n".join(lines) + "\n"


def _kind(about: Mapping[str, Any]) -> str:
    words = [" | ".join(about["choices"]) if "choices" in about else about["kind"]]
    return ", ".join(words + (["required"] if about.get("required") else []))


def steps_page(steps: Mapping[str, Any]) -> str:
    lines = [
        "# Steps of the Jenkins library",
        "",
        "The steps that a Jenkinsfile calls, with arguments and credentials. How to use them:",
        "[Deliver with Jenkins](../how-to/jenkins.md). Generated from the stage table and",
        "`jenkins/steps.yaml`; do not edit by hand.",
        "",
        "| step | does |",
        "|---|---|",
    ]
    lines += [
        f"| [`{name}`](#{name.lower()}) | {step['summary']} |"
        for name, step in steps["steps"].items()
    ]
    for name, step in steps["steps"].items():
        lines += ["", f"## {name}", "", step["about"], "", "| argument | kind | |", "|---|---|---|"]
        for argument, about in step["arguments"].items():
            kind = _kind(about).replace("|", "or")
            lines.append(f"| `{argument}` | {kind} | {about['help']} |")
    lines += ["", "## Credentials", "", "| type | binding | variables | bound around | |"]
    lines.append("|---|---|---|---|---|")
    for name, credential in steps["credentials"].items():
        variables = ", ".join(f"`{variable}`" for variable in credential["variables"])
        around = ", ".join(
            [step_name(stage) for stage in credential["stages"]]
            + [f"`ml-pipeline {verb}`" for verb in credential.get("verbs", ())]
        )
        words = (f"`{name}`", credential["binding"], variables, around, credential["help"])
        lines.append(f"| {' | '.join(words)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    for name, content in pages().items():
        (REFERENCE / name).write_text(content)


if __name__ == "__main__":
    main()
