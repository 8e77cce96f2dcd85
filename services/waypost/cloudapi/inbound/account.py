"""Parses items and values that are not messages: preferences, calls, groups, the account and its templates."""

from collections.abc import Callable

import msgspec

from waypost.cloudapi.inbound import item_keys
from waypost.cloudapi.inbound.conversation import contact_of, number_of, read_history_media
from waypost.cloudapi.inbound.event import EventKind
from waypost.cloudapi.inbound.fields import WHOLE_VALUE_KINDS, ItemList, WebhookField
from waypost.cloudapi.inbound.members import Members, safe_name
from waypost.cloudapi.inbound.records import (
    AccountUpdate,
    Call,
    ContactSync,
    GroupUpdate,
    Identity,
    Inbound,
    Preference,
    TemplateUpdate,
    Unrecognised,
)
from waypost.cloudapi.inbound.updates import UPDATES


def read_preference(value: Members, item: Members) -> Preference:
    """Parses an item of `user_preferences`."""
    contact, _ = contact_of(value, item_keys.READERS[ItemList.USER_PREFERENCES](item.raw))
    parent = item.text("parent_user_id")
    record = Preference(
        number_id=number_of(value),
        occurred_at=item.unix_seconds("timestamp"),
        contact=Identity(contact.wa_id, contact.user_id, parent or contact.parent_user_id),
        value=item.text("value") or "",
        category=item.text("category"),
        detail=item.text("detail"),
    )
    for name in ("wa_id", "user_id"):
        item.get(name)
    item.note_unread()
    return record


def read_call(value: Members, item: Members) -> Call:
    """Parses an item of `calls`, or of `statuses` in the field calls."""
    contact, _ = contact_of(value, item_keys.READERS[ItemList.CALLS](item.raw))
    duration = item.plain("duration")
    return Call(
        number_id=number_of(value),
        occurred_at=item.unix_seconds("timestamp"),
        call_id=item.text("id") or "",
        contact=contact,
        event=item.text("event") or item.text("status") or "",
        direction=item.text("direction"),
        duration_s=float(duration) if isinstance(duration, int | float) else None,
        callback_data=item.text("biz_opaque_callback_data"),
        errors=item.faults(),
        content=msgspec.json.decode(item.raw),
    )


def read_group(value: Members, item: Members) -> GroupUpdate:
    """Parses an item of `groups`."""
    return GroupUpdate(
        number_id=number_of(value),
        occurred_at=item.unix_seconds("timestamp"),
        group_id=item.text("group_id") or "",
        type=item.text("type") or "",
        request_id=item.text("request_id"),
        errors=item.faults(),
        content=msgspec.json.decode(item.raw),
    )


def read_contact_sync(value: Members, item: Members) -> ContactSync:
    """Parses an item of `state_sync`."""
    contact, metadata = item.inner("contact"), item.inner("metadata")
    record = ContactSync(
        number_id=number_of(value),
        occurred_at=metadata.unix_seconds("timestamp") if metadata else 0.0,
        contact=contact.identity("phone_number", "user_id") if contact else Identity(None, None),
        action=item.text("action"),
        full_name=contact.text("full_name") if contact else None,
        first_name=contact.text("first_name") if contact else None,
    )
    item.get("type")
    item.note_unread()
    return record


READERS: dict[str, Callable[[Members, Members], Inbound]] = {
    ItemList.USER_PREFERENCES: read_preference,
    ItemList.CALLS: read_call,
    ItemList.GROUPS: read_group,
    ItemList.STATE_SYNC: read_contact_sync,
}
"""Maps the name of a list in a value to the function that parses the items of the list."""

READERS_BY_FIELD: dict[tuple[str, str], Callable[[Members, Members], Inbound]] = {
    (WebhookField.CALLS, ItemList.STATUSES): read_call,
    (WebhookField.HISTORY, ItemList.MESSAGES): read_history_media,
}
"""Overrides the other tables for lists whose items mean something else in a particular field."""


def read(field: str, raw: msgspec.Raw, waba_id: str, time: float) -> Inbound:
    """Parses the value of a field whose whole value is one event."""
    notes: list[str] = []
    account = f"waba:{waba_id}" if waba_id else ""
    kind = WHOLE_VALUE_KINDS.get(field)
    if kind is None:
        notes.append(f"field={safe_name(field)}")
    try:
        value = Members(raw, safe_name(field), notes)
    except msgspec.ValidationError:
        content = msgspec.json.decode(raw)
        notes.append(f"{safe_name(field)}:shape")
        return Unrecognised(
            number_id=account, waba_id=waba_id, field=field, occurred_at=time, content=content, unknown=tuple(notes)
        )
    number_id = number_of(value) or account
    if kind is EventKind.TEMPLATE:
        record: Inbound = _template(field, value, number_id, waba_id, time)
    elif kind is EventKind.ACCOUNT:
        frame = Members(b'{"value":%s}' % bytes(raw), safe_name(field), notes)
        record = AccountUpdate(
            number_id=number_id,
            waba_id=waba_id,
            field=field,
            occurred_at=time,
            event=value.text("event") or value.text("decision"),
            content=frame.typed("value", UPDATES[field]),
        )
    else:
        content = msgspec.json.decode(raw)
        record = Unrecognised(number_id=number_id, waba_id=waba_id, field=field, occurred_at=time, content=content)
    return msgspec.structs.replace(record, unknown=tuple(notes))


def _template(field: str, value: Members, number_id: str, waba_id: str, time: float) -> TemplateUpdate:
    record = TemplateUpdate(
        number_id=number_id,
        waba_id=waba_id,
        field=field,
        occurred_at=time,
        template_id=value.text("message_template_id") or "",
        name=value.text("message_template_name"),
        language=value.text("message_template_language"),
        event=value.text("event"),
        reason=value.text("reason"),
        category=value.text("new_category") or value.text("message_template_category"),
        previous_category=value.text("previous_category"),
        impending_category=value.text("correct_category"),
        category_changes_at=value.unix_seconds("category_update_timestamp"),
        quality=value.text("new_quality_score"),
        previous_quality=value.text("previous_quality_score"),
        content=msgspec.json.decode(value.raw),
    )
    for name in _TEMPLATE_DETAILS:
        value.get(name)
    value.note_unread()
    return record


_TEMPLATE_DETAILS = (
    "disable_info",
    "other_info",
    "rejection_info",
    "message_template_title",
    "message_template_element",
    "message_template_footer",
    "message_template_buttons",
)
