"""``data.source``: where rows come from, and how their values are written."""

from __future__ import annotations

import codecs
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from ml_pipeline.config.section import Section, yaml_word

NamedDateFormat = Literal["excel", "unix", "unix_ms"]
NAMED_DATE_FORMATS: tuple[NamedDateFormat, ...] = get_args(NamedDateFormat)
"""Serial days of Excel, and seconds or milliseconds since 1970."""

CHARACTER_WORDS = {"tab": "\t", "\\t": "\t", "space": " ", "semicolon": ";", "comma": ","}
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
        return CHARACTER_WORDS.get(value, value) if isinstance(value, str) else value

    @field_validator("na_values", mode="before")
    @classmethod
    def _as_they_are_written(cls, values: Any) -> Any:
        """Take numbers as YAML read them; refuse the words that YAML reads as something else."""
        if not isinstance(values, list | tuple):
            return values
        if unquoted := [value for value in values if value is None or isinstance(value, bool)]:
            raise ValueError(f"texts: YAML reads a word as {yaml_word(unquoted[0])}, so quote it")
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
        description="For example cp1252; if unset UTF-8, or that of a byte order mark.",
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
        keys = dict(values)
        delimiter = keys.pop("delimiter", None)
        if delimiter is not None:
            if "separator" in keys and keys["separator"] != delimiter:
                raise ValueError("separator or delimiter, which are one thing")
            keys["separator"] = delimiter
        separator = keys.get("separator")
        if isinstance(separator, str):
            keys["separator"] = CHARACTER_WORDS.get(separator.lower(), separator)
        return keys

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
        if known is None or known.name in NOT_FILE_ENCODINGS:
            raise ValueError("the name of a text encoding, for example cp1252 or utf-16")
        return value


NOT_FILE_ENCODINGS = frozenset(
    {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}
)
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
    volatile_from: int | None = Field(
        None, ge=1, description="First trading day of another regime; none if unset."
    )


Source = Annotated[
    CsvSource | ParquetSource | SqlSource | SimulatedSource, Field(discriminator="kind")
]
