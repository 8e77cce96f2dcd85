"""The parts of a script are bounded, so that loading the script and running a turn take little time and memory."""

import pytest

from waypost.bot.document import MOST_NODES
from waypost.bot.event import BotEvent
from waypost.bot.patterns import MOST_INSTRUCTIONS, Pattern, PatternError
from waypost.bot.script import ScriptError, load


def refused(text: str) -> str:
    """Returns why a script is refused."""
    with pytest.raises(ScriptError) as error:
        load(text)
    return str(error.value)


def intents(patterns: list[str]) -> str:
    """Returns a script with these patterns, at most 20 in an intent."""
    quoted = [f"'{each}'" for each in patterns]
    groups = [", ".join(quoted[at : at + 20]) for at in range(0, len(patterns), 20)]
    lines = [f"  i{at}: {{reply: x, regex: [{group}]}}" for at, group in enumerate(groups)]
    return "version: 1\nintents:\n" + "\n".join(lines) + "\n"


def answers(pattern: str, count: int) -> str:
    """Returns a script with a dialog of `count` steps. Each step expects this pattern."""
    steps = ", ".join(f"s{at}: {{ask: q, expect: {{regex: '{pattern}'}}}}" for at in range(count))
    return f"version: 1\nintents: {{a: {{keywords: [a], start: d}}}}\ndialogs: {{d: {{steps: {{{steps}}}}}}}\n"


def test_usual_patterns_fit_in_great_number() -> None:
    """A script may have 300 intents with a short pattern each, or a dialog with 100 such patterns."""
    load(intents([rf"order{at}\s+(\d+)" for at in range(300)]))
    load(answers(r"[a-z]-?[0-9]{5}", 100))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            intents(["x{1000}"] * 20),
            "line 3, intents.i0.regex[9]: the pattern brings all patterns of intents to 10040 instructions of RE2; at "
            "most 10000 are allowed. Use keywords for plain words, + in place of counts such as {1,100}, and [a-z] in "
            "place of large classes such as \\pL",
        ),
        (
            intents([f"x{at}" for at in range(400)]),
            "i16.regex[13]: the pattern brings all patterns of intents to 10020",
        ),
        (intents([r"\pL{1,40}"]), "the pattern has too many instructions of RE2; at most 10000 are allowed. Use "),
        (intents([".{1,999}xyzzy.{1,200}"]), "the pattern has 10"),
        (answers(".{1,500}", 10), "s4.expect.regex: the pattern brings all patterns of dialogs to 22515 instructions"),
    ],
    ids=["together", "many", "one, huge", "one, large", "answers"],
)
def test_patterns_are_bounded_one_by_one_and_together(text: str, expected: str) -> None:
    """A script is refused if one pattern is too large, or if all its patterns together are too large.

    The error names the pattern that exceeds the bound, the bound, and what the author can do.
    """
    assert expected in refused(text)


def test_a_script_has_a_bounded_number_of_parts() -> None:
    """A script with too many keys and texts is refused.

    Each key and each text takes time and memory, even if it is short.
    """
    keywords = ", ".join(["a"] * MOST_NODES)
    assert refused(f"version: 1\nintents:\n  a: {{reply: x, keywords: [{keywords}]}}\n") == (
        "line 3: the script has more than 15000 keys, texts, lists and mappings up to here; remove some"
    )


def test_buttons_that_only_patterns_recognise_are_bounded() -> None:
    """A script is refused if too many of its buttons are recognised only by patterns.

    When a script is loaded, the title of each such button is tried on every pattern.
    """
    rows = ", ".join(f"r{at}: Choose" for at in range(10))
    lists = ", ".join([f"{{text: x, list: {{button: b, rows: {{{rows}}}}}}}"] * 5)
    replies = "\n".join(f"  j{at}: {{keywords: [k{at}], reply: [{lists}]}}" for at in range(5))
    text = intents([*[f"[a-m]{{1,100}}{at}" for at in range(18)], "choose"]) + replies + "\n"
    assert "too many buttons and rows are left to the patterns of intents; add 'r" in refused(text)


def test_keywords_that_begin_alike_are_told_apart() -> None:
    """Keywords that begin with the same word are distinguished.

    Keywords are looked up by their length, so that a message of repeated words is not compared with each keyword.
    """
    keywords = {"long": "good morning to all", "short": "good", "middle": "good morning", "last": "good day"}
    lines = "\n".join(f"  {name}: {{reply: x, keywords: [{keyword}]}}" for name, keyword in keywords.items())
    everything = load(f"version: 1\nintents:\n{lines}\n").everything
    for said, name in (("GOOD morning, to all!", "long"), ("a good day", "short"), ("good good", "short")):
        found = everything.by_content(BotEvent("text", text=said))
        assert found is not None
        assert found.name == name
    assert everything.by_content(BotEvent("text", text="goods")) is None


def test_a_pattern_without_groups_is_as_good_as_one_with_them() -> None:
    """A pattern with groups matches as usual, although the groups are not captured.

    Without captures, a search of a hostile pattern is several times faster.
    """
    pattern = Pattern("(?P<a>(x|y)+)(z)")
    assert pattern.found_in("..XYZ")
    assert pattern.is_all_of("xyz")


def test_the_largest_pattern_still_matches_as_it_should() -> None:
    """A pattern that is close to the largest size still finds its text.

    The memory for a pattern is computed from its size. With too little memory, RE2 would find nothing and report
    no error.
    """
    pattern = Pattern(r"\pL{8}!")
    assert pattern.instructions < MOST_INSTRUCTIONS
    assert pattern.found_in("è".join("abcdefgh") + "!")
    assert not pattern.found_in("è".join("abcdefgh"))


def test_a_pattern_with_too_many_instructions_says_so() -> None:
    """A pattern with too many instructions is refused. The error names the bound and a remedy."""
    with pytest.raises(PatternError, match=r"at most 10000 are allowed\. Use keywords"):
        Pattern(r"[\pL\pN]{30}")
