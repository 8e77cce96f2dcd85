"""The delivery that nearly all are: one message or one status. Read at half the price, with the same result.

What `framing` does for any change is done here for the plainest, in four decodes instead of seven; the webhook spends a
quarter of its time on it. Whatever is not that plain is left to `framing`, whole.
"""

from typing import Final

import msgspec

from waypost.cloudapi.inbound import framing, item_keys
from waypost.cloudapi.inbound.event import Event, EventKind
from waypost.cloudapi.inbound.lenient import UNREADABLE

LARGEST: Final = 4096
"""Bytes of a body that is worth a try: longer ones are batches, or cost more than is saved here."""


class _Value(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    metadata: msgspec.Raw
    messaging_product: msgspec.Raw = msgspec.Raw()
    contacts: list[msgspec.Raw] = []
    messages: list[msgspec.Raw] = []
    statuses: list[msgspec.Raw] = []


class _Change(msgspec.Struct, gc=False):
    value: _Value
    field: str


class _Entry(msgspec.Struct, gc=False):
    changes: list[_Change]
    id: str | int | None = None
    time: str | int | float | None = None


class _Envelope(msgspec.Struct, gc=False):
    entry: list[_Entry]


_envelope = msgspec.json.Decoder(_Envelope).decode
_contact_head = item_keys.READERS["contacts"]
_message_head = item_keys.READERS["messages"]
_status_head = item_keys.READERS["statuses"]


def event_of(body: bytes, default_number: str) -> Event | None:
    """The one event of a plain delivery; None for any other body, readable or not. `body` must be UTF-8."""
    if len(body) > LARGEST:
        return None
    try:
        entries = _envelope(body).entry
    except UNREADABLE:
        return None
    if len(entries) != 1 or len(entries[0].changes) != 1:
        return None
    change = entries[0].changes[0]
    value = change.value
    if change.field != "messages" or len(value.messages) + len(value.statuses) != 1 or len(value.contacts) > 1:
        return None
    if value.messages:
        kind, item, before, head = EventKind.MESSAGE, value.messages[0], b',"messages":[', _message_head
    else:
        kind, item, before, head = EventKind.STATUS, value.statuses[0], b',"statuses":[', _status_head
    about = head(item)
    if about is None or not about.key:
        return None
    person = about.user_id or about.phone
    contact = b""
    if value.contacts:
        known = _contact_head(value.contacts[0])
        if known is None:
            return None
        # One without any id is about the only contact there is.
        if not person or about.user_id == known.user_id != "" or about.phone == known.phone != "":
            contact = b',"contacts":[%s]' % bytes(value.contacts[0])
            person = about.user_id or known.user_id or about.phone or known.phone
    if not person:
        return None
    number_id, metadata = framing.metadata_of(value.metadata, default_number)
    payload = b"".join((framing.OPENINGS["messages"], metadata, contact, before, item, b"]}}"))
    return Event(number_id, kind, about.key, person, about.occurred_at, payload)
