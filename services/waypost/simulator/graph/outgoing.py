"""Checks the shape of the body of `POST /{phone-number-id}/messages`. The checks need no state."""

from typing import Any

from waypost.simulator.graph.interactive import INTERACTIVE
from waypost.simulator.graph.shape import URL, Rule, anything, array, boolean, number, one_of, record, text, wrong_type
from waypost.simulator.world.refusal import Refusal, unexpected_key


def _media(**optional: Rule) -> Rule:
    return record(optional={"id": text(200), "link": URL} | optional, exactly_one=("id", "link"))


STRING = text(1000, minimum=0)
CARD = record(
    {
        "name": record(
            {"formatted_name": text(1000)},
            dict.fromkeys(("first_name", "last_name", "middle_name", "suffix", "prefix"), STRING),
        )
    },
    {
        "addresses": array(
            record(
                optional=dict.fromkeys(("street", "city", "state", "zip", "country", "country_code", "type"), STRING)
            ),
            maximum=100,
        ),
        "birthday": text(10, pattern=r"\d{4}-\d\d-\d\d"),
        "emails": array(record(optional={"email": STRING, "type": STRING}), maximum=100),
        "org": record(optional={"company": STRING, "department": STRING, "title": STRING}),
        "phones": array(record(optional={"phone": STRING, "type": STRING, "wa_id": STRING}), maximum=100),
        "urls": array(record(optional={"url": STRING, "type": STRING}), maximum=100),
    },
)
PLACE = record(
    {"latitude": number(-90, 90), "longitude": number(-180, 180)}, {"name": text(1000), "address": text(1000)}
)
PARAMETER = record(
    {"type": one_of("text", "currency", "date_time", "image", "video", "document", "location", "payload", "action",
                    "coupon_code", "limited_time_offer", "product", "ttl_minutes", "gif")},
    {
        "parameter_name": text(512),
        "text": text(32768, minimum=0),
        "currency": record({"fallback_value": text(200), "code": text(3), "amount_1000": number(-1e15, 1e15)}),
        "date_time": record({"fallback_value": text(200)}, dict.fromkeys(
            ("calendar", "day_of_month", "day_of_week", "hour", "minute", "month", "timestamp", "year"), anything)),
        "image": _media(),
        "video": _media(),
        "gif": _media(),
        "document": _media(filename=text(240)),
        "location": PLACE,
        "payload": text(256),
        "coupon_code": text(20),
        "action": anything,
        "limited_time_offer": anything,
        "product": anything,
        "ttl_minutes": number(1, 43200),
    },
)  # fmt: skip
COMPONENT = record(
    {"type": one_of("header", "body", "button", "carousel", "limited_time_offer", "order_status")},
    {
        "sub_type": one_of("quick_reply", "url", "copy_code", "flow", "catalog", "mpm", "voice_call", "order_details",
                           "request_contact_info", "call_permission_request"),
        "index": number(0, 9),
        "parameters": array(PARAMETER, minimum=0, maximum=100),
        "cards": array(anything, maximum=10),
    },
)  # fmt: skip

BODIES: dict[str, Rule] = {
    "text": record({"body": text(4096)}, {"preview_url": boolean}),
    "image": _media(caption=text(1024)),
    "video": _media(caption=text(1024)),
    "audio": _media(voice=boolean),
    "document": _media(caption=text(1024), filename=text(240)),
    "sticker": _media(),
    "location": PLACE,
    "contacts": array(CARD, maximum=257),
    "reaction": record({"message_id": text(400, pattern=r"wamid\..+"), "emoji": text(40, minimum=0)}),
    "template": record(
        {"name": text(512), "language": record({"code": text(10)}, {"policy": one_of("deterministic")})},
        {"components": array(COMPONENT, minimum=0, maximum=20)},
    ),
    "interactive": INTERACTIVE,
}

ENVELOPE: dict[str, Rule] = {
    "messaging_product": anything,
    "recipient_type": one_of("individual", "group"),
    "to": anything,
    "recipient": text(150),
    "type": anything,
    "context": record({"message_id": text(400, pattern=r"wamid\..+")}),
    "biz_opaque_callback_data": text(512, minimum=0),
    "recipient_identity_key_hash": text(200),
    "message_activity_sharing": boolean,
    "product_policy": text(100),
}
MARK = record(
    {
        "messaging_product": anything,
        "status": one_of("read"),
        "message_id": text(400, pattern=r"wamid\..+"),
    },
    {"typing_indicator": record({"type": one_of("text")})},
)
AUTHENTICATION = frozenset({"access_token", "appsecret_proof"})
"""Parameters that any call may have, because they authenticate the caller."""


def check_product(body: dict[str, Any]) -> None:
    """Raises `Refusal` unless `messaging_product` is WhatsApp.

    Every POST of the Cloud API with a body needs this parameter.
    """
    product = body.get("messaging_product")
    if product is None:
        raise Refusal(100, message="(#100) The parameter messaging_product is required.")
    if not isinstance(product, str) or product.lower() != "whatsapp":
        raise Refusal(100, message="(#100) Param messaging_product must be one of {WHATSAPP}.")


def check_message(body: dict[str, Any]) -> str:
    """Returns the type of a message if Meta accepts its shape. Otherwise raises `Refusal`."""
    check_product(body)
    kind = body.get("type", "text")
    if not isinstance(kind, str) or kind not in BODIES:
        types = ", ".join(name.upper() for name in BODIES)
        raise Refusal(100, message=f"(#100) Param type must be one of {{{types}}}.")
    for key, value in body.items():
        if key in AUTHENTICATION or key == kind:
            continue
        if key in BODIES:
            raise Refusal(131009, f"Param {key} does not belong to a message of type {kind}.")
        rule = ENVELOPE.get(key)
        if rule is None:
            raise unexpected_key(key, "messages")
        if value is not None:
            rule(value, key)
    if body.get("to") is None and body.get("recipient") is None:
        raise Refusal(100, message="(#100) The parameter to is required.")
    if body.get("to") is not None and not isinstance(body["to"], str):
        raise wrong_type("to", "a string")
    if body.get(kind) is None:
        raise Refusal(131008, f"Required parameter {kind} is missing.")
    BODIES[kind](body[kind], kind)
    return kind


def check_mark(body: dict[str, Any]) -> None:
    """Raises `Refusal` unless the body marks a message as read. The body may also ask for a typing indicator."""
    check_product(body)
    MARK({key: value for key, value in body.items() if key not in AUTHENTICATION}, "messages")
