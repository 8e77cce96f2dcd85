"""Placeholders in a text are filled in, and all other parts of the text stay as they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.bot.placeholders import PlaceholderError, Values, parse, shortened, zone

SLOTS = frozenset({"order", "kind"})
NOON = 1_795_435_200.0


def rendered(text: str, **values: object) -> str:
    return parse(text, slots=SLOTS, limit=4096).render(Values(**values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello {{profile_name}}!", "Hello Ann!"),
        ("{{ profile_name }}", "Ann"),
        ("{{profile_name|friend}}", "Ann"),
        ("you said {{message}}", "you said hi"),
        ("{{slot.order}}/{{slot.order}}", "A-1/A-1"),
        ("{{slot.kind}}", "Broken"),
        ("{{now.date}} {{now.time}}", "2026-11-23 13:00"),
        ("{ {profile_name} }", "{ {profile_name} }"),
    ],
)
def test_a_known_name_is_filled_in(text: str, expected: str) -> None:
    """Each name on the allow-list is replaced by its value in this turn.

    The value of a choice is replaced by the title that the contact saw.
    """
    values = {
        "profile_name": "Ann",
        "message": "hi",
        "slots": {"order": "A-1", "kind": "broken"},
        "titles": {"kind": {"broken": "Broken"}},
        "now": NOON,
        "zone": zone("Europe/Rome"),
    }
    assert rendered(text, **values) == expected


@pytest.mark.parametrize("name", [None, "", "   "])
def test_a_default_replaces_an_empty_value(name: str | None) -> None:
    """A default replaces an empty value, so that a contact without a profile name is greeted too."""
    assert rendered("Hello {{profile_name|friend}}", profile_name=name) == "Hello friend"


HOSTILE = [
    "{{7*7}}",
    "{0.__class__}",
    "${x}",
    "%s",
    "%(x)s",
    "{{config.items()}}",
    "{% if 1 %}",
    "{{}}",
    "{{{{",
    "\\1",
    "#{1}",
]


@pytest.mark.fault("X10")
@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_is_not_a_placeholder_stays_as_written(text: str) -> None:
    """A text that is not a placeholder stays as it is written, because the texts of a script are not templates."""
    assert rendered(text) == text


@pytest.mark.fault("X10")
@pytest.mark.parametrize("text", [*HOSTILE, "{{profile_name}}", "{{message}}", "{{slot.order}}"])
def test_a_message_of_a_contact_is_never_a_template(text: str) -> None:
    """The text of a contact is never scanned for placeholders, even if it contains the name of one."""
    assert rendered("<{{message}}|{{slot.order}}>", message=text, slots={"order": text}) == f"<{text}|{text}>"


@pytest.mark.fault("X10")
@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=500))
def test_any_printable_message_is_inserted_unchanged(text: str) -> None:
    """Any printable message is inserted unchanged."""
    assert rendered("{{message}}.", message=text) == (f"{text}." if text.strip() else ".")


@given(st.text(max_size=300))
def test_any_text_of_a_script_is_compiled_or_refused(text: str) -> None:
    """Any text of a script is either refused for an unknown placeholder or compiled into a text that renders."""
    try:
        compiled = parse(text, slots=SLOTS, limit=4096)
    except PlaceholderError:
        return
    assert isinstance(compiled.render(Values()), str)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{profil_name}}", "{{profil_name}} is not a placeholder; use one of: profile_name, message"),
        ("{{self.__class__}}", "is not a placeholder"),
        ("{{slot.colour}}", "no step stores; stored answers: kind, order. Add `store:` to a step"),
    ],
)
def test_a_misspelt_placeholder_is_refused_with_the_valid_names(text: str, expected: str) -> None:
    """A misspelt placeholder is refused and the error lists the valid names.

    A customer must not see a mistyped placeholder in braces.
    """
    with pytest.raises(PlaceholderError) as refused:
        parse(text, slots=SLOTS, limit=100)
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("short", 5, "short"),
        ("one two three", 10, "one two…"),
        ("unbreakable", 5, "unbr…"),
        ("ae\u0301\u0301x", 4, "ae…"),
        ("   x" + "y" * 9, 3, "…"),
    ],
)
def test_a_text_that_is_too_long_is_cut_between_words(text: str, limit: int, expected: str) -> None:
    """A text that is too long is cut between words. A character of several code points is never cut."""
    assert shortened(text, limit) == expected


@given(st.text(max_size=200), st.integers(1, 100))
def test_a_shortened_text_fits_its_limit(text: str, limit: int) -> None:
    """Any shortened text fits its limit."""
    assert len(shortened(text, limit)) <= limit


def test_control_characters_and_lone_surrogates_become_replacement_characters() -> None:
    """Control characters and lone surrogates become replacement characters, because PostgreSQL and JSON refuse them."""
    assert rendered("{{message}}", message="a\x00b\ud800c\td\ne") == "a\ufffdb\ufffdc\td\ne"


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc/passwd", "Europe", "\x00"])
def test_a_time_zone_that_does_not_exist_is_refused(name: str) -> None:
    """The name of a time zone that does not exist raises a LookupError."""
    with pytest.raises(LookupError):
        zone(name)
