"""Regular expressions of a tenant on the text of a stranger."""

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
    """Intents look anywhere, answers must match as a whole."""
    compiled = Pattern(pattern)
    assert (compiled.found_in(text), compiled.is_all_of(text)) == (found, whole)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("(", "missing )"),
        ("a(?=b)", "invalid perl operator"),
        (r"(a)\1", "invalid escape sequence"),
        ("((a{100}){100}){100}", "invalid repetition size"),
        ("a" * 501, "longer than 500 characters"),
    ],
)
def test_a_pattern_that_cannot_be_used_says_why(pattern: str, told: str) -> None:
    """The words come from the expression library, so that the author can look them up."""
    with pytest.raises(PatternError) as refused:
        Pattern(pattern)
    assert told in str(refused.value)


def test_a_pattern_that_would_run_forever_elsewhere_ends() -> None:
    """Backtracking would take 2^1000 steps here; the test's own time limit is the judge."""
    assert Pattern("(a+)+b").found_in("a" * LONGEST_TEXT) is False


def test_an_answer_beyond_the_limit_is_no_match() -> None:
    """Rather than matching a part and storing the whole."""
    assert Pattern("a*").is_all_of("a" * (LONGEST_TEXT + 1)) is False
