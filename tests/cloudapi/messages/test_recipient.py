"""Recipients are parsed, and their possible phone numbers and time zones are found."""

import pytest

from waypost.cloudapi.messages.recipient import InvalidRecipient, Recipient, parse, spellings, time_zones


@pytest.mark.parametrize(
    ("digits", "forms"),
    [
        ("525512345678", ("525512345678", "5215512345678")),
        ("5215512345678", ("5215512345678", "525512345678")),
        ("5491123456789", ("5491123456789", "541123456789")),
        ("541123456789", ("541123456789", "5491123456789")),
        ("5511987654321", ("5511987654321", "551187654321")),
        ("551187654321", ("551187654321", "5511987654321")),
        ("551133334444", ("551133334444",)),
        ("393331234567", ("393331234567",)),
    ],
)
def test_a_number_is_found_under_its_older_and_newer_form(digits: str, forms: tuple[str, ...]) -> None:
    """A phone number is looked up in its older and its newer form.

    Consent is recorded under the form that WhatsApp uses, which may differ from the number that was dialled.
    """
    assert spellings(digits) == forms


@pytest.mark.parametrize(
    ("recipient", "zones"),
    [
        (Recipient("393331234567", None), ("Europe/Rome", "Europe/Vatican")),
        (Recipient("12125550123", None), ("America/New_York",)),
        (Recipient("551187654321", None), ("America/Sao_Paulo",)),
        (Recipient(None, "IT.13491208655302741918"), ("Europe/Rome",)),
        (Recipient(None, "ZZ.13491208655302741918"), ()),
        (Recipient("88212345678", None), ()),
    ],
)
def test_the_zones_of_a_recipient_follow_from_prefix_or_country(recipient: Recipient, zones: tuple[str, ...]) -> None:
    """The time zones of a recipient are found by the prefix of the phone number or by the country.

    If neither of them gives a time zone, the result is empty.
    """
    assert time_zones(recipient) == zones


def test_a_country_of_many_zones_gives_all_of_them() -> None:
    """A BSUID of a country with many time zones gives all of these zones. A BSUID names only the country."""
    zones = time_zones(Recipient(None, "US.13491208655302741918"))
    assert {"America/New_York", "America/Los_Angeles", "Pacific/Honolulu"} <= set(zones)


@pytest.mark.parametrize("word", ["", "+", "4441234567", "+44", "+4433312345671234567", "US.", "us.123", "+44\x00333"])
def test_an_invalid_recipient_is_refused_without_being_repeated(word: str) -> None:
    """The error for an invalid recipient does not repeat the recipient, because the error may be logged."""
    with pytest.raises(InvalidRecipient) as refused:
        parse(word)
    assert len(word) < 2 or word not in str(refused.value)
