"""Makes signed deliveries as Meta does, and reads from the database how they were stored."""

import itertools
import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, text

from waypost.cloudapi.inbound import signature

NUMBER = "106540352242922"
WABA = "102290129340398"
APP = "9001"
SECRET = "app-secret-current"
PREVIOUS_SECRET = "app-secret-previous"
TOKEN = "VerifyTokenCurrent0123456789"
PREVIOUS_TOKEN = "VerifyTokenPrevious0123456789"
PATH = "/webhooks/team-a/support"

_serial = itertools.count()


def wamid() -> str:
    """Returns a message id that no other test uses."""
    return f"wamid.test{next(_serial):08d}"


def item(key: str, *, sender: str = "15550001", body: str = "hello", at: int = 1_749_416_383) -> dict[str, Any]:
    """Returns one text message."""
    return {"from": sender, "id": key, "timestamp": str(at), "type": "text", "text": {"body": body}}


def delivery(*items: object, number: str = NUMBER) -> bytes:
    """Returns a body that contains these messages in one change."""
    return envelope([change(*items, number=number)])


def change(*items: object, number: str = NUMBER) -> dict[str, Any]:
    """Returns one `messages` change with these messages."""
    metadata = {"display_phone_number": "15550783881", "phone_number_id": number}
    return {
        "field": "messages",
        "value": {"messaging_product": "whatsapp", "metadata": metadata, "messages": list(items)},
    }


def envelope(changes: Sequence[object], *, waba: str = WABA) -> bytes:
    """Returns a body that contains these changes."""
    return json.dumps(
        {"object": "whatsapp_business_account", "entry": [{"id": waba, "changes": list(changes)}]}
    ).encode()


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """Returns the headers of a delivery, with the signature of `body`."""
    return {"content-type": "application/json", "x-hub-signature-256": signature.sign(secret, body)}


def stored(database: Engine, number: str = NUMBER) -> dict[str, str]:
    """Returns the state of every event of a number, by the event's key."""
    with database.connect() as connection:
        rows = connection.execute(text("SELECT event_key, state FROM event WHERE number_id = :n"), {"n": number})
        return {row.event_key: row.state for row in rows}


def counted(database: Engine, number: str = NUMBER) -> dict[str, int]:
    """Returns the counts of a number that must add up (guarantee G9). All counts come from one snapshot."""
    with database.connect() as connection:
        rows = connection.execute(
            text("""
                SELECT name, sum(value)::int AS sum FROM daily_metric WHERE number_id = :n
                GROUP BY name HAVING sum(value) <> 0
                UNION ALL SELECT state, count(*)::int FROM event WHERE number_id = :n GROUP BY state
            """),
            {"n": number},
        )
        return {row.name: row.sum for row in rows}
