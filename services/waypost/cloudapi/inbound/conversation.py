"""Parses items that belong to a conversation: messages, statuses, echoes and history."""

from collections.abc import Callable
from typing import Any

import msgspec

from waypost.cloudapi.inbound import item_keys
from waypost.cloudapi.inbound.bodies import (
    BODIES,
    Body,
    Content,
    EditBody,
    SystemBody,
    WelcomeBody,
    readable,
    selected_id,
)
from waypost.cloudapi.inbound.event import Problem
from waypost.cloudapi.inbound.fields import ItemList
from waypost.cloudapi.inbound.members import Members
from waypost.cloudapi.inbound.records import (
    Echo,
    History,
    HistoryMessage,
    Identity,
    Inbound,
    InboundMessage,
    InboundStatus,
    MessageStatus,
    Referral,
    ReportedError,
    UnreadableEvent,
)
from waypost.cloudapi.message_types import MessageType


def number_of(value: Members) -> str:
    """Returns the phone number id that a webhook value names, or "" if it names none."""
    metadata = value.inner("metadata")
    return (metadata.text("phone_number_id") if metadata else None) or ""


def contact_of(value: Members, keys: item_keys.ItemKeys | None) -> tuple[Identity, Members | None]:
    """Returns the person that an item is about, and the entry of that person in the value's contacts.

    A contact belongs to an item if they share an id. A contact also belongs to an item that has no id at all.
    (`split` adds a contact to such an item only if the value has a single item and a single contact.)
    """
    phone, user_id = (keys.phone, keys.user_id) if keys else ("", "")
    for raw in msgspec.json.decode(value.get(ItemList.CONTACTS) or b"[]", type=list[msgspec.Raw]):
        contact = Members(raw, ItemList.CONTACTS, value.notes)
        own_phone, own_id = item_keys.phone_and_user_id(contact.text("wa_id"), contact.text("user_id"))
        same = (user_id and user_id == own_id) or (phone and phone == own_phone)
        if same or not (phone or user_id):
            parent = contact.text("parent_user_id")
            return Identity(phone or own_phone or None, user_id or own_id or None, parent), contact
    return Identity(phone or None, user_id or None), None


def content_of(kind: str, item: Members) -> Content | None:
    """Returns the body of a message of the type `kind`.

    If the type or the shape of the body is not known, the body consists of plain values.
    """
    if kind not in BODIES:
        item.note_value("type", kind)
        body = item.plain(kind)
        return body if isinstance(body, dict) else None if body is None else {kind: body}
    if kind == MessageType.REQUEST_WELCOME:
        return item.typed(kind, WelcomeBody) or WelcomeBody()
    content = item.typed(kind, BODIES[kind])
    return content if content is None or isinstance(content, Body | tuple | dict) else {kind: content}


def text_of(content: Content | None, item: Members) -> str | None:
    """Returns the text that a person would read in a message. An edit has the text of the new version."""
    if not isinstance(content, EditBody):
        return readable(content)
    edit = item.inner(MessageType.EDIT)
    message = edit.inner("message") if edit else None
    return readable(content_of(message.text("type") or "", message)) if message else None


def read_message(value: Members, item: Members) -> InboundMessage:
    """Parses an item of `messages`. Raises `UnreadableEvent` if the message has no sender.

    A message without a sender can be neither stored nor answered.
    """
    keys = item_keys.READERS[ItemList.MESSAGES](item.raw)
    sender, contact = contact_of(value, keys)
    if not sender.key:
        raise UnreadableEvent(Problem.MISSING_SENDER, "the message has no sender")
    for name in ("from", "from_user_id"):
        item.get(name)
    parent = item.text("from_parent_user_id")
    sender = Identity(sender.wa_id, sender.user_id, parent or sender.parent_user_id)
    kind = item.text("type") or ""
    content = content_of(kind, item)
    context = item.inner("context")
    profile = contact.inner("profile") if contact else None
    changed_from, changed_to = _change_of(content, sender)
    record = InboundMessage(
        number_id=number_of(value),
        occurred_at=item.unix_seconds("timestamp"),
        wamid=item_keys.usable_key(item.text("id")),
        sender=sender,
        profile_name=profile.text("name") if profile else None,
        username=profile.text("username") if profile else None,
        type=kind,
        text=text_of(content, item),
        button_id=selected_id(content),
        context_wamid=context.text("id") if context else None,
        context_from=context.identity("from", "from_user_id") if context else None,
        forwarded=bool(context and context.flag("forwarded")),
        frequently_forwarded=bool(context and context.flag("frequently_forwarded")),
        referred_product=context.plain("referred_product") if context else None,
        content=content,
        referral=_referral(item),
        group_id=item.text("group_id"),
        identity_key_hash=contact.text("identity_key_hash") if contact else None,
        errors=item.faults() or value.faults(),
        changed_from=changed_from,
        changed_to=changed_to,
    )
    for part in (item, context, contact, profile):
        if part:
            part.note_unread()
    return record


def read_status(value: Members, item: Members) -> InboundStatus:
    """Parses an item of `statuses`.

    A status `failed` comes without contacts. A status in a group names the participant in separate members.
    """
    recipient, contact = contact_of(value, item_keys.READERS[ItemList.STATUSES](item.raw))
    if contact:
        contact.get("profile")
        contact.note_unread()
    in_group = item.text("recipient_type") == item_keys.GROUP_RECIPIENT
    for name in ("recipient_user_id", "recipient_participant_id", "recipient_participant_user_id", "type"):
        item.get(name)
    parent = item.text("recipient_parent_user_id")
    pricing, conversation = item.inner("pricing"), item.inner("conversation")
    origin = conversation.inner("origin") if conversation else None
    errors = item.faults()
    status = item.text("status") or ""
    if status not in _STATUSES:
        item.note_value("status", status)
    record = InboundStatus(
        number_id=number_of(value),
        occurred_at=item.unix_seconds("timestamp"),
        wamid=item_keys.usable_key(item.text("id")),
        status=status,
        recipient=Identity(recipient.wa_id, recipient.user_id, parent or recipient.parent_user_id),
        group_id=item.text("recipient_id") if in_group else item.text("group_id"),
        callback_data=item.text("biz_opaque_callback_data"),
        error_code=errors[0].code if errors else None,
        error_title=errors[0].title if errors else None,
        errors=errors,
        pricing_category=pricing.text("category") if pricing else None,
        pricing_type=pricing.text("type") if pricing else None,
        pricing_model=pricing.text("pricing_model") if pricing else None,
        billable=pricing.flag("billable") if pricing else None,
        conversation_id=conversation.text("id") if conversation else None,
        conversation_origin=origin.text("type") if origin else None,
        conversation_expires_at=conversation.unix_seconds("expiration_timestamp") if conversation else 0.0,
        identity_key_hash=item.text("recipient_identity_key_hash"),
    )
    item.get("recipient_id")
    for part in (item, pricing, conversation, origin):
        if part:
            part.note_unread()
    return record


_STATUSES = frozenset(map(str, MessageStatus))


def read_echo(value: Members, item: Members) -> Echo:
    """Parses an item of `message_echoes`, in which `to` is the customer."""
    recipient, contact = contact_of(value, item_keys.READERS[ItemList.MESSAGE_ECHOES](item.raw))
    if contact:
        contact.note_unread()
    for name in ("from", "from_user_id", "to", "to_user_id", "recipient_user_id"):
        item.get(name)
    kind = item.text("type") or ""
    content = content_of(kind, item)
    context = item.inner("context")
    record = Echo(
        number_id=number_of(value),
        occurred_at=item.unix_seconds("timestamp"),
        wamid=item_keys.usable_key(item.text("id")),
        recipient=recipient,
        type=kind,
        text=text_of(content, item),
        context_wamid=context.text("id") if context else None,
        content=content,
        group_id=item.text("group_id"),
        errors=item.faults(),
    )
    item.note_unread()
    return record


def read_history(value: Members, item: Members) -> History:
    """Parses an item of `history`.

    Such an item has either messages in threads, or the reason why the history is not shared.
    """
    metadata = item.inner("metadata")
    messages: list[HistoryMessage] = []
    for thread_raw in _objects(item, "threads"):
        thread = Members(thread_raw, f"{item.path}.threads", item.notes)
        wa_id, user_id = item_keys.phone_and_user_id(thread.text("id"), thread.text("user_id"))
        contact = Identity(wa_id or None, user_id or None)
        for raw in _objects(thread, "messages"):
            message = Members(raw, f"{item.path}.messages", item.notes)
            from_business = message.identity("from", "from_user_id").key not in (wa_id, user_id)
            messages.append(_history_message(message, contact, from_business=from_business))
    record = History(
        number_id=number_of(value),
        messages=tuple(messages),
        phase=metadata.whole_number("phase") if metadata else None,
        chunk_order=metadata.whole_number("chunk_order") if metadata else None,
        progress=metadata.whole_number("progress") if metadata else None,
        errors=item.faults(),
    )
    item.note_unread()
    return record


def read_history_media(value: Members, item: Members) -> History:
    """Parses an item of `messages` in the field history. The item has the media of a message from an earlier chunk."""
    metadata = value.inner("metadata")
    display_number = (metadata.text("display_phone_number") if metadata else None) or ""
    sender = item.identity("from", "from_user_id")
    from_business = sender.wa_id is not None and sender.wa_id == "".join(filter(str.isdecimal, display_number))
    contact = item.identity("to", "to_user_id") if from_business else sender
    message = _history_message(item, contact, from_business=from_business)
    return History(number_id=number_of(value), occurred_at=message.occurred_at, messages=(message,))


def read_errors(value: Members, _item: Members) -> ReportedError:
    """Parses an item of `errors`."""
    return ReportedError(number_id=number_of(value), errors=value.faults())


READERS: dict[str, Callable[[Members, Members], Inbound]] = {
    ItemList.MESSAGES: read_message,
    ItemList.STATUSES: read_status,
    ItemList.MESSAGE_ECHOES: read_echo,
    ItemList.HISTORY: read_history,
    ItemList.ERRORS: read_errors,
}
"""Maps the name of a list to the function that parses its items. The function gets the framed value and the item."""


def _history_message(message: Members, contact: Identity, *, from_business: bool) -> HistoryMessage:
    kind = message.text("type") or ""
    content = content_of(kind, message)
    context = message.inner("history_context")
    return HistoryMessage(
        wamid=item_keys.usable_key(message.text("id")),
        contact=contact,
        from_business=from_business,
        occurred_at=message.unix_seconds("timestamp"),
        status=context.text("status") if context else None,
        type=kind,
        text=text_of(content, message),
        content=content,
    )


def _objects(item: Members, name: str) -> list[Any]:
    raw = item.get(name)
    try:
        found = msgspec.json.decode(raw or b"[]", type=list[msgspec.Raw])
    except msgspec.ValidationError:
        item.note_member(name, "shape")
        return []
    return [one for one in found if bytes(one).startswith(b"{")]


def _referral(item: Members) -> Referral | None:
    referral = item.typed("referral", Referral)
    return referral if isinstance(referral, Referral) else None


def _change_of(content: Content | None, sender: Identity) -> tuple[Identity | None, Identity | None]:
    """Returns the old and the new identity if a system message reports that the identity changed.

    Returns None twice for any other message.
    """
    if not isinstance(content, SystemBody) or not (content.type or "").startswith("user_changed"):
        return None, None
    wa_id, user_id = item_keys.phone_and_user_id(content.wa_id or content.new_wa_id, content.user_id)
    old_wa_id = sender.wa_id if sender.wa_id != wa_id else None
    old_user_id = content.previous_user_id or (sender.user_id if sender.user_id != user_id else None)
    return (
        Identity(old_wa_id, old_user_id, content.previous_parent_user_id),
        Identity(wa_id or None, user_id or None, content.parent_user_id),
    )
