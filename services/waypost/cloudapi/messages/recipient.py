"""Recipients as people write them. A recipient is an international phone number or a BSUID.

Sources: Meta's "Phone numbers" (`wa_id` may differ from the number that was dialled) and "Business-scoped
user IDs".
"""

import re
from dataclasses import dataclass

import phonenumbers
from phonenumbers import PhoneNumber, timezone

from waypost.cloudapi.messages.bsuid import BSUID

_UNKNOWN_ZONE = "Etc/Unknown"


class InvalidRecipient(ValueError):
    """The text is neither a phone number nor a BSUID. The error message does not repeat the text.

    A retry does not help.
    """


@dataclass(frozen=True)
class Recipient:
    """A recipient, which is a phone number (digits only) or a business-scoped user id."""

    wa_id: str | None
    user_id: str | None

    @property
    def key(self) -> str:
        """Returns the contact key from which the lane of the conversation is computed."""
        return self.user_id or self.wa_id or ""


def parse(word: str) -> Recipient:
    """Reads a recipient such as `+393331234567` or `US.134912…`. Raises `InvalidRecipient`."""
    if BSUID.fullmatch(word):
        return Recipient(None, word)
    try:
        parsed = phonenumbers.parse(word)
    except phonenumbers.NumberParseException:
        raise InvalidRecipient("must be an international phone number, as +393331234567, or a BSUID") from None
    if not phonenumbers.is_possible_number(parsed):
        raise InvalidRecipient("is too long or too short for a phone number of its country")
    return Recipient(f"{parsed.country_code}{phonenumbers.national_significant_number(parsed)}", None)


def spellings(wa_id: str) -> tuple[str, ...]:
    """Returns all forms under which WhatsApp may know this phone number. The given form comes first.

    In the past, Mexico inserted a 1 before mobile numbers, and Argentina inserted a 9. Brazil added a 9 later.
    WhatsApp keeps the form with which an account was created. So a contact may be registered under the other
    form.
    """
    if match := re.fullmatch(r"52(1?)(\d{10})", wa_id):
        other = f"52{'' if match[1] else '1'}{match[2]}"
    elif match := re.fullmatch(r"54(9?)(\d{10})", wa_id):
        other = f"54{'' if match[1] else '9'}{match[2]}"
    elif match := re.fullmatch(r"55(\d{2})(9?)([6-9]\d{7})", wa_id):
        other = f"55{match[1]}{'' if match[2] else '9'}{match[3]}"
    else:
        return (wa_id,)
    return wa_id, other


def time_zones(recipient: Recipient) -> tuple[str, ...]:
    """Returns every IANA time zone in which the recipient may live, or () if none is known.

    The zones are derived from the number's prefix, or from the country of the BSUID.
    """
    if recipient.wa_id is not None:
        number = phonenumbers.parse(f"+{recipient.wa_id}")
        zones = timezone.time_zones_for_number(number)
        if zones == (_UNKNOWN_ZONE,):  # An old form is not valid today, but its prefix still names a place.
            zones = timezone.time_zones_for_geographical_number(number)
    else:
        code = phonenumbers.country_code_for_region((recipient.user_id or "")[:2])
        # A number that consists of the country code alone stands for the whole country.
        zones = timezone.time_zones_for_geographical_number(PhoneNumber(country_code=code, national_number=0))
    return tuple(zone for zone in zones if zone != _UNKNOWN_ZONE)
