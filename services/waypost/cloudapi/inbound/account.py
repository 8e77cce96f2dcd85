"""The items and values that are about no single message: preferences, calls, groups, the account and its templates."""

from collections.abc import Callable

import msgspec

from waypost.cloudapi.inbound import item_keys
from waypost.cloudapi.inbound.conversation import contact_of, number_of, read_history_media
from waypost.cloudapi.inbound.event import EventKind
from waypost.cloudapi.inbound.fields import WHOLE
from waypost.cloudapi.inbound.members import Members, word
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
    """An item of `user_preferences`."""
    contact, _ = contact_of(value, item_keys.READERS["user_preferences"](item.raw))
    parent = item.text("parent_user_id")
    record = Preference(
        number_id=number_of(value),
        occurred_at=item.moment("timestamp"),
        contact=Identity(contact.wa_id, contact.user_id, parent or contact.parent_user_id),
        value=item.text("value") or "",
        category=item.text("category"),
        detail=item.text("detail"),
    )
    for name in ("wa_id", "user_id"):
        item.get(name)
    item.note_rest()
    return record


def read_call(value: Members, item: Members) -> Call:
    """An item of `calls`, or of `statuses` in the field calls."""
    contact, _ = contact_of(value, item_keys.READERS["calls"](item.raw))
    duration = item.plain("duration")
    return Call(
        number_id=number_of(value),
        occurred_at=item.moment("timestamp"),
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
    """An item of `groups`."""
    return GroupUpdate(
        number_id=number_of(value),
        occurred_at=item.moment("timestamp"),
        group_id=item.text("group_id") or "",
        type=item.text("type") or "",
        request_id=item.text("request_id"),
        errors=item.faults(),
        content=msgspec.json.decode(item.raw),
    )


def read_contact_sync(value: Members, item: Members) -> ContactSync:
    """An item of `state_sync`."""
    contact, metadata = item.inner("contact"), item.inner("metadata")
    record = ContactSync(
        number_id=number_of(value),
        occurred_at=metadata.moment("timestamp") if metadata else 0.0,
        contact=contact.identity("phone_number", "user_id") if contact else Identity(None, None),
        action=item.text("action"),
        full_name=contact.text("full_name") if contact else None,
        first_name=contact.text("first_name") if contact else None,
    )
    item.get("type")
    item.note_rest()
    return record


READERS: dict[str, Callable[[Members, Members], Inbound]] = {
    "user_preferences": read_preference,
    "calls": read_call,
    "groups": read_group,
    "state_sync": read_contact_sync,
}
"""By the name of the list that holds the item."""

ELSEWHERE: dict[tuple[str, str], Callable[[Members, Members], Inbound]] = {
    ("calls", "statuses"): read_call,
    ("history", "messages"): read_history_media,
}
"""By field and list, where a list means something else than in the field messages."""


def read(field: str, raw: msgspec.Raw, waba_id: str, time: float) -> Inbound:
    """The value of a field that is one thing."""
    notes: list[str] = []
    account = f"waba:{waba_id}" if waba_id else ""
    kind = WHOLE.get(field)
    if kind is None:
        notes.append(f"field={word(field)}")
    try:
        value = Members(raw, word(field), notes)
    except msgspec.ValidationError:
        content = msgspec.json.decode(raw)
        notes.append(f"{word(field)}:shape")
        return Unrecognised(
            number_id=account, waba_id=waba_id, field=field, occurred_at=time, content=content, unknown=tuple(notes)
        )
    number_id = number_of(value) or account
    if kind is EventKind.TEMPLATE:
        record: Inbound = _template(field, value, number_id, waba_id, time)
    elif kind is EventKind.ACCOUNT:
        frame = Members(b'{"value":%s}' % bytes(raw), word(field), notes)
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
        category_changes_at=value.moment("category_update_timestamp"),
        quality=value.text("new_quality_score"),
        previous_quality=value.text("previous_quality_score"),
        content=msgspec.json.decode(value.raw),
    )
    for name in _TEMPLATE_DETAILS:
        value.get(name)
    value.note_rest()
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
