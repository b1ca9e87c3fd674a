"""Tables stay aligned and printable for any text."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from reslab.text import printable, table, text_width

ANY_TEXT = st.text(st.characters(), max_size=12)


def test_a_table_has_aligned_columns_and_a_rule_under_the_header() -> None:
    drawn = table(["name", "photos"], [["cat", "8"], ["sea lion", "1,234"]], "lr")
    assert drawn.split("\n") == [
        "name      photos",
        "--------  ------",
        "cat            8",
        "sea lion   1,234",
    ]


def test_chinese_letters_take_two_columns_and_combining_marks_none() -> None:
    assert text_width("猫a") == 3
    assert text_width(unicodedata.normalize("NFD", "é")) == 1
    assert text_width("\u2764\ufe0f") == 1
    assert text_width("ที่") == 1  # a consonant with two Thai marks, one of combining class 0
    drawn = table(["a", "b"], [["猫狗", "x"], ["abcd", "x"]]).split("\n")
    assert text_width(drawn[2].split("x")[0]) == text_width(drawn[3].split("x")[0]) == 6


@given(st.lists(st.lists(ANY_TEXT, min_size=2, max_size=2), max_size=5), ANY_TEXT)
def test_any_cell_keeps_its_line_and_can_be_encoded(rows: list[list[str]], header: str) -> None:
    lines = table([header, "b"], rows).encode().decode().split("\n")
    assert len(lines) == 2 + len(rows)
    assert all(c.isprintable() for line in lines for c in line)


def test_printable_escapes_control_characters_and_invalid_bytes() -> None:
    assert printable("caf\udce9\n\x1b[31m.jpg") == r"caf\udce9\n\x1b[31m.jpg"
    assert printable("a b-ü-猫-🐱") == "a b-ü-猫-🐱"


def test_a_table_without_rows_has_its_header() -> None:
    assert table(["a", "bc"], []) == "a  bc\n-  --"
