"""Samples of each kind of delivery, as Meta sends them, and functions that build deliveries."""

import json
from pathlib import Path
from typing import Any

SAMPLES: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("samples.json").read_text())
"""Samples by name. Each is one change (`field`, `value`, and `time` if Meta gives the entry one)."""

WABA = "102290129340398"
NUMBER = "106540352242922"
METADATA = {"display_phone_number": "15550783881", "phone_number_id": NUMBER}


def envelope(*changes: dict[str, Any], waba: str = WABA) -> dict[str, Any]:
    """Returns a delivery with one entry per change."""
    entries = []
    for change in changes:
        entry = {"id": waba, "changes": [{name: value for name, value in change.items() if name != "time"}]}
        entries.append(entry | {name: value for name, value in change.items() if name == "time"})
    return {"object": "whatsapp_business_account", "entry": entries}


def delivery(*changes: dict[str, Any], **envelope_of: Any) -> bytes:
    """Returns the body of a delivery without blanks, as Meta writes it."""
    return json.dumps(envelope(*changes, **envelope_of), separators=(",", ":")).encode()


def change(field: str = "messages", **lists: Any) -> dict[str, Any]:
    """Returns a change of one number with the given lists of items."""
    return {"field": field, "value": {"messaging_product": "whatsapp", "metadata": METADATA, **lists}}


def text_message(wamid: str, body: str = "Hello", sender: str = "16505551234", **more: Any) -> dict[str, Any]:
    """Returns a customer's text message."""
    message = {"from": sender, "id": wamid, "timestamp": "1750030073", "type": "text", "text": {"body": body}}
    return message | more
