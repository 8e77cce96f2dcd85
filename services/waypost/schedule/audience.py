"""Who a run writes to. Consent, the 24 h window and hand-off are the sender's gate, right before each message."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from waypost.cloudapi.messages.recipient import InvalidRecipient, Recipient, parse


@dataclass(frozen=True)
class Audience:
    """`recipients` in the order given, each once; `skipped` counts the others by reason."""

    recipients: tuple[Recipient, ...]
    skipped: Counter[str] = field(default_factory=Counter)


def of_contacts(contacts: Iterable[str]) -> Audience:
    """From phone numbers and BSUIDs. One that is neither is counted, for it must not stop all the others."""
    skipped: Counter[str] = Counter()
    recipients: dict[Recipient, None] = {}
    for contact in contacts:
        try:
            recipient = parse(contact)
        except InvalidRecipient:
            skipped["InvalidContact"] += 1
            continue
        if recipient in recipients:
            skipped["Duplicate"] += 1
        recipients[recipient] = None
    return Audience(tuple(recipients), skipped)
