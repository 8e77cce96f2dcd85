"""Texts are split into comparable words."""

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
def test_case_accents_punctuation_and_marks_are_ignored(text: str, expected: str) -> None:
    """A text becomes plain words in any writing system. Case, accents, punctuation and marks are ignored."""
    assert phrase(text) == expected


def test_only_the_first_characters_of_a_long_text_are_read() -> None:
    """Words after the first `LIMIT` characters of a text are ignored. The limit bounds the time of a turn."""
    assert "late" not in words("a " * LIMIT + "late")


@given(st.text(max_size=200))
def test_normalising_twice_changes_nothing(text: str) -> None:
    """Normalising a normalised text changes nothing. Keywords and messages are normalised in the same way."""
    assert phrase(phrase(text)) == phrase(text)
