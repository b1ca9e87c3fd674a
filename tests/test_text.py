"""Rows -> text: columns stand below each other, whatever is in them."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab.text import printable, table, text_width

ANY_TEXT = st.text(st.characters(), max_size=12)


def test_a_table_is_its_columns_with_a_rule_under_the_header() -> None:
    drawn = table(["name", "photos"], [["cat", "8"], ["sea lion", "1,234"]], "lr")
    assert drawn.split("\n") == [
        "name      photos",
        "--------  ------",
        "cat            8",
        "sea lion   1,234",
    ]


def test_chinese_takes_two_columns_and_marks_none() -> None:
    assert text_width("猫a") == 3
    assert text_width(unicodedata.normalize("NFD", "é")) == 1
    assert text_width("ที่") == 1  # a consonant with two Thai marks, one of combining class 0
    drawn = table(["a", "b"], [["猫狗", "x"], ["abcd", "x"]]).split("\n")
    assert text_width(drawn[2].split("x")[0]) == text_width(drawn[3].split("x")[0]) == 6


@given(st.lists(st.lists(ANY_TEXT, min_size=2, max_size=2), max_size=5), ANY_TEXT)
def test_no_cell_can_break_a_line_or_the_encoding(rows: list[list[str]], header: str) -> None:
    lines = table([header, "b"], rows).encode().decode().split("\n")
    assert len(lines) == 2 + len(rows)
    assert all(c.isprintable() for line in lines for c in line)


def test_a_name_that_is_no_text_is_shown_by_its_bytes() -> None:
    assert printable("caf\udce9\n\x1b[31m.jpg") == r"caf\udce9\n\x1b[31m.jpg"
    assert printable("a b-ü-猫-🐱") == "a b-ü-猫-🐱"


def test_a_table_without_rows_is_its_header() -> None:
    assert table(["a", "bc"], []) == "a  bc\n-  --"


@pytest.mark.parametrize("name", ["狗\n", "e\u0301\u200d", "\udcff\x1b[31m", "ไม้"])
def test_no_name_breaks_the_table(name: str) -> None:
    rows = table(["class", "photos"], [[name, "1"], ["cat", "20"]], "lr").splitlines()
    assert len(rows) == 4
    assert "\x1b" not in rows[2]
    assert len({text_width(row) for row in rows}) == 1
    assert "\n".join(rows).encode()


def test_letters_that_take_no_column_are_counted_as_none() -> None:
    assert [text_width(text) for text in ("ab", "狗", "e\u0301", "ไม้", "\u2764\ufe0f")] == [2, 2, 1, 2, 1]
