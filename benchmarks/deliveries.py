"""Deliveries as Meta would send them. They are signed, and each has one message and its own id."""

import itertools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from waypost.cloudapi.inbound.signature import sign
from waypost.contracts import registry

NUMBER = "106540352242922"
ACCOUNT = "102290129340398"
APP = "700700700700700"
SECRET = "5d41402abc4b2a76b9719d911017c592"
TOKEN = "EAAbenchmarktoken0001"
PATH = "/webhooks/team/support"

_runs = itertools.count(int(time.time()) % 1_000_000 * 100)


@dataclass(frozen=True)
class Delivery:
    """One webhook delivery. The text of its message is the delivery's id.

    A reply repeats this text, so the reply shows which delivery it answers.
    """

    identity: str
    body: bytes
    signature: str


def deliveries(count: int, *, contacts: int) -> Iterator[Delivery]:
    """Yields `count` deliveries from `contacts` people in turn.

    All deliveries have the same length, and no two calls give the same ids.
    """
    run = next(_runs)
    return (_message(f"wamid.HBgL{run:010}FQIAEhgU{place:032}AA", _contact(place % contacts)) for place in range(count))


def _contact(place: int) -> str:
    return f"1555{place:07}"


def _message(identity: str, contact: str) -> Delivery:
    return _signed(
        identity,
        {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550783881", "phone_number_id": NUMBER},
            "contacts": [{"profile": {"name": "Ada Lovelace"}, "wa_id": contact}],
            "messages": [
                {
                    "from": contact,
                    "id": identity,
                    "timestamp": str(int(time.time())),
                    "type": "text",
                    "text": {"body": identity},
                }
            ],
        },
    )


def status(wamid: str, contact: str, state: str, callback_data: str | None) -> Delivery:
    """Returns a status webhook for a message that was sent."""
    item = {
        "id": wamid,
        "status": state,
        "timestamp": str(int(time.time())),
        "recipient_id": contact,
        "pricing": {"billable": True, "pricing_model": "PMP", "category": "service", "type": "regular"},
    }
    if callback_data is not None:
        item["biz_opaque_callback_data"] = callback_data
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": NUMBER},
        "statuses": [item],
    }
    return _signed(f"{wamid}:{state}", value)


def _signed(identity: str, value: Mapping[str, object]) -> Delivery:
    entry = {"id": ACCOUNT, "changes": [{"field": "messages", "value": value}]}
    body = msgspec.json.encode({"object": "whatsapp_business_account", "entry": [entry]})
    return Delivery(identity, body, sign(SECRET, body))


def request(delivery: Delivery) -> bytes:
    """Returns the delivery as an HTTP/1.1 request."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-Hub-Signature-256: {delivery.signature}\r\nContent-Length: {len(delivery.body)}\r\n\r\n"
    )
    return head.encode() + delivery.body


def entries(*, bot: str) -> tuple[registry.Route, registry.Number]:
    """Returns the two registry entries of the number: the webhook's and the worker's."""
    route = registry.Route(
        namespace="team",
        name="support",
        phone_number_id=NUMBER,
        waba_id=ACCOUNT,
        app_id=APP,
        app_secrets=(SECRET,),
        verify_tokens=("benchmarkverifytoken0001benchmark",),
    )
    number = registry.Number(
        namespace="team",
        name="support",
        phone_number_id=NUMBER,
        waba_id=ACCOUNT,
        app_id=APP,
        access_token=TOKEN,
        bot=bot,
        messages_per_second=1000,
    )
    return route, number
