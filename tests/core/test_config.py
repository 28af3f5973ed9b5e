"""ml.yaml: what is read, what is refused and where a value came from."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline import config
from ml_pipeline.core.errors import UsageError


def write(folder: Path, text: str) -> Path:
    (folder / "ml.yaml").write_text(text)
    return folder


def test_the_smallest_project_is_one_line(tmp_path: Path) -> None:
    project = config.load(write(tmp_path, "project: small\n"), environment={})
    assert project.config.train.estimator == "xgboost"
    assert project.config.data.source.kind == "simulated"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("project: a\ntrain: {sede: 3}\n", "unknown key 'train.sede'; did you mean 'seed'?"),
        ("project: a\nevalute: {}\n", "unknown key 'evalute'; did you mean 'evaluate'?"),
        (
            "project: a\ndata: {source: {kind: csv, path: x, seperator: ';'}}\n",
            "did you mean 'separator'?",
        ),
        ("project: a\nsplit: {holdout_days: 0}\n", "split.holdout_days is 0; expected"),
        ("project: a\nenvironments: {live: {prot: 1}}\n", "did you mean 'port'?"),
        ("project: ../a\n", "project is '../a'"),
        ("train: {}\n", "project"),
        ("- a\n", "holds no keys"),
        ("project: [\n", "is not YAML: line 2, column 1"),
        ("project: a\ntrain: {seed: x}\n", "train.seed is 'x'; expected a whole number"),
        ("project: a\ndata: {source: {path: x}}\n", "'data.source.kind' is missing"),
        (
            "project: a\ndata: {source: {kind: cvs}}\n",
            "data.source.kind is 'cvs'; did you mean 'csv'",
        ),
        ("project: a\ndata: 5\n", "data is 5; expected a section"),
        ("project: a\nproject: b\n", "'project' occurs twice, again in line 2"),
        ("project: a\nlint: {commands: [[a], {b: 1, b: 2}]}\n", "'b' occurs twice"),
    ],
)
def test_an_invalid_file_is_refused_in_one_line_with_the_key(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        config.load(write(tmp_path, text), environment={})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "ml.yaml").write_bytes(b"project: \xff\n")
    with pytest.raises(UsageError, match="is not UTF-8 text"):
        config.load(tmp_path, environment={})


def test_later_layers_override_and_each_value_has_its_origin(tmp_path: Path) -> None:
    write(tmp_path, "project: a\ntrain: {seed: 1, max_epochs: 10, patience: 3}\n")
    project = config.load(
        tmp_path,
        ["train.seed=3"],
        {"ML__TRAIN__SEED": "2", "ML__TRAIN__MAX_EPOCHS": "20", "UNRELATED": "x"},
    )
    train = project.config.train
    assert (train.seed, train.max_epochs, train.patience) == (3, 20, 3)
    assert project.origins["train.seed"] == "--set train.seed"
    assert project.origins["train.max_epochs"] == "environment variable ML__TRAIN__MAX_EPOCHS"
    assert project.origins["train.patience"] == "ml.yaml"


@pytest.mark.parametrize(
    ("assignments", "environment", "origin"),
    [
        ((), {"ML__TRAIN__SEEED": "3"}, "environment variable ML__TRAIN__SEEED"),
        (("train.seeed=3",), {}, "--set train.seeed"),
    ],
)
def test_an_error_names_the_origin_of_a_wrong_key(
    tmp_path: Path, assignments: tuple[str, ...], environment: dict[str, str], origin: str
) -> None:
    write(tmp_path, "project: a\n")
    with pytest.raises(UsageError, match=f"^{origin}: unknown key 'train.seeed'"):
        config.load(tmp_path, assignments, environment)


@pytest.mark.parametrize(
    ("assignments", "environment", "origin"),
    [
        ((), {"ML__TRIAN__SEED": "3"}, "environment variable ML__TRIAN__SEED"),
        (("trian.seed=3",), {}, "--set trian.seed"),
        (("serving.docker.imgae.name=a",), {}, "--set serving.docker.imgae.name"),
    ],
)
def test_an_error_names_the_origin_of_a_section(
    tmp_path: Path, assignments: tuple[str, ...], environment: dict[str, str], origin: str
) -> None:
    write(tmp_path, "project: a\n")
    with pytest.raises(UsageError, match=f"^{origin}: unknown key"):
        config.load(tmp_path, assignments, environment)


def test_an_assignment_may_replace_a_whole_section(tmp_path: Path) -> None:
    write(tmp_path, "project: a\ndata: {source: {kind: simulated, days: 9}}\n")
    project = config.load(tmp_path, ['data.source={"kind": "csv", "path": "b.csv"}'], {})
    assert project.config.data.source == config.CsvSource(kind="csv", path=Path("b.csv"))
    assert "data.source.days" not in project.origins


def test_an_assignment_without_a_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected section\.key=value"):
        config.load(write(tmp_path, "project: a\n"), ["train.seed"], {})


def test_the_root_is_the_nearest_parent_folder_with_ml_yaml(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    write(tmp_path / "a", "project: a\n")
    assert config.find_root(inner) == (tmp_path / "a").resolve()
    with pytest.raises(UsageError, match=r"no ml\.yaml in"):
        config.find_root(tmp_path)


SOURCE = "project: a\ndata: {{source: {{kind: csv, path: a.csv, {keys}}}}}\n"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("decimal: ';'", "data.source.decimal is ';'; expected '.' or ','"),
        ("decimal: ',', thousands: ','", "decimal and thousands that differ; both are ','"),
        ("thousands: x", "data.source.thousands is 'x'"),
        ("separator: ';', delimiter: ','", "separator or delimiter, which are one thing"),
        ("separator: a", "a character that stands in no number or word"),
        ("separator: '\"'", "a character that stands in no number or word"),
        ("encoding: utf-9", "the name of a text encoding, for example cp1252"),
        ("encoding: base64", "the name of a text encoding"),
        ("date_format: DD.MM.YYYY", "a format with year, month and day, for example %d.%m.%Y"),
        ("date_format: '%d.%m.'", "a format with year, month and day"),
        ("na_values: [null]", "YAML reads a word as null, so quote it"),
        ("na_values: [no]", "YAML reads a word as false, so quote it"),
    ],
)
def test_invalid_value_formats_are_refused(tmp_path: Path, keys: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.load(write(tmp_path, SOURCE.format(keys=keys)), environment={})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("delimiter: ';'", {"separator": ";"}),
        ("separator: tab", {"separator": "\t"}),
        ("separator: '\\t'", {"separator": "\t"}),
        ("decimal: ',', thousands: space", {"decimal": ",", "thousands": " "}),
        ("na_values: ['-', -999]", {"na_values": ("-", "-999")}),
        ("date_format: excel", {"date_format": "excel"}),
        ("date_format: '%Y-%m-%dT%H:%M:%S%z'", {"date_format": "%Y-%m-%dT%H:%M:%S%z"}),
    ],
)
def test_value_formats_are_parsed(tmp_path: Path, keys: str, expected: dict[str, object]) -> None:
    project = config.load(write(tmp_path, SOURCE.format(keys=keys)), environment={})
    found = project.config.data.source.model_dump()
    assert {key: found[key] for key in expected} == expected


def test_a_constant_that_yaml_reads_as_a_boolean_must_be_quoted(tmp_path: Path) -> None:
    text = "project: a\ndata: {constants: {symbol: NO}}\n"
    with pytest.raises(UsageError, match="YAML reads symbol as false, so quote it"):
        config.load(write(tmp_path, text), environment={})
    text = text.replace("NO", "'NO'")
    assert config.load(write(tmp_path, text), environment={}).config.data.constants == {
        "symbol": "NO"
    }
