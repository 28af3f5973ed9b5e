from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from ml_pipeline.core.single_line import single_line


@given(st.text(), st.integers(8, 60))
def test_is_printable_and_short(text: str, most: int) -> None:
    line = single_line(text, most)
    assert line.isprintable()
    assert len(line) <= most
    assert line == line.strip()


def test_plain_text_stays_and_what_is_cut_is_marked() -> None:
    assert single_line(" drift in\tvolume_z,\u202e 0.4 sd\n", 500) == "drift in volume_z, 0.4 sd"
    assert single_line("drift in volume_z", 12) == "drift in ..."
