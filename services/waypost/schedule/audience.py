"""Finds the recipients of a run.

Consent, the 24 h window and hand-off are not checked here. The sender's gate checks them before each message.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from waypost.cloudapi.messages.recipient import InvalidRecipient, Recipient, parse


class SkipReason(StrEnum):
    """Reasons why an entry of the contact list leads to no message."""

    INVALID_CONTACT = "InvalidContact"
    """The contact is neither a phone number nor a BSUID."""
    DUPLICATE = "Duplicate"
    """The same person is listed more than once."""


@dataclass(frozen=True)
class Audience:
    """The recipients of a run. `recipients` contains each recipient once, in the given order.

    `skipped` counts the other contacts by reason.
    """

    recipients: tuple[Recipient, ...]
    skipped: Counter[str] = field(default_factory=Counter)


def from_contacts(contacts: Iterable[str]) -> Audience:
    """Returns the audience for a list of phone numbers and BSUIDs.

    Any other contact is counted as skipped and does not stop the run.
    """
    skipped: Counter[str] = Counter()
    recipients: dict[Recipient, None] = {}
    for contact in contacts:
        try:
            recipient = parse(contact)
        except InvalidRecipient:
            skipped[SkipReason.INVALID_CONTACT] += 1
            continue
        if recipient in recipients:
            skipped[SkipReason.DUPLICATE] += 1
        recipients[recipient] = None
    return Audience(tuple(recipients), skipped)
