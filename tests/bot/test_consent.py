"""Opt-out and opt-in words are recognised when they are the whole message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.bot.consent import Consent, classify, phrases


@pytest.mark.parametrize(
    "text",
    [
        "STOP",
        "stop",
        " Stop. ",
        "*STOP*",
        "STOP!!!",
        "stop 🛑",
        "please stop",
        "Stop please",
        "stop, por favor",
        "Unsubscribe",
        "opt-out",
        "OPTOUT",
        "Stop promotions",
        "arrêt",
        "ARRET",
        "Stopp",
        "abmelden",
        "BAJA",
        "darme de baja",
        "disiscrivimi",
        "стоп",
        "إيقاف",
        "退订",
        "수신거부",
        "ＳＴＯＰ",
    ],
)
def test_a_stop_word_in_any_spelling_is_an_opt_out(text: str) -> None:
    """A stop word is an opt-out even with other case, accents, punctuation, emphasis, emoji or polite words."""
    assert classify(text) is Consent.STOP


@pytest.mark.parametrize(
    "text", ["START", "start", "Unstop", "subscribe", "opt in", "alta", "anmelden", "старт", "订阅"]
)
def test_a_start_word_is_an_opt_in(text: str) -> None:
    """A start word is an opt-in. Each language has such a word."""
    assert classify(text) is Consent.START


@pytest.mark.parametrize(
    "text",
    [
        "don't stop",
        "please don't stop",
        "stop by at nine",
        "where is the bus stop?",
        "non stop",
        "can you start the machine",
        "cancel",
        "end",
        "quit",
        "no",
        "",
        "   ",
        "please",
        "🛑",
        "stop " * 40,
        "please " * 20 + "stop",
        None,
    ],
)
def test_a_word_inside_a_sentence_asks_for_nothing(text: str | None) -> None:
    """A stop or start word inside a sentence has no effect, because only the whole message counts."""
    assert classify(text) is None


def test_own_words_count_beside_the_built_in_ones() -> None:
    """A script may add its own stop words, but it cannot remove STOP."""
    own = phrases(["genug jetzt"])
    assert [classify(text, stop=own) for text in ("Genug jetzt!", "stop")] == [Consent.STOP, Consent.STOP]


def test_stop_wins_over_an_own_start_word() -> None:
    """ "stop" is an opt-out even if a script calls it a start word."""
    assert classify("stop", start=phrases(["stop"])) is Consent.STOP


@given(st.text(max_size=300))
def test_any_text_can_be_classified(text: str) -> None:
    """`classify` never raises, whatever the text is."""
    assert classify(text) in {None, Consent.STOP, Consent.START}
