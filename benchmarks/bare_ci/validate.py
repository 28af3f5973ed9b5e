"""Test the sample with great_expectations, set bad rows and cells aside, write clean rows.

An expectation whose ``meta`` names ``blanks`` costs the row no more than that cell; none where it
is empty.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

os.environ["GX_ANALYTICS_ENABLED"] = "False"

import great_expectations as gx
import great_expectations.expectations as gxe
import pandas as pd

SOURCE, OUT = Path("data/sample.csv"), Path("build/bare")
NUMBERS = ("open", "high", "low", "close", "volume")
CRITICAL = ("date", "symbol", "high", "low", "close", "volume")
ALLOWED = 0.99
TODAY = pd.Timestamp(datetime.now(UTC).date())


def read() -> pd.DataFrame:
    raw = pd.read_csv(SOURCE, dtype={"date": "str", "symbol": "str", "sector": "str"})
    frame = raw.copy()
    for name in NUMBERS:
        frame[name] = pd.to_numeric(raw[name], errors="coerce")
        frame[f"{name}_readable"] = frame[name].notna() | raw[name].isna()
    frame["day"] = pd.to_datetime(raw["date"], format="%Y-%m-%d", errors="coerce")
    frame["volume_fraction"] = frame["volume"] % 1
    frame["days_since_last"] = frame.groupby("symbol")["day"].diff().dt.days
    return frame


def at_most(low: str, high: str, allowed: float = ALLOWED) -> gxe.Expectation:
    return gxe.ExpectColumnPairValuesAToBeGreaterThanB(
        column_A=high,
        column_B=low,
        or_equal=True,
        ignore_row_if="either_value_is_missing",
        mostly=allowed,
    )


def row_expectations() -> list[gxe.Expectation]:
    opens = [at_most("low", "open", 0.8), at_most("open", "high", 0.8)]
    for item in opens:
        item.meta = {"blanks": "open"}
    return [
        *(gxe.ExpectColumnValuesToNotBeNull(column=name, mostly=ALLOWED) for name in CRITICAL),
        gxe.ExpectColumnValuesToMatchStrftimeFormat(
            column="date", strftime_format="%Y-%m-%d", mostly=ALLOWED
        ),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["symbol", "date"], mostly=ALLOWED),
        gxe.ExpectColumnValuesToBeBetween(
            column="days_since_last",
            min_value=0,
            strict_min=True,
            mostly=ALLOWED,
            meta={"blanks": ""},
        ),
        *(
            gxe.ExpectColumnValuesToBeBetween(
                column=name, min_value=0, strict_min=True, mostly=ALLOWED
            )
            for name in ("high", "low", "close")
        ),
        at_most("low", "high"),
        at_most("low", "close"),
        at_most("close", "high"),
        gxe.ExpectColumnValuesToBeInSet(column="volume_fraction", value_set=[0], mostly=ALLOWED),
        gxe.ExpectColumnValuesToBeBetween(column="volume", min_value=0, mostly=ALLOWED),
        *opens,
        *(
            gxe.ExpectColumnValuesToBeInSet(
                column=f"{name}_readable",
                value_set=[True],
                mostly=ALLOWED,
                meta={"blanks": "open"} if name == "open" else None,
            )
            for name in NUMBERS
        ),
        gxe.ExpectColumnValuesToBeBetween(column="day", max_value=TODAY),
        gxe.ExpectColumnValuesToBeBetween(
            column="close", min_value=1, max_value=100000, mostly=0.999, meta={"blanks": ""}
        ),
    ]


def frame_expectations(columns: list[str]) -> list[gxe.Expectation]:
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1),
        *(
            gxe.ExpectColumnProportionOfNonNullValuesToBeBetween(
                column=name, min_value=0, strict_min=True
            )
            for name in columns
        ),
    ]


def results_of(
    context: gx.data_context.AbstractDataContext,
    name: str,
    frame: pd.DataFrame,
    expectations: list[gxe.Expectation],
) -> list:
    source = context.data_sources.add_pandas(name)
    definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    suite = gx.ExpectationSuite(name=name, expectations=expectations)
    batch = definition.get_batch({"dataframe": frame})
    return batch.validate(suite, result_format="COMPLETE").results


def main() -> int:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    frame = read()
    found = list(results_of(context, "rows", frame, row_expectations()))
    leaving: set[int] = set()
    for result in found:
        places = result.result.get("unexpected_index_list") or []
        blanks = (result.expectation_config.meta or {}).get("blanks")
        if blanks:
            frame.loc[places, blanks] = float("nan")
        elif blanks is None:
            leaving |= set(places)
    bad = frame.index.isin(leaving)
    columns = ["date", "symbol", *NUMBERS, "sector"]
    clean = frame[~bad].assign(date=frame["day"])[columns]
    clean = clean.sort_values(["symbol", "date"], kind="stable").reset_index(drop=True)
    found += results_of(context, "clean", clean, frame_expectations(columns))

    OUT.mkdir(parents=True, exist_ok=True)
    clean.to_parquet(OUT / "clean.parquet", index=False)
    frame.loc[bad, columns].to_parquet(OUT / "quarantine.parquet", index=False)
    profile = {
        "sha256": hashlib.sha256((OUT / "clean.parquet").read_bytes()).hexdigest(),
        "rows": len(clean),
        "quarantined": int(bad.sum()),
        "blanked": int(clean["open"].isna().sum()),
        "tests": len(found),
        "columns": {
            name: {
                "null_share": float(clean[name].isna().mean()),
                "mean": float(clean[name].mean()) if name in NUMBERS else None,
                "std": float(clean[name].std(ddof=0)) if name in NUMBERS else None,
            }
            for name in columns
        },
    }
    (OUT / "profile.json").write_text(json.dumps(profile, indent=2))
    failed = [result for result in found if not result.success]
    for result in failed:
        print(result.expectation_config.type, result.expectation_config.kwargs, result.result)
    print(f"{len(found) - len(failed)} of {len(found)} expectations met, {len(clean)} clean rows")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
