"""Text as words: what is the same to a keyword and what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.bot.words import LIMIT, phrase, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello", "hello"),
        ("  HELLO,   world!! ", "hello world"),
        ("*menu*", "menu"),
        ("_menu_", "menu"),
        ("don't stop", "don t stop"),
        ("Però", "pero"),
        ("ÉTÉ", "ete"),
        ("straße", "strasse"),
        ("ＳＴＯＰ", "stop"),
        ("İPTAL", "iptal"),
        ("إيقاف", "ايقاف"),
        ("ЙОД", "иод"),
        ("बंद करो", "बंद करो"),
        ("你好吗", "你 好 吗"),
        ("ok👍🏽", "ok 👍"),
        ("👍", "👍"),
        ("?!…", ""),
        ("", ""),
    ],
)
def test_case_accents_punctuation_and_marks_carry_no_meaning(text: str, expected: str) -> None:
    """A text is folded to plain words, whatever script it is written in."""
    assert phrase(text) == expected


def test_only_the_beginning_of_a_long_text_is_looked_at() -> None:
    """The bound holds the time of a turn; the word behind it is not seen."""
    assert "late" not in words("a " * LIMIT + "late")


@given(st.text(max_size=200))
def test_folding_what_is_folded_changes_nothing(text: str) -> None:
    """Keywords and messages are folded alike, so folding twice is folding once."""
    assert phrase(phrase(text)) == phrase(text)
