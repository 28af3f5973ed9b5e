from __future__ import annotations

import datetime
from dataclasses import replace

import pandas as pd
import pytest
from ml_pipeline.config import CsvSource, DataSection, Groups, ParquetSource
from ml_pipeline.core.errors import UsageError
from ml_pipeline.data.sources import (
    read_source,
    text_columns,
    to_problem_columns,
    to_source_columns,
)
from ml_pipeline.data.typed_columns import as_dates


def test_columns_are_mapped_and_constants_added(shop, sales):
    raw = sales.drop(columns="shop").rename(columns=str.title)
    data = DataSection(
        columns={"day": "Day", "sales": "Sales", "visits": "Visits"}, constants={"shop": "only"}
    )
    frame = to_problem_columns(raw, shop, data)
    assert list(frame.columns) == ["shop", "day", "sales", "visits"]
    assert set(frame["shop"]) == {"only"}
    assert text_columns(shop, data) == {"shop", "Day", "region"}
    back = to_source_columns(frame, data)
    assert back.equals(raw)


def test_other_columns_are_kept_only_if_the_problem_keeps_them(shop, sales):
    raw = sales.assign(weather="rain")
    assert "weather" in to_problem_columns(raw, shop, DataSection())
    closed = replace(shop, keeps_other_columns=False)
    assert "weather" not in to_problem_columns(raw, closed, DataSection())


def test_the_source_name_of_a_mapped_column_is_dropped(shop, sales):
    raw = sales.assign(net=[9.0, 9, 9, 9])
    frame = to_problem_columns(raw, shop, DataSection(columns={"sales": "net"}))
    assert frame["sales"].tolist() == [9, 9, 9, 9]
    assert "net" not in frame


def test_the_error_for_a_missing_column_names_one_that_differs_in_case(shop, sales):
    with pytest.raises(UsageError, match=r"no column 'sales'.*set data.columns.sales to 'Sales'"):
        to_problem_columns(sales.rename(columns={"sales": "Sales"}), shop, DataSection())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataSection(columns={"sale": "x"}), "data.columns names 'sale'.*did you mean 'sales'"),
        (DataSection(constants={"x": 1}), "data.constants names 'x'"),
        (DataSection(columns={"shop": "s"}, constants={"shop": "a"}), "and in data.constants"),
        (DataSection(columns={"visits": "vizits"}), "no column 'vizits'.*did you mean 'visits'"),
    ],
)
def test_a_mapping_of_unknown_columns_is_refused(shop, sales, data, message):
    with pytest.raises(UsageError, match=message):
        to_problem_columns(sales, shop, data)


def test_groups_are_read_from_the_groups_file(shop, sales, make_project):
    project = make_project()
    (project.root / "regions.csv").write_text("id,where\na,north\na,north\nc,south\n")
    data = DataSection(groups=Groups(path="regions.csv", entity="id", group="where"))
    frame = to_problem_columns(sales, shop, data, project)
    assert frame["region"].fillna("?").tolist() == ["north", "?", "north", "?"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,where\na,north\na,south\n", "gives 'a' two groups"),
        ("id,place\na,north\n", "no column 'where'"),
    ],
)
def test_a_malformed_groups_file_is_refused(shop, sales, make_project, text, message):
    project = make_project()
    (project.root / "regions.csv").write_text(text)
    data = DataSection(groups=Groups(path="regions.csv", entity="id", group="where"))
    with pytest.raises(UsageError, match=message):
        to_problem_columns(sales, shop, data, project)


def test_parquet_is_read_with_its_types_and_a_named_index(make_project, sales):
    project = make_project()
    typed = sales.assign(day=pd.to_datetime(sales["day"]).dt.date)
    typed.set_index("day").to_parquet(project.root / "a.parquet")
    frame = read_source(ParquetSource(kind="parquet", path="a.parquet"), project).frame
    assert frame["day"].iloc[0] == datetime.date(2024, 1, 1)
    assert list(frame.index) == [0, 1, 2, 3]


def test_a_file_that_is_not_parquet_is_refused_in_one_line(make_project):
    project = make_project()
    (project.root / "a.parquet").write_text("words")
    for name in ("a.parquet", "none.parquet"):
        with pytest.raises(UsageError, match=f"cannot read .*{name}"):
            read_source(ParquetSource(kind="parquet", path=name), project)


def test_a_csv_path_is_relative_to_the_project(make_project, sales):
    project = make_project()
    sales.to_csv(project.root / "a.csv", index=False)
    rows = read_source(CsvSource(kind="csv", path="a.csv"), project, {"shop", "day"})
    pd.testing.assert_frame_equal(
        rows.frame, sales.astype({"shop": "str", "day": "str"}), check_index_type=False
    )
    assert rows.place(2) == "line 4"


@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Kathmandu"])
def test_timestamps_at_midnight_are_dates(make_project, zone):
    project = make_project()
    days = pd.to_datetime(["2024-01-01", "2024-01-02"]).tz_localize(zone)
    pd.DataFrame({"day": days, "x": [1.0, 2.0]}).to_parquet(project.root / "a.parquet")
    source = ParquetSource(kind="parquet", path="a.parquet")
    rows = read_source(source, project, {"day"}, {"day"})
    assert as_dates(rows.frame["day"]).dt.day.tolist() == [1, 2]
    assert rows.notes == ()


def test_a_parquet_file_that_decompresses_to_too_much_is_refused(make_project, monkeypatch):
    from ml_pipeline.data import sources

    project = make_project()
    pd.DataFrame({"x": [0] * 500_000}).to_parquet(project.root / "x.parquet")
    source = ParquetSource(kind="parquet", path="x.parquet")
    assert len(read_source(source, project).frame) == 500_000
    monkeypatch.setattr(sources, "MAX_MEGABYTES", 3)
    with pytest.raises(UsageError, match=r"unpacks to more than 4 MB.*max_unpacked_mb"):
        read_source(source, project)
    allowed = source.model_copy(update={"max_unpacked_mb": 4})
    assert len(read_source(allowed, project).frame) == 500_000


def test_duplicate_column_names_in_parquet_are_refused(make_project):
    import pyarrow as pa
    import pyarrow.parquet as pq

    project = make_project()
    table = pa.table([pa.array([1]), pa.array([2])], names=["age", "age"])
    pq.write_table(table, project.root / "x.parquet")
    with pytest.raises(UsageError, match="more than one column 'age'"):
        read_source(ParquetSource(kind="parquet", path="x.parquet"), project)


@pytest.fixture
def folder(make_project):
    """Write frames as the files of one folder and read it."""
    project = make_project()

    def read(*frames):
        (project.root / "rows").mkdir()
        for number, frame in enumerate(frames):
            frame.to_parquet(project.root / f"rows/{number}.parquet")
        return read_source(ParquetSource(kind="parquet", path="rows"), project).frame

    return read


@pytest.mark.parametrize("lacks", [0, 1])
def test_files_of_a_folder_with_different_columns_are_refused(folder, lacks):
    frames = [pd.DataFrame({"x": [1], "age": [30]}), pd.DataFrame({"x": [2], "age": [40]})]
    frames[lacks] = frames[lacks].drop(columns="age")
    with pytest.raises(UsageError, match="have different columns: only one of them has 'age'"):
        folder(*frames)


def test_files_of_a_folder_with_text_and_numbers_in_one_column_are_refused(folder):
    with pytest.raises(UsageError, match=r"column 'id' is int64 in .*0.parquet and .*string in"):
        folder(pd.DataFrame({"id": [7]}), pd.DataFrame({"id": ["007"]}))


def test_files_of_a_folder_may_differ_in_numeric_width_and_nulls(folder):
    frame = folder(
        pd.DataFrame({"x": pd.array([1], dtype="int32"), "plan": ["a"]}),
        pd.DataFrame({"x": [2.5], "plan": [None]}),
        pd.DataFrame({"x": [None], "plan": ["b"]}),
    )
    assert sorted(frame["x"].dropna()) == [1.0, 2.5]
    assert sorted(frame["plan"].dropna()) == ["a", "b"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("https://example.org/a.csv", "is a URL"),
        ("s3://bucket/a.csv", "is a URL"),
        ("data/*.csv", "is a glob pattern"),
    ],
)
def test_urls_and_glob_patterns_are_refused(make_project, path, message):
    for kind in (CsvSource, ParquetSource):
        name = kind.model_fields["kind"].annotation.__args__[0]
        with pytest.raises(UsageError, match=message):
            read_source(kind(kind=name, path=path), make_project())


def test_a_pipe_is_refused_as_parquet(make_project):
    import os

    project = make_project()
    os.mkfifo(project.root / "x.parquet")
    with pytest.raises(UsageError, match="not a regular file"):
        read_source(ParquetSource(kind="parquet", path="x.parquet"), project)


def test_a_file_without_a_header_is_refused(shop, sales):
    raw = sales.set_axis(["a", "2024-01-01", "10", "7.5"][: sales.shape[1]], axis=1)
    with pytest.raises(UsageError, match="add one as its first line"):
        to_problem_columns(raw, shop, DataSection())
