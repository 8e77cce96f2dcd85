"""Composes webhook bodies as Meta does, and finds the callback of each update."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from waypost.simulator.world.world import Account, App, Number, World

OVERRIDABLE = frozenset(
    {
        *("messages", "message_echoes", "calls", "consumer_profile", "messaging_handovers"),
        *("group_lifecycle_update", "group_participants_update", "group_settings_update", "group_status_update"),
        *("smb_message_echoes", "smb_app_state_sync", "history", "account_settings_update"),
    }
)
"""Fields that go to a number's or an account's own callback if it has one.

All other fields always go to the app's callback.
"""

_encode = msgspec.json.Encoder().encode


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """One encoded item of a webhook: a message, a status, or the whole value of another field."""

    waba_id: str
    phone_number_id: str | None
    field: str
    part: str | None
    """`messages` or `statuses` if the item shares a value with others; None if the item is the whole value."""
    item: bytes
    contact: bytes | None = None
    metadata: bytes | None = None
    at: int = 0


def item_update(
    account: Account, number: Number, part: str, item: dict[str, Any], *, contact: dict[str, Any] | None, at: float
) -> Update:
    """Returns an update that contains a message or a status. The update is for the webhook field `messages`."""
    return Update(
        waba_id=account.waba_id,
        phone_number_id=number.phone_number_id,
        field="messages",
        part=part,
        item=_encode(item),
        contact=_encode(contact) if contact is not None else None,
        metadata=_encode({"display_phone_number": number.digits, "phone_number_id": number.phone_number_id}),
        at=int(at),
    )


def value_update(account: Account, number: Number | None, field: str, value: dict[str, Any], at: float) -> Update:
    """Returns an update that contains the whole value of a webhook field.

    It is used for every field except `messages`.
    """
    return Update(
        waba_id=account.waba_id,
        phone_number_id=number.phone_number_id if number else None,
        field=field,
        part=None,
        item=_encode(value),
        at=int(at),
    )


def body(updates: Iterable[Update]) -> bytes:
    """Returns the body of a delivery. The body keeps the order of the updates.

    Consecutive updates of one account share an entry. In an entry, consecutive updates of one number share a
    change.
    """
    entries = []
    for waba_id, group in groupby(updates, key=lambda update: update.waba_id):
        members = list(group)
        entry: dict[str, Any] = {"id": waba_id}
        if any(update.field != "messages" for update in members):
            entry["time"] = max(update.at for update in members)
        entry["changes"] = list(_changes(members))
        entries.append(entry)
    return _encode({"object": "whatsapp_business_account", "entry": entries})


def _changes(updates: list[Update]) -> Iterator[dict[str, Any]]:
    for (part, _), run in groupby(updates, key=lambda update: (update.part, update.metadata)):
        members = list(run)
        if part is None:
            for update in members:
                yield {"value": msgspec.Raw(update.item), "field": update.field}
            continue
        value: dict[str, Any] = {"messaging_product": "whatsapp", "metadata": msgspec.Raw(members[0].metadata or b"{}")}
        contacts = dict.fromkeys(update.contact for update in members if update.contact is not None)
        if contacts:
            value["contacts"] = [msgspec.Raw(contact) for contact in contacts]
        value[part] = [msgspec.Raw(update.item) for update in members]
        yield {"value": value, "field": members[0].field}


def route(world: World, update: Update) -> list[tuple[App, str]]:
    """Returns the apps that get the update, each with its callback URL.

    If the number has a callback, that callback is used. Otherwise the account's callback is used, and if there is
    none, the app's callback.
    """
    account = world.accounts.get(update.waba_id)
    if account is None:
        return []
    number = world.numbers.get(update.phone_number_id or "")
    found = []
    for app_id, override in account.subscribers.items():
        app = world.apps.get(app_id)
        if app is None or app.subscription is None or update.field not in app.subscription.fields:
            continue
        callback = app.subscription.url
        if update.field in OVERRIDABLE:
            own = number.callbacks.get(app_id) if number else None
            callback = (own or override or app.subscription).url
        found.append((app, callback))
    return found
