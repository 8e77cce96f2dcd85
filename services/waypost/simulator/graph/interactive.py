"""Defines the shapes of interactive messages that Meta accepts. There is one rule for each kind of message."""

from collections.abc import Callable
from typing import Any

from waypost.simulator.graph.shape import URL, Rule, anything, array, number, one_of, record, tagged, text
from waypost.simulator.world.refusal import Refusal

BODY = record({"text": text(1024)})
LONG_BODY = record({"text": text(4096)})
FOOTER = record({"text": text(60)})
MEDIA = record(optional={"id": text(200), "link": URL, "filename": text(240)}, exactly_one=("id", "link"))
HEADER = tagged(
    "type",
    {
        "text": record({"type": anything, "text": text(60)}),
        "image": record({"type": anything, "image": MEDIA}),
        "video": record({"type": anything, "video": MEDIA}),
        "document": record({"type": anything, "document": MEDIA}),
    },
)
TEXT_HEADER = tagged("type", {"text": record({"type": anything, "text": text(60)})})


def _unique(name: str, values: list[Any], path: str) -> None:
    if len(set(values)) != len(values):
        raise Refusal(131009, f"Param {path}: every {name} must be unique.")


def _distinct_buttons(action: Any, path: str) -> None:
    replies = [button["reply"] for button in action["buttons"]]
    _unique("button id", [reply["id"] for reply in replies], path)
    _unique("button title", [reply["title"] for reply in replies], path)


def _sections(row_rule: Rule, rows_key: str, most_rows: int) -> Callable[[Any, str], None]:
    section = record({rows_key: array(row_rule, maximum=most_rows)}, {"title": text(24)})
    shape = array(section, maximum=10)

    def rule(value: Any, path: str) -> None:
        shape(value, path)
        if len(value) > 1 and not all(section.get("title") for section in value):
            raise Refusal(131008, f"{path}: a title is required for each section when there is more than one.")
        rows = [row for section in value for row in section[rows_key]]
        if len(rows) > most_rows:
            raise Refusal(131009, f"{path}: at most {most_rows} rows are allowed in all sections together.")
        if rows_key == "rows":
            _unique("row id", [row["id"] for row in rows], path)

    return rule


ROW = record({"id": text(200), "title": text(24)}, {"description": text(72)})
PRODUCT = record({"product_retailer_id": text(200)})
REPLY_BUTTON = record({"type": one_of("reply"), "reply": record({"id": text(256), "title": text(20)})})


def _flow_named(parameters: Any, path: str) -> None:
    if parameters.get("flow_action", "navigate") == "data_exchange" and "flow_action_payload" in parameters:
        raise Refusal(131009, f"{path}: flow_action_payload is for the action navigate only.")


FLOW = record(
    {"flow_message_version": one_of("3"), "flow_cta": text(30)},
    {
        "flow_id": text(200),
        "flow_name": text(200),
        "flow_token": text(1000),
        "mode": one_of("draft", "published"),
        "flow_action": one_of("navigate", "data_exchange"),
        "flow_action_payload": record({"screen": text(200)}, {"data": anything}),
    },
    exactly_one=("flow_id", "flow_name"),
    then=_flow_named,
)

CARD = record(
    {"card_index": number(0, 9), "type": one_of("cta_url", "product", "button"), "action": anything},
    {"header": HEADER, "body": record({"text": text(160)})},
)


def _named(name: str, parameters: Rule | None = None, *, optional: bool = False) -> Rule:
    if parameters is None:
        return record({"name": one_of(name)})
    if optional:
        return record({"name": one_of(name)}, {"parameters": parameters})
    return record({"name": one_of(name), "parameters": parameters})


def _kind(action: Rule, *, body: Rule | None = BODY, body_optional: bool = False, header: Rule | None = HEADER) -> Rule:
    required: dict[str, Rule] = {"type": anything, "action": action}
    optional: dict[str, Rule] = {"footer": FOOTER}
    if body is not None:
        (optional if body_optional else required)["body"] = body
    if header is not None:
        optional["header"] = header
    return record(required, optional)


INTERACTIVE = tagged(
    "type",
    {
        "button": _kind(record({"buttons": array(REPLY_BUTTON, maximum=3)}, then=_distinct_buttons)),
        "list": _kind(
            record({"button": text(20), "sections": _sections(ROW, "rows", 10)}), body=LONG_BODY, header=TEXT_HEADER
        ),
        "cta_url": _kind(_named("cta_url", record({"display_text": text(20), "url": URL}))),
        "flow": _kind(_named("flow", FLOW)),
        "location_request_message": _kind(_named("send_location"), header=None),
        "address_message": _kind(_named("address_message", anything)),
        "product": _kind(
            record({"catalog_id": text(200), "product_retailer_id": text(200)}), body_optional=True, header=None
        ),
        "product_list": record(
            {
                "type": anything,
                "header": TEXT_HEADER,
                "body": BODY,
                "action": record({"catalog_id": text(200), "sections": _sections(PRODUCT, "product_items", 30)}),
            },
            {"footer": FOOTER},
        ),
        "catalog_message": _kind(
            _named("catalog_message", record(optional={"thumbnail_product_retailer_id": text(200)}), optional=True),
            header=None,
        ),
        "carousel": _kind(record({"cards": array(CARD, minimum=2, maximum=10)}), header=None),
        "voice_call": _kind(
            _named(
                "voice_call",
                record(optional={"display_text": text(20), "ttl_minutes": number(1, 43200), "payload": text(512)}),
                optional=True,
            ),
            header=None,
        ),
        "call_permission_request": _kind(_named("call_permission_request"), body_optional=True, header=None),
        "contact_request": _kind(_named("contact_request", anything, optional=True), header=None),
        "request_contact_info": _kind(_named("request_contact_info", anything, optional=True), header=None),
    },
)
