"""Placeholders: what is filled in, and that nothing else is."""

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
    """Each name of the allow-list, with its value of this turn; a choice shows the words that the contact saw."""
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
def test_a_default_stands_in_for_what_is_not_known(name: str | None) -> None:
    """A contact without profile name is still spoken to."""
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


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_no_placeholder_comes_out_of_a_script_as_it_went_in(text: str) -> None:
    """No template language is at work."""
    assert rendered(text) == text


@pytest.mark.parametrize("text", [*HOSTILE, "{{profile_name}}", "{{message}}", "{{slot.order}}"])
def test_what_a_person_wrote_is_never_a_template(text: str) -> None:
    """A filled-in value is not looked at again, even where it names a placeholder."""
    assert rendered("<{{message}}|{{slot.order}}>", message=text, slots={"order": text}) == f"<{text}|{text}>"


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=500))
def test_any_readable_text_of_a_person_comes_out_as_it_went_in(text: str) -> None:
    """The property behind the examples."""
    assert rendered("{{message}}.", message=text) == (f"{text}." if text.strip() else ".")


@given(st.text(max_size=300))
def test_any_text_of_a_script_is_compiled_or_refused(text: str) -> None:
    """Compiling either names an unknown placeholder or yields a text that renders."""
    try:
        compiled = parse(text, slots=SLOTS, limit=4096)
    except PlaceholderError:
        return
    assert isinstance(compiled.render(Values()), str)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{profil_name}}", "{{profil_name}} is no placeholder; use one of: profile_name, message"),
        ("{{self.__class__}}", "is no placeholder"),
        ("{{slot.colour}}", "no step stores; stored are: kind, order. Add `store:` to a step"),
    ],
)
def test_a_misspelt_placeholder_is_refused_with_the_names_there_are(text: str, told: str) -> None:
    """A typo must not reach a customer as braces."""
    with pytest.raises(PlaceholderError) as refused:
        parse(text, slots=SLOTS, limit=100)
    assert told in str(refused.value)


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
    """And never inside a character that is made of several."""
    assert shortened(text, limit) == expected


@given(st.text(max_size=200), st.integers(1, 100))
def test_a_shortened_text_keeps_its_limit(text: str, limit: int) -> None:
    """Whatever is in it."""
    assert len(shortened(text, limit)) <= limit


def test_control_characters_and_lone_surrogates_become_replacement_characters() -> None:
    """Neither PostgreSQL nor JSON takes them."""
    assert rendered("{{message}}", message="a\x00b\ud800c\td\ne") == "a\ufffdb\ufffdc\td\ne"


@pytest.mark.parametrize("name", ["Europe/Atlantis", "", "../etc/passwd", "Europe", "\x00"])
def test_a_time_zone_that_does_not_exist_is_told(name: str) -> None:
    """As a lookup error, whatever the name holds."""
    with pytest.raises(LookupError):
        zone(name)
