"""Fast path for deliveries with a single message or status, which is the usual case.

The result is the same as that of `framing`. The fast path decodes JSON four times instead of seven. Splitting
takes a quarter of the webhook's time. Any other delivery is left to `framing`.
"""

from typing import Final

import msgspec

from waypost.cloudapi.inbound import framing, item_keys
from waypost.cloudapi.inbound.event import Event, EventKind
from waypost.cloudapi.inbound.fields import ItemList, WebhookField
from waypost.cloudapi.inbound.lenient_json import DECODE_ERRORS

LARGEST: Final = 4096
"""Largest body, in bytes, for which the fast path is tried.

A longer body is a batch, or costs more than the fast path saves.
"""


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
_contact_keys = item_keys.read_contact
_message_keys = item_keys.READERS[ItemList.MESSAGES]
_status_keys = item_keys.READERS[ItemList.STATUSES]

_FIELD: Final = str(WebhookField.MESSAGES)
_FRAME_OPENING: Final = framing.FRAME_OPENINGS[_FIELD]
_MESSAGES_OPENING: Final = framing.LIST_OPENINGS[ItemList.MESSAGES]
_STATUSES_OPENING: Final = framing.LIST_OPENINGS[ItemList.STATUSES]
_CONTACT_FRAME: Final = framing.CONTACT_FRAME
_FRAME_END: Final = framing.FRAME_END


def event_of(body: bytes, default_number: str) -> Event | None:
    """Returns the event of a delivery with a single message or status. Returns None for any other body.

    `body` must be UTF-8. It need not be valid JSON.
    """
    if len(body) > LARGEST:
        return None
    try:
        entries = _envelope(body).entry
    except DECODE_ERRORS:
        return None
    if len(entries) != 1 or len(entries[0].changes) != 1:
        return None
    change = entries[0].changes[0]
    value = change.value
    if change.field != _FIELD or len(value.messages) + len(value.statuses) != 1 or len(value.contacts) > 1:
        return None
    if value.messages:
        kind, item, list_opening = EventKind.MESSAGE, value.messages[0], _MESSAGES_OPENING
        keys = _message_keys(item)
    else:
        kind, item, list_opening = EventKind.STATUS, value.statuses[0], _STATUSES_OPENING
        keys = _status_keys(item)
    if keys is None or not keys.item_key:
        return None
    contact_key = keys.user_id or keys.phone
    contact = b""
    if value.contacts:
        raw_contact = value.contacts[0]
        contact_keys = _contact_keys(raw_contact)
        if contact_keys is None:
            return None
        same_user = keys.user_id == contact_keys.user_id != ""
        # An item without any id belongs to the only contact.
        if not contact_key or same_user or keys.phone == contact_keys.phone != "":
            contact = _CONTACT_FRAME % bytes(raw_contact)
            contact_key = keys.user_id or contact_keys.user_id or keys.phone or contact_keys.phone
    if not contact_key:
        return None
    number_id, metadata = framing.metadata_of(value.metadata, default_number)
    payload = b"".join((_FRAME_OPENING, metadata, contact, list_opening, item, _FRAME_END))
    return Event(number_id, kind, keys.item_key, contact_key, keys.occurred_at, payload)
