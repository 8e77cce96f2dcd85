"""Patterns of a tenant run safely on the text of a stranger."""

import pytest

from waypost.bot.patterns import LONGEST_TEXT, Pattern, PatternError


@pytest.mark.parametrize(
    ("pattern", "text", "found", "whole"),
    [
        (r"[a-z]-?\d{5}", "A-12345", True, True),
        (r"[a-z]-?\d{5}", "it is A-12345.", True, False),
        (r"^order (\d+)", "Order 7 please", True, False),
        (r"più|meno", "PIÙ", True, True),
        (r"x", "", False, False),
    ],
)
def test_a_pattern_is_found_in_either_case(pattern: str, text: str, found: bool, whole: bool) -> None:
    """A pattern matches upper and lower case.

    Intents search anywhere in a text, but an answer must match as a whole.
    """
    compiled = Pattern(pattern)
    assert (compiled.found_in(text), compiled.is_all_of(text)) == (found, whole)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("(", "missing )"),
        ("a(?=b)", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        ("((a{100}){100}){100}", "invalid repetition size"),
        ("a" * 501, "longer than 500 characters"),
    ],
)
def test_an_invalid_pattern_is_refused_with_the_reason(pattern: str, expected: str) -> None:
    """An invalid pattern is refused with the reason from the pattern library, so that the author can look it up."""
    with pytest.raises(PatternError) as refused:
        Pattern(pattern)
    assert expected in str(refused.value)


def test_a_pattern_that_would_run_forever_elsewhere_ends() -> None:
    """The search for a pattern that would need 2^1000 steps with backtracking ends.

    With backtracking, this test would reach its time limit.
    """
    assert Pattern("(a+)+b").found_in("a" * LONGEST_TEXT) is False


def test_an_answer_beyond_the_limit_does_not_match() -> None:
    """An answer that is longer than the limit does not match.

    Otherwise only its first part would match, but the whole answer would be stored.
    """
    assert Pattern("a*").is_all_of("a" * (LONGEST_TEXT + 1)) is False
