"""``ml.yaml`` and where each of its values came from: defaults < file < environment < ``--set``.

Every section is a frozen model that forbids unknown keys; an unknown key names the nearest one.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from ml_pipeline.core import documents
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.schema_errors import parse, pattern

FILE = "ml.yaml"
NAME = pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$",
    "letters, digits, '.', '_' and '-', at most 63, a letter or digit first",
)
"""Of a project and of its registered model."""
ENVIRONMENT_PREFIX = "ML__"


def _yaml(value: bool | None) -> str:
    return "null" if value is None else str(value).lower()


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, values never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_switch_for_a_number(cls, values: Any) -> Any:
        """Refuse ``true`` for a number, which YAML makes of ``yes`` and ``on``."""
        for name, value in values.items() if isinstance(values, dict) else ():
            field = cls.model_fields.get(name)
            if field is not None and isinstance(value, bool):
                kinds = {field.annotation, *get_args(field.annotation)}
                if kinds & {int, float} and bool not in kinds:
                    raise ValueError(f"a number for {name}, which YAML reads as {_yaml(value)}")
        return values


# --- data ---------------------------------------------------------------------------------


NamedDateFormat = Literal["excel", "unix", "unix_ms"]
NAMED_DATE_FORMATS: tuple[NamedDateFormat, ...] = get_args(NamedDateFormat)
"""Serial days of Excel, and seconds or milliseconds since 1970."""

SPELLED = {"tab": "\t", "\\t": "\t", "space": " ", "semicolon": ";", "comma": ","}
"""Words for characters that are hard to see or to quote in YAML."""


class WrittenForms(Section):
    """How numbers, dates and missing values are written as text in a source."""

    decimal: Literal[".", ","] = Field(".", description="The decimal mark of numbers.")
    thousands: Literal[",", ".", "'", "\u2019", " ", "_"] | None = Field(
        None,
        description="What groups the digits of numbers, if anything; a blank stands for "
        "no-break blanks too.",
    )
    date_format: str | None = Field(
        None,
        min_length=1,
        description="Of dates that are not YYYY-MM-DD, for example %d.%m.%Y; or excel (serial "
        "days), unix (seconds since 1970), unix_ms.",
    )
    na_values: tuple[str, ...] = Field(
        (), description="Cells that mean a missing value, in text columns too, for example #N/A."
    )

    @field_validator("thousands", mode="before")
    @classmethod
    def _spelled_thousands(cls, value: Any) -> Any:
        return SPELLED.get(value, value) if isinstance(value, str) else value

    @field_validator("na_values", mode="before")
    @classmethod
    def _as_they_are_written(cls, values: Any) -> Any:
        """Take numbers as YAML read them; refuse the words that YAML reads as something else."""
        if not isinstance(values, list | tuple):
            return values
        if unquoted := [value for value in values if value is None or isinstance(value, bool)]:
            raise ValueError(f"texts: YAML reads a word as {_yaml(unquoted[0])}, so quote it")
        return [str(value) if isinstance(value, int | float) else value for value in values]

    @field_validator("date_format")
    @classmethod
    def _names_a_day(cls, value: str | None) -> str | None:
        """Refuse a format that does not give back the day that was written by it."""
        if value is None or value in NAMED_DATE_FORMATS:
            return value
        day = datetime(2023, 12, 31)  # noqa: DTZ001  days have no zone
        written = day.replace(tzinfo=UTC).strftime(value)
        try:
            read = datetime.strptime(written, value)  # noqa: DTZ007  days have no zone
        except (ValueError, re.error) as error:
            raise ValueError(
                f"a format of strptime, or {', '.join(NAMED_DATE_FORMATS)}: {error}"
            ) from None
        if read.date() != day.date():
            raise ValueError("a format with year, month and day, for example %d.%m.%Y")
        return value

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        if self.thousands == self.decimal:
            raise ValueError(f"decimal and thousands that differ; both are {self.decimal!r}")
        return self


class CsvSource(WrittenForms):
    """A CSV file: plain, or packed as .gz, .bz2, .xz, .zst or .zip."""

    kind: Literal["csv"]
    path: Path
    separator: str = Field(
        ",", min_length=1, max_length=1, description="Between fields; tab for a tabulator."
    )
    delimiter: str | None = Field(None, description="Another name of separator.")
    encoding: str | None = Field(
        None,
        description="For example cp1252; if unset UTF-8, or what a byte order mark says.",
    )
    max_unpacked_mb: int | None = Field(
        None,
        ge=1,
        description="The most that a packed file may become; if unset 4096, and beyond 64 at most "
        "200 times its size.",
    )

    @model_validator(mode="before")
    @classmethod
    def _one_separator(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = dict(values)
        delimiter = given.pop("delimiter", None)
        if delimiter is not None:
            if "separator" in given and given["separator"] != delimiter:
                raise ValueError("separator or delimiter, which are one thing")
            given["separator"] = delimiter
        separator = given.get("separator")
        if isinstance(separator, str):
            given["separator"] = SPELLED.get(separator.lower(), separator)
        return given

    @field_validator("separator")
    @classmethod
    def _can_separate(cls, value: str) -> str:
        if value.isalnum() or value in '"\n\r\0.-+' or not value.isascii():
            raise ValueError("a character that stands in no number or word, such as ';'")
        return value

    @field_validator("encoding")
    @classmethod
    def _decodes(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            known = codecs.lookup(value)
            "".encode(value)
        except (LookupError, UnicodeError, ValueError):
            known = None
        if known is None or known.name in NO_FILES:
            raise ValueError("the name of a text encoding, for example cp1252 or utf-16")
        return value


NO_FILES = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"})
"""Text encodings of Python that no file of data is written in."""


class ParquetSource(WrittenForms):
    kind: Literal["parquet"]
    path: Path
    max_unpacked_mb: int | None = Field(
        None,
        ge=1,
        description="The most that a file may become; if unset, 4096 is the most of one that "
        "becomes over 200 times its size.",
    )


class SqlSource(WrittenForms):
    """A query. ``{password}`` in ``url`` stands for the content of ``password_env``."""

    kind: Literal["sql"]
    url: str
    query: str
    password_env: str | None = Field(
        None, description="Environment variable that holds the password; never the password itself."
    )


class SimulatedSource(Section):
    """A seeded exchange: see docs/reference/simulated.md."""

    kind: Literal["simulated"]
    symbols: int = Field(48, ge=1, le=1000)
    days: int = Field(900, ge=1, le=3400, description="More days prolong the same history.")
    seed: int = Field(7, ge=0)
    edge: float = Field(
        0.6, ge=0, description="How far the planted signal moves the next day's return; 0 is none."
    )


Source = Annotated[
    CsvSource | ParquetSource | SqlSource | SimulatedSource, Field(discriminator="kind")
]


class Groups(Section):
    """A CSV file that gives each entity its group: its path and the names of its two columns."""

    path: Path
    entity: str
    group: str


Severity = Literal["fail", "quarantine", "blank"]


class Expectation(Section):
    """One data test: a great_expectations expectation by its snake-case name and arguments."""

    name: str | None = Field(None, description="What reports call it; made of expect if unset.")
    expect: str = Field(description="For example expect_column_values_to_be_in_set.")
    args: dict[str, Any] = Field(default_factory=dict)
    severity: Severity = Field(
        "fail",
        description="fail: the run ends; quarantine: the row leaves; blank: the cell is emptied.",
    )
    tolerance: float = Field(
        0.0, ge=0, le=1, description="Share of rows that may miss the expectation."
    )
    blank: str | None = Field(
        None, description="The column whose cell is emptied; the expectation's own if unset."
    )


class Distribution(Section):
    """How far the columns may move from the last accepted data."""

    null_share: float = Field(0.05, ge=0, description="Largest rise of the share of nulls.")
    mean_shift: float = Field(
        1.0,
        ge=0,
        description="Largest move of a mean, in standard deviations of the accepted data.",
    )


class DataSection(Section):
    source: Source = SimulatedSource(kind="simulated")
    ci: Source | None = Field(None, description="The small sample in the repository for `run ci`.")
    columns: dict[str, str] = Field(
        default_factory=dict, description="The problem's column name: the source's column name."
    )
    constants: dict[str, str | int | float] = Field(
        default_factory=dict, description="Columns that the source lacks, with their one value."
    )

    @field_validator("constants", mode="before")
    @classmethod
    def _no_switches(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool):
                raise ValueError(  # noqa: TRY004  pydantic takes it as a fault of the value
                    f"a text or a number; YAML reads {name} as {_yaml(value)}, so quote it"
                )
        return values

    groups: Groups | None = None
    expectations: tuple[Expectation, ...] = ()
    tolerances: dict[str, float] = Field(
        default_factory=dict,
        description="Tolerance by the name of one of the problem's own expectations.",
    )
    min_rows: int = Field(1, ge=1)
    max_age_days: int | None = Field(None, ge=0, description="Freshness: off unless set.")
    distribution: Distribution = Distribution()


# --- problem, features, training ------------------------------------------------------------


class ProblemSection(BaseModel):
    """What a row, a label and a group are. The other keys are options of the plug-in ``kind``."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: str = "bars"


class FeaturesSection(Section):
    standard: bool | tuple[str, ...] = Field(
        True, description="The problem's own features: all, none, or these by name."
    )
    modules: tuple[str, ...] = Field(
        (), description="Modules of the project whose functions marked @feature are used."
    )
    optional: tuple[str, ...] = Field(
        (), description="Features that a request may leave out; they are missing then."
    )


class SplitSection(Section):
    """Rows with a time are split by day, rows without one by a hash of their content."""

    holdout_days: int = Field(120, ge=1, description="The last days, never trained on.")
    validation_days: int = Field(60, ge=1, description="The days before, for early stopping.")
    folds: int = Field(3, ge=0, description="Walk-forward folds that choose from train.search.")
    fold_days: int = Field(60, ge=1, description="Days that each fold is scored on.")
    quick_holdout_days: int = Field(20, ge=1)
    quick_validation_days: int = Field(10, ge=1)
    holdout_share: float = Field(0.2, gt=0, lt=1, description="Of rows without a time.")
    validation_share: float = Field(0.1, gt=0, lt=1, description="Of rows without a time.")

    @model_validator(mode="after")
    def _leaves_rows_to_train_on(self) -> SplitSection:
        if self.holdout_share + self.validation_share >= 1:
            raise ValueError("holdout_share + validation_share must stay under 1")
        return self


Calibration = Literal["none", "sigmoid", "isotonic"]


class TrainSection(Section):
    estimator: str = Field("xgboost", description="xgboost, logistic-regression or random-forest.")
    params: dict[str, Any] = Field(
        default_factory=dict, description="Of the estimator: see docs/reference/estimators.md."
    )
    search: tuple[dict[str, Any], ...] = Field(
        (), description="Parameter sets, each laid over params, to choose from by log loss."
    )
    calibration: Calibration = "none"
    max_samples: int | None = Field(
        None, ge=2, description="The newest rows at most; all if unset."
    )
    max_epochs: int = Field(400, ge=1, description="Boosting rounds at most.")
    patience: int = Field(40, ge=1, description="Rounds without gain before boosting stops.")
    min_rows: int = Field(200, ge=2, description="Fewest rows of the training part.")
    seed: int = Field(7, ge=0, le=2**31 - 1)
    threads: int = Field(1, ge=1)


# --- evaluation and gate ---------------------------------------------------------------------


class Threshold(Section):
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("a threshold has min, max or both")
        return self


class EvaluateSection(Section):
    thresholds: dict[str, Threshold] = Field(
        default_factory=dict, description="Absolute limits by metric, for example auc: {min: 0.52}."
    )
    resamples: int = Field(500, ge=50, description="Bootstrap samples of days for the intervals.")
    noise: float = Field(1e-6, gt=0, description="Relative noise that must not change an answer.")
    max_noise_effect: float = Field(
        0.01, gt=0, description="Largest mean change of a probability under that noise."
    )
    max_feature_auc: float = Field(
        0.98, ge=0.5, le=1, description="Largest AUC of one feature alone; above, it is named."
    )
    feature_auc_required: bool = Field(
        False, description="A feature above max_feature_auc fails the stage."
    )
    group_gaps: dict[str, float] = Field(
        default_factory=dict,
        description="Largest gap of a metric between groups, for example accuracy: 0.1.",
    )


def _margin_alone(value: Any) -> Any:
    """Take ``{margin: 0.01}`` for ``0.01``."""
    return value["margin"] if isinstance(value, dict) and set(value) == {"margin"} else value


def _as_guard(value: Any) -> Any:
    """Take ``0.01`` for ``{margin: 0.01}``."""
    return value if isinstance(value, dict | Guard) else {"margin": value}


class Guard(Section):
    """A metric that must not get worse by more than ``margin``."""

    margin: float = Field(ge=0)


MARGIN_SCHEMA: JsonDict = {"type": "number", "minimum": 0}
GUARD_SCHEMA: JsonDict = {
    "anyOf": [
        MARGIN_SCHEMA,
        {
            "type": "object",
            "properties": {"margin": MARGIN_SCHEMA},
            "required": ["margin"],
            "additionalProperties": False,
        },
    ],
    "description": "The margin, as a number or as margin: NUMBER.",
}
GuardForm = Annotated[Guard, BeforeValidator(_as_guard), WithJsonSchema(GUARD_SCHEMA)]
MarginForm = Annotated[
    float, Field(ge=0), BeforeValidator(_margin_alone), WithJsonSchema(GUARD_SCHEMA)
]
"""Both sections take both forms, so that a guard may be copied from one to the other."""


class GateSection(Section):
    goal: Literal["auto", "superior", "non_inferior"] = "auto"
    metric: str | None = Field(None, description="The primary metric; the problem's own if unset.")
    margin: float = Field(0.0, ge=0, description="superior: the least gain that counts.")
    non_inferior_margin: float = Field(
        0.005, gt=0, description="non_inferior: the largest loss that is tolerated."
    )
    alpha: float = Field(0.05, gt=0, lt=0.5)
    power: float = Field(0.8, gt=0, lt=1)
    min_days: int = Field(
        20, ge=5, description="Days (or clusters, or undated rows) that a comparison needs."
    )
    guards: dict[str, GuardForm] | None = Field(
        None, description="Guard metrics; the problem's own if unset."
    )
    require: tuple[str, ...] = Field(
        (), description="Stages whose report must have passed, beyond the built-in ones."
    )
    allow_breaking_contract: bool = Field(
        False, description="A challenger that some requests of the champion's clients do not fit."
    )


class GateFloor(Section):
    """How strict the gate is at least; part of the administrators' policy."""

    goal: Literal["auto", "superior"] | None = Field(
        None, description="auto: non_inferior only for the same recipe on newer data."
    )
    metric: str | None = Field(None, description="The primary metric that must be used.")
    alpha: float | None = Field(None, gt=0, lt=0.5, description="The largest.")
    margin: float | None = Field(None, ge=0, description="The least gain that counts.")
    non_inferior_margin: float | None = Field(None, gt=0, description="The largest.")
    min_days: int | None = Field(None, ge=5, description="The least.")
    max_feature_auc: float | None = Field(
        None, ge=0.5, le=1, description="The largest AUC that one feature alone may have."
    )
    guards: dict[str, MarginForm] = Field(
        default_factory=dict, description="Metrics that must be guarded, with the largest margin."
    )
    allow_breaking_contract: bool = Field(
        True, description="Whether a project may allow that requests of old clients do not fit."
    )


# --- registry, approval, deployment -----------------------------------------------------------


class RegistrySection(Section):
    uri: str | None = Field(None, description="MLflow tracking URI; SQLite in the home if unset.")
    name: str | None = Field(
        None,
        pattern=NAME,
        description="Registered model; the project's name if unset.",
    )
    stages: bool = Field(False, description="Also set the stages Staging and Production.")


EnvironmentName = Annotated[
    str,
    Field(
        pattern=pattern(
            r"^[A-Za-z0-9][A-Za-z0-9_-]{0,30}$",
            "letters, digits, '_' and '-', at most 31, a letter or digit first",
        )
    ),
]


DNS_LABEL = pattern(
    r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
    "small letters, digits and '-', at most 63, a letter first and no '-' last",
)
"""A DNS label, as the objects of Kubernetes are called."""


class IngressSection(Section):
    """An Ingress before the Service: its host, and the controller that takes it."""

    host: str = Field(
        pattern=pattern(
            r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$",
            "a host name in small letters, such as churn.example.org",
        ),
        max_length=253,
    )
    ingress_class: str | None = Field(
        None, pattern=DNS_LABEL, description="The cluster's default class if unset."
    )
    tls_secret: str | None = Field(
        None, pattern=DNS_LABEL, description="The Secret with the certificate; plain HTTP if unset."
    )


class KubernetesSection(Section):
    """What the kubernetes target needs to know."""

    repository: str | None = Field(
        None,
        pattern=pattern(
            r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$",
            "a repository in small letters without a tag, such as registry.example.org/team/churn",
        ),
        max_length=200,
        description="Where the cluster pulls images from, without a tag: package --push puts them "
        "there.",
    )
    context: str | None = Field(
        None, min_length=1, description="Of the kubeconfig; its current one if unset."
    )
    namespace: str = Field("default", pattern=DNS_LABEL)
    app: str | None = Field(
        None,
        pattern=pattern(
            r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$",
            "small letters, digits and '-', at most 40, a letter first and no '-' last",
        ),
        description="What the objects are called; made of project and environment if unset.",
    )
    replicas: int = Field(3, ge=1, le=1000)
    max_replicas: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Most that load may bring; three times replicas if unset.",
    )
    cpu: str = Field(
        "250m",
        pattern=pattern(
            r"^[1-9][0-9]{0,5}m?$", "processors such as 2, or thousandths of one such as 250m"
        ),
        description="What a server is given for sure.",
    )
    token_secret: str | None = Field(
        None,
        pattern=DNS_LABEL,
        description="The Secret that holds the bearer token under the key 'token'; APP-token if "
        "unset.",
    )
    pull_secret: str | None = Field(
        None, pattern=DNS_LABEL, description="The Secret that the cluster pulls the image with."
    )
    callers: tuple[Annotated[str, Field(pattern=DNS_LABEL)], ...] = Field(
        (), description="Further namespaces whose pods may ask: that of an ingress controller, say."
    )
    ingress: IngressSection | None = None
    rollout_seconds: int = Field(
        300, ge=10, le=3600, description="Time for a version's servers to become ready."
    )

    @model_validator(mode="after")
    def _can_grow(self) -> Self:
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ValueError("max_replicas is at least replicas")
        return self


class EnvironmentSection(Section):
    """Where an environment is served."""

    target: str = Field("process", description="A plug-in of the group ml_pipeline.targets.")
    host: str = Field(
        "127.0.0.1", description="Other than loopback only with serving.token_env.", min_length=1
    )
    port: int = Field(ge=0, le=65535, description="0 lets the system choose one.")
    image: str | None = Field(
        None,
        description="docker: made of docker/server-raw.Dockerfile, or docker/server.Dockerfile "
        "without raw_rows; ml-pipeline-server-raw:VERSION or ml-pipeline-server:VERSION of the "
        "engine if unset. kubernetes: what package bakes the bundle into.",
        min_length=1,
    )
    gateway_image: str | None = Field(
        None,
        description="docker: made of docker/gateway.Dockerfile; ml-pipeline-gateway:VERSION of the "
        "engine if unset.",
        min_length=1,
    )
    raw_rows: bool = Field(
        True,
        description="Answer rows before features (POST /predict/raw) here; docker, kubernetes: "
        "with the image that holds the packages to compute them.",
    )
    memory: str | None = Field(
        None,
        pattern=pattern(r"^[1-9][0-9]*[kmg]$", "a whole number with k, m or g, such as 512m"),
        description="docker, kubernetes: most that a server may take; 1g with raw_rows, 512m "
        "without, if unset.",
    )
    network: str | None = Field(
        None,
        description="docker: network that the gateway joins; the engine's own if unset.",
        min_length=1,
    )
    url: str | None = Field(
        None,
        pattern=pattern(
            r"^https?://[A-Za-z0-9.\-_\[\]:]+(/[A-Za-z0-9.\-_~/]*)?$",
            "an address such as https://churn.example.org or http://127.0.0.1:8000",
        ),
        description="docker: where it is reached, if not at host and port, such as a proxy. "
        "kubernetes: if not at its ingress.",
    )
    kubernetes: KubernetesSection = KubernetesSection()

    @property
    def memory_limit(self) -> str:
        """Most that a server may take, such as ``512m``."""
        return self.memory or ("1g" if self.raw_rows else "512m")


class PredictionLogSection(Section):
    """What was asked and answered, as rotated JSON lines."""

    enabled: bool = True
    folder: Path | None = Field(
        None, description="Holds a folder for each environment; predictions in the home if unset."
    )
    max_bytes: int = Field(64 << 20, ge=1 << 16, description="Bytes of a file.")
    keep: int = Field(16, ge=2, description="Files; the oldest are removed.")


class RawRowsSection(Section):
    """Rows before features (``POST /predict/raw``), computed by the model's own code."""

    enabled: bool = True
    max_rows: int = Field(10_000, ge=1, description="Rows of a request, with their history.")
    max_queue: int = Field(8, ge=1, description="Requests that wait; more are answered 429.")
    max_seconds: float = Field(
        10.0, gt=0, description="Longest time for one of them, then it is answered 503."
    )


class ServingSection(Section):
    max_body: int = Field(1_000_000, ge=1, description="Bytes of a request.")
    max_rows: int = Field(1_000, ge=1)
    max_queue: int = Field(
        64, ge=1, description="Requests that wait for a slow model; more are answered 429."
    )
    max_seconds: float = Field(
        5.0, gt=0, description="Longest time that one of them waits, then it is answered 503."
    )
    log_requests: float = Field(
        0.0, ge=0, le=1, description="Share of answered requests with a line in the server's log."
    )
    raw: RawRowsSection = RawRowsSection()
    prediction_log: PredictionLogSection = PredictionLogSection()
    keep_released: int = Field(
        10, ge=2, description="Versions that production may go back to without the registry."
    )
    token_env: str | None = Field(None, description="Environment variable with the bearer token.")


BRANCH = pattern(
    r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*$",
    "letters, digits, '.', '_', '-' and '/', no part beginning with '.', '_' or '-'",
)
"""A branch, or a path below a folder: no part begins with a dot or a dash."""


class GitopsSection(Section):
    """The repository that says what production is to serve; none if ``repository`` is unset."""

    repository: str | None = Field(
        None,
        pattern=pattern(
            r"^(https?://|file:///|/|ssh://[^:@]+@?|[A-Za-z0-9._-]+@)[^\s]+$",
            "a git remote such as https://git.example.org/team/churn.git "
            "or git@git.example.org:team/churn.git",
        ),
        description="Where promote pushes production-model.yaml, and reconcile reads it.",
    )
    branch: str = Field("main", pattern=BRANCH)
    path: str = Field("production-model.yaml", pattern=BRANCH)
    pull_request: bool = Field(
        False, description="Push to a branch promotion/MODEL-vN, for a pull request."
    )
    token_env: str | None = Field(
        None, description="Environment variable with git's token; git's own means if unset."
    )
    user: str = Field("oauth2", description="Goes with the token.", min_length=1)
    author: str = Field("ml-pipeline", description="Of the commits.", min_length=1)
    email: str = Field("ml-pipeline@localhost", description="Of the commits.", min_length=1)

    @model_validator(mode="after")
    def _no_password(self) -> Self:
        address = self.repository or ""
        if "://" in address and ":" in address.split("://")[1].partition("/")[0].rpartition("@")[0]:
            raise ValueError("repository holds a password; use token_env")
        return self


class ScoreSection(Section):
    """The database of ``ml-pipeline score --out sql:TABLE``, ``data.source``'s own if unset."""

    url: str | None = Field(
        None, description="``{password}`` in it stands for the content of ``password_env``."
    )
    password_env: str | None = Field(
        None, description="Environment variable that holds the password; never the password itself."
    )


class LoadTestSection(Section):
    """Requests at a constant rate, and what the answers have to keep to."""

    rate: float = Field(100.0, gt=0, le=10_000, description="Requests a second.")
    seconds: float = Field(10.0, gt=0, le=3600, description="How long it is measured.")
    warmup: float = Field(2.0, ge=0, le=600, description="Seconds before, which do not count.")
    rows: int = Field(1, ge=1, le=1000, description="Rows of a request.")
    p99_ms: float = Field(
        100.0, gt=0, description="Largest 99th percentile of the latency, in milliseconds."
    )
    error_rate: float = Field(0.0, ge=0, lt=1, description="Largest share of requests that err.")
    required: bool = Field(
        True, description="The gate needs it; if false its limits are advisory, here and there."
    )


ShadowLimit = Literal["errors", "missing", "latency", "psi", "ks", "changed", "extreme", "groups"]


class ShadowSection(Section):
    """Champion and challenger on the same requests, and how far they may differ."""

    source: Literal["auto", "recorded", "holdout"] = Field(
        "auto",
        description="What is replayed: production's prediction log, the holdout, or the log if it "
        "has enough of the champion's requests.",
    )
    requests: int = Field(1000, ge=1, le=100_000, description="Replayed at most, the newest.")
    rate: float = Field(200.0, gt=0, le=10_000, description="Replayed requests a second, to each.")
    share: float = Field(1.0, gt=0, le=1, description="Live: share of requests that is copied.")
    timeout_ms: float = Field(2000.0, gt=0, le=60_000, description="No answer by then is missing.")
    min_requests: int = Field(100, ge=1, description="Answers to compare; inconclusive below.")
    min_minutes: float = Field(30.0, ge=0, description="Live: inconclusive below.")
    threshold: float = Field(0.5, gt=0, lt=1, description="Probability from which it decides 1.")
    error_rate: float = Field(0.0, ge=0, lt=1, description="Largest share of errors.")
    missing: float = Field(0.01, ge=0, lt=1, description="Largest share without an answer.")
    p99_ms: float = Field(100.0, gt=0, description="Largest 99th percentile of the latency,")
    latency_ratio: float = Field(
        2.0, ge=1, description="or, where the champion is slow itself, this many times its own."
    )
    psi: float = Field(0.25, gt=0, description="Largest population stability index.")
    ks: float = Field(0.2, gt=0, le=1, description="Largest Kolmogorov-Smirnov distance.")
    changed: float = Field(0.25, ge=0, le=1, description="Largest share of changed decisions.")
    extreme: float = Field(
        0.5, gt=0, le=1, description="Difference of probabilities from which it is extreme."
    )
    extremes: float = Field(0.01, ge=0, le=1, description="Largest share of extreme ones.")
    min_group: int = Field(30, ge=1, description="Answers of a group that is looked at.")
    advisory: tuple[ShadowLimit, ...] = Field(
        ("psi", "ks", "changed", "groups"), description="Limits that are shown and stop nothing."
    )
    required: bool = Field(
        True, description="The gate needs it; if false its limits are advisory, here and there."
    )


class WatchSection(Section):
    """Live requests after a promotion: outside a limit production goes back by itself."""

    minutes: float = Field(
        0.0, ge=0, le=1440, description="From the promotion on; 0 watches nothing."
    )
    min_requests: int = Field(100, ge=1, description="Nothing is judged below.")
    error_rate: float = Field(
        0.01, ge=0, lt=1, description="Largest share answered with 429 or 500 and above."
    )
    refused_rate: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of refused requests (other 4xx) above which it is shown; clients cause "
        "them, so it rolls nothing back.",
    )
    p99_ms: float = Field(
        100.0, gt=0, le=5000, description="Largest 99th percentile of the time to an answer."
    )
    psi: float = Field(
        0.5,
        gt=0,
        description="Largest population stability index of the answers, beside those to "
        "training rows.",
    )


class PolicySection(Section):
    """What the project asks for beyond the administrators' policy; it can only tighten it."""

    approvers: tuple[str, ...] | None = Field(
        None, description="Who may approve; the administrators' policy if unset."
    )
    four_eyes: bool | None = Field(
        None, description="Nobody approves a change of which they are an author."
    )
    allow_yes: bool | None = Field(None, description="`approve --yes` counts as an approval.")
    automatic: bool = Field(False, description="Promote without a person, where the policy allows.")
    require: tuple[str, ...] = Field((), description="Stages whose report must have passed.")


# --- the project's own checks -------------------------------------------------------------------


class LintSection(Section):
    commands: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = Field(
        (
            ("ruff", "check", "--output-format=json", "."),
            ("ruff", "format", "--check", "."),
        ),
        min_length=1,
        description="Commands as lists of words, run in a copy of the project; exit codes decide.",
    )


class TestSection(Section):
    path: Path = Field(Path("tests/unit"), description="Where the unit tests lie.")
    coverage: float = Field(0.0, ge=0, le=100, description="Least line coverage in per cent.")
    sources: tuple[str, ...] = Field(
        (),
        description="Packages or folders that coverage counts; those of features.modules if unset.",
    )
    args: tuple[str, ...] = Field((), description="Further arguments of pytest.")


class UserTests(Section):
    data: Path = Path("tests/data")
    model: Path = Path("tests/model")
    staging: Path = Path("tests/staging")


class Config(Section):
    """The whole of ``ml.yaml``."""

    project: str = Field(pattern=NAME)
    description: str = ""
    problem: ProblemSection = ProblemSection()
    data: DataSection = DataSection()
    features: FeaturesSection = FeaturesSection()
    split: SplitSection = SplitSection()
    train: TrainSection = TrainSection()
    evaluate: EvaluateSection = EvaluateSection()
    gate: GateSection = GateSection()
    registry: RegistrySection = RegistrySection()
    environments: dict[EnvironmentName, EnvironmentSection] = Field(
        default_factory=lambda: {
            "staging": EnvironmentSection(port=8001),
            "production": EnvironmentSection(port=8000),
        }
    )
    serving: ServingSection = ServingSection()
    gitops: GitopsSection = GitopsSection()
    score: ScoreSection = ScoreSection()
    load_test: LoadTestSection = LoadTestSection()
    shadow: ShadowSection = ShadowSection()
    watch: WatchSection = WatchSection()
    policy: PolicySection = PolicySection()
    lint: LintSection = LintSection()
    test: TestSection = TestSection()
    tests: UserTests = UserTests()


# --- loading ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Project:
    """A user's repository: its root (the folder of ``ml.yaml``) and its configuration."""

    root: Path
    config: Config
    origins: Mapping[str, str] = field(default_factory=dict)
    """Dotted key: where its value came from. What is not in here is a default."""

    def path(self, path: Path) -> Path:
        """Return a path of the configuration, which is relative to the root."""
        return self.root / path

    @property
    def model_name(self) -> str:
        """The name of the registered model."""
        return self.config.registry.name or self.config.project

    @property
    def serving(self) -> ServingSection:
        """The section ``serving`` with the folder of the prediction log made whole."""
        serving = self.config.serving
        folder = serving.prediction_log.folder
        if folder is None:
            return serving
        log = serving.prediction_log.model_copy(update={"folder": self.path(folder)})
        return serving.model_copy(update={"prediction_log": log})


def find_root(start: Path) -> Path:
    """Return the nearest folder upwards that holds ``ml.yaml``.

    Raises:
        UsageError: no folder does.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if (folder / FILE).is_file():
            return folder
    raise UsageError(
        f"no {FILE} in {here} or above it",
        hint="change to the project's folder or give --project DIR",
    )


def load(
    root: Path,
    assignments: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Project:
    """Read ``ml.yaml`` and lay the environment and ``--set`` assignments over it.

    Raises:
        UsageError: the file is missing, is not YAML, or has a key or value that is not known.
    """
    path = root / FILE
    values = mapping(path)
    origins = dict.fromkeys(_leaves(values), FILE)
    for name, raw in sorted((os.environ if environment is None else environment).items()):
        if name.startswith(ENVIRONMENT_PREFIX):
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            _assign(values, key, raw, f"environment variable {name}", origins)
    for assignment in assignments:
        key, equals, raw = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}", expected="section.key=value")
        _assign(values, key.strip(), raw, f"--set {key}", origins)
    config = parse(Config, values, str(path), origins)
    return Project(root=root.resolve(), config=config, origins=origins)


def overridden(project: Project) -> dict[str, str]:
    """Return the dotted keys whose value the environment or ``--set`` changed, and from where.

    One that repeats the value of ``ml.yaml`` changes nothing.
    """
    changed = {key: origin for key, origin in project.origins.items() if origin != FILE}
    if not changed:
        return {}
    try:
        written = load(project.root, (), {})
    except UsageError:
        return changed
    return {
        key: origin for key, origin in changed.items() if _at(project, key) != _at(written, key)
    }


def _at(project: Project, key: str) -> Any:
    """Return the value at a dotted key; the key of a free mapping may hold dots of its own."""
    value: Any = project.config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def mapping(path: Path, what: str = "") -> dict[str, Any]:
    """Return the keys of a YAML file.

    Args:
        path: Of the file.
        what: What messages call it; its path if left out.

    Raises:
        UsageError: it cannot be read, is not YAML within bounds, or is no mapping.
    """
    where = what or str(path)
    try:
        values = documents.read_yaml(path, where)
    except OSError as error:
        raise UsageError(f"cannot read {where}: {error.strerror}") from None
    if not isinstance(values, dict):
        raise UsageError(f"{where} holds no keys", expected="a mapping such as 'project: my-model'")
    return values


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _value(raw: str, origin: str) -> Any:
    """Return an assigned value; what is not YAML is a text, as a URL or a pattern may be."""
    try:
        return documents.parse_yaml(raw, origin)
    except documents.NotYamlError:
        return raw


def _assign(
    values: dict[str, Any], key: str, raw: str, origin: str, origins: dict[str, str]
) -> None:
    value = _value(raw, origin)
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        child = node.setdefault(parent, {})
        if not isinstance(child, dict):
            raise UsageError(f"{origin}: '{parent}' holds a value", expected="a section")
        node = child
    node[last] = value
    for old in [name for name in origins if name == key or name.startswith(f"{key}.")]:
        del origins[old]
    leaves = _leaves(value, f"{key}.") if isinstance(value, dict) and value else [key]
    origins.update(dict.fromkeys(leaves, origin))
