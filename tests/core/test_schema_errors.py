"""Messages of invalid values are in plain words, whatever rule the value breaks."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from ml_pipeline.approval.policy import Policy
from ml_pipeline.config import Config
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.schema_errors import parse, reason, rule_of
from ml_pipeline.problems.bars import BarsOptions
from ml_pipeline.problems.table import TableOptions
from ml_pipeline.promotion.desired_state import Desired
from ml_pipeline.training.estimators.loader import installed_estimators
from pydantic import BaseModel

MODELS: Mapping[str, type[BaseModel]] = {
    "ml.yaml": Config,
    "policy": Policy,
    "production-model.yaml": Desired,
    "bars": BarsOptions,
    "table": TableOptions,
} | {name: estimator.Parameters for name, estimator in installed_estimators().items()}
WRONG: tuple[Any, ...] = (
    None, True, -5, 3.5, 10**9, "", "no such Value!", "x" * 300, [], [[]], {}, {"no Name!": {}},
)  # fmt: skip
LEAST: Mapping[str, dict[str, Any]] = {
    "ml.yaml": {"project": "churn"},
    "table": {"label": "churned", "entity": "customer"},
    "production-model.yaml": {
        "model_name": "churn",
        "model_version": 1,
        "digests": {"bundle": "a" * 64, "approval": "b" * 64},
    },
}
"""What each has to have."""
JARGON = re.compile(
    r"[Ii]nput|should be|should match|[Vv]alid (string|integer|number|list|dict|tuple|boolean)|"
    r"instance of|\^|\\\\|None|True|False|greater|Field required|extra_forbidden|pydantic|tuple\b|"
    r"dictionary|constrained|Value error|int_|str_"
)


def fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field; a free name is ``name``, an item ``0``."""
    definitions = schema.get("$defs", {})

    def walk(
        node: Mapping[str, Any], path: tuple[str, ...], depth: int
    ) -> Iterator[tuple[str, ...]]:
        if "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[-1]]
        if path:
            yield path
        if depth == 0:
            return
        for variant in (*node.get("anyOf", ()), *node.get("oneOf", ())):
            yield from walk(variant, path, depth)
        for name, child in node.get("properties", {}).items():
            yield from walk(child, (*path, name), depth - 1)
        for child in node.get("patternProperties", {}).values():
            yield from walk(child, (*path, "name"), depth - 1)
        if isinstance(free := node.get("additionalProperties"), dict):
            yield from walk(free, (*path, "name"), depth - 1)
        if isinstance(items := node.get("items"), dict):
            yield from walk(items, (*path, "0"), depth - 1)

    yield from dict.fromkeys(walk(schema, (), 6))


def nested(path: tuple[str, ...], value: Any) -> Any:
    for part in reversed(path):
        value = [value] if part == "0" else {part: value}
    return value


def base(name: str, path: tuple[str, ...], value: Any) -> dict[str, Any]:
    whole = copy.deepcopy(LEAST.get(name, {}))
    whole |= nested(path, value)
    for source in ("source", "ci"):
        section = whole.get("data", {}).get(source) if isinstance(whole.get("data"), dict) else None
        if isinstance(section, dict) and section and "kind" not in section:
            kinds = {"url": "sql", "query": "sql", "password_env": "sql", "edge": "simulated"}
            kinds |= dict.fromkeys(("symbols", "days", "seed"), "simulated")
            section["kind"] = kinds.get(next(iter(section)), "csv")
    return whole


def message_of(model: type[BaseModel], values: dict[str, Any], where: str) -> str:
    """Return what is wrong with the values; nothing where nothing is."""
    try:
        parse(model, values, where)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", MODELS)
def test_every_rule_has_a_message(name: str) -> None:
    places: dict[str, Any] = {}
    for path in fields(MODELS[name].model_json_schema()):
        for wrong in WRONG:
            values = base(name, path, copy.deepcopy(wrong))
            places[message_of(MODELS[name], values, name)] = (path, wrong)
    places.pop("", None)
    assert len(places) >= 10
    jargon = {text: about for text, about in places.items() if JARGON.search(text)}
    assert jargon == {}
    assert not [text for text in places if "\n" in text or len(text) > 400]


@pytest.mark.parametrize("name", MODELS)
def test_every_pattern_has_a_message(name: str) -> None:
    text = repr(MODELS[name].model_json_schema())
    for regex in re.findall(r"'pattern': '((?:[^'\\]|\\.)*)'", text):
        assert rule_of(regex.replace("\\\\", "\\").replace("\\'", "'")), regex


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"project": "../a"}, "project is '../a'; expected letters, digits, '.', '_' and '-'"),
        ({"project": 5}, "project is 5; expected a text; write it in quotes"),
        ({"train": {"seed": 1.5}}, "train.seed is 1.5; expected a whole number"),
        ({"train": {"seed": True}}, "expected a number for seed, which YAML reads as true"),
        ({"watch": {"psi": 0.5}}, "expected distance instead of psi, which it replaces"),
        ({"shadow": {"ks": 0.2}}, "expected distance instead of ks, which it replaces"),
        ({"shadow": {"advisory": ["psi"]}}, "expected distance instead of psi, which it replaces"),
        ({"train": {"seed": None}}, "train.seed is empty; expected a whole number"),
        ({"train": {"seed": -1}}, "train.seed is -1; expected at least 0"),
        ({"train": {"calibration": "isotnic"}}, "or 'isotonic'; did you mean 'isotonic'?"),
        ({"split": {"holdout_share": 1}}, "split.holdout_share is 1; expected less than 1"),
        ({"environments": {"live": {"port": 70000}}}, "live.port is 70000; expected at most 65535"),
        (
            {"environments": {"a b": {"port": 1}}},
            "environments has the name 'a b'; expected letters",
        ),
        ({"environments": {"live": {"port": "http"}}}, "is 'http'; expected a whole number"),
        ({"environments": {"live": {"port": 1, "host": ""}}}, "expected a text that is not empty"),
        ({"environments": {"live": {"port": 1, "memory": "2 GB"}}}, "is '2 GB'; expected a whole"),
        ({"features": {"standard": 5}}, "features.standard is 5; expected true or false or a list"),
        ({"lint": {"commands": ["ruff"]}}, "lint.commands.0 is 'ruff'; expected a list"),
        ({"lint": {"commands": []}}, "lint.commands is []; expected at least 1 item"),
        ({"evaluate": {"thresholds": {"auc": 0.5}}}, "auc is 0.5; expected a section with keys"),
        ({"evaluate": {"thresholds": {"auc": {}}}}, "is {}; expected"),
        ({"data": {"columns": ["a"]}}, "data.columns is ['a']; expected keys with values"),
        ({"data": {"constants": {"x": [1]}}}, "x is [1]; expected a text or a whole number or a"),
        ({"gate": {"guards": {"auc": "x"}}}, "is 'x'; expected a number"),
        ({"gate": {"guards": {"auc": {"margn": 1}}}}, "unknown key 'gate.guards.auc.margn'"),
        ({"gitops": {"repository": "x"}}, "is 'x'; expected a git remote such as"),
    ],
)
def test_messages_of_schema_errors(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(Config, {"project": "churn"} | values, "ml.yaml")
    assert expected in str(caught.value)


def test_a_part_of_a_value_from_elsewhere_is_blamed_on_its_place() -> None:
    origins = {"train": "--set train"}
    with pytest.raises(UsageError, match=r"^--set train: train\.seed is 'x'"):
        parse(Config, {"project": "a", "train": {"seed": "x"}}, "ml.yaml", origins)


def test_a_record_is_described_in_the_same_words(tmp_path: Path) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError) as caught:
        Desired.model_validate({"model_name": "a", "model_version": 1, "digests": {"bundle": "x"}})
    assert reason(caught.value) == (
        "digests.bundle is 'x', expected a SHA-256: 64 digits, 0 to 9 and a to f"
    )


@pytest.mark.parametrize("form", [0.01, {"margin": 0.01}])
def test_a_guard_has_the_same_forms_in_ml_yaml_and_policy(form: Any) -> None:
    own = parse(Config, {"project": "a", "gate": {"guards": {"log_loss": form}}}, "ml.yaml")
    assert own.gate.guards is not None
    assert own.gate.guards["log_loss"].margin == 0.01
    policy = parse(Policy, {"gate": {"guards": {"log_loss": form}}}, "policy.yaml")
    assert policy.gate.guards == {"log_loss": 0.01}
    assert policy.digest == Policy.model_validate({"gate": {"guards": {"log_loss": 0.01}}}).digest
