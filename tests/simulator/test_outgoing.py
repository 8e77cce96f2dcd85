"""Tests the form of messages: each row of a table gives a message and Meta's code for it."""

from typing import Any

import pytest

from waypost.simulator.graph.outgoing import check_mark, check_message
from waypost.simulator.world.refusal import Refusal

TO = {"messaging_product": "whatsapp", "to": "+393331112223"}
WAMID = "wamid.HBgMMzkzMzM"


def text(body: object = "hi", **more: object) -> dict[str, Any]:
    """Returns a text message."""
    return TO | {"type": "text", "text": {"body": body} | more}


def interactive(kind: str, action: object, **more: object) -> dict[str, Any]:
    """Returns an interactive message."""
    return TO | {
        "type": "interactive",
        "interactive": {"type": kind, "body": {"text": "Choose"}, "action": action} | more,
    }


def reply(identifier: str, title: str = "Yes") -> dict[str, Any]:
    """Returns a reply button."""
    return {"type": "reply", "reply": {"id": identifier, "title": title}}


def buttons(*replies: dict[str, Any]) -> dict[str, Any]:
    """Returns a message with reply buttons."""
    return interactive("button", {"buttons": list(replies)})


def rows(*identifiers: str) -> list[dict[str, Any]]:
    """Returns rows of a list."""
    return [{"id": identifier, "title": "Row"} for identifier in identifiers]


def listing(*sections: dict[str, Any], label: str = "Open") -> dict[str, Any]:
    """Returns a list message."""
    return interactive("list", {"button": label, "sections": list(sections)})


def section(title: str, identifiers: str) -> dict[str, Any]:
    """Returns a section of a list, with one row for each letter of `identifiers`."""
    return {"title": title, "rows": rows(*identifiers)}


ONE_BUTTON = {"buttons": [reply("a")]}
TEMPLATE = {"name": "t", "language": {"code": "en"}}
ACCEPTED: dict[str, dict[str, Any]] = {
    "text": text(),
    "text of 4096": text("x" * 4096),
    "text without a type": TO | {"text": {"body": "hi"}},
    "text with preview": text(preview_url=True),
    "everything around a text": text()
    | {"recipient_type": "individual", "context": {"message_id": WAMID}, "biz_opaque_callback_data": "x" * 512},
    "to a BSUID": {"messaging_product": "whatsapp", "recipient": "IT.123", "type": "text", "text": {"body": "hi"}},
    "image by id": TO | {"type": "image", "image": {"id": "1", "caption": "c"}},
    "document by link": TO | {"type": "document", "document": {"link": "https://a.example/f.pdf", "filename": "f"}},
    "voice": TO | {"type": "audio", "audio": {"id": "1", "voice": True}},
    "location": TO | {"type": "location", "location": {"latitude": 45.1, "longitude": "9.2", "name": "n"}},
    "contacts": TO
    | {"type": "contacts", "contacts": [{"name": {"formatted_name": "A B"}, "phones": [{"phone": "+1"}]}]},
    "reaction": TO | {"type": "reaction", "reaction": {"message_id": WAMID, "emoji": "👍"}},
    "reaction taken back": TO | {"type": "reaction", "reaction": {"message_id": WAMID, "emoji": ""}},
    "three buttons": buttons(reply("a", "A"), reply("b", "B"), reply("c", "C")),
    "list of ten rows": listing(section("1", "abcde"), section("2", "fghij")),
    "link button": interactive(
        "cta_url", {"name": "cta_url", "parameters": {"display_text": "Go", "url": "https://a.example"}}
    ),
    "location request": interactive("location_request_message", {"name": "send_location"}),
    "flow": interactive(
        "flow",
        {
            "name": "flow",
            "parameters": {
                "flow_message_version": "3",
                "flow_id": "1",
                "flow_cta": "Start",
                "flow_action": "navigate",
                "flow_action_payload": {"screen": "FIRST"},
            },
        },
    ),
    "template": TO
    | {
        "type": "template",
        "template": {
            "name": "t",
            "language": {"code": "en"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "x"}]}],
        },
    },
}

REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "no messaging_product": ({"to": "+39333", "type": "text", "text": {"body": "hi"}}, 100),
    "another messaging_product": (text() | {"messaging_product": "messenger"}, 100),
    "no recipient": ({"messaging_product": "whatsapp", "type": "text", "text": {"body": "hi"}}, 100),
    "to is a number": (text() | {"to": 393331112223}, 100),
    "unknown type": (TO | {"type": "poll", "poll": {}}, 100),
    "unknown key": (text() | {"priority": "high"}, 100),
    "unknown key within": (text(colour="red"), 100),
    "body of another type": (text() | {"image": {"id": "1"}}, 131009),
    "type without its body": (TO | {"type": "text"}, 131008),
    "text without body": (TO | {"type": "text", "text": {}}, 131008),
    "empty text": (text(""), 131009),
    "blank text": (text("  \n"), 131009),
    "text of 4097": (text("x" * 4097), 131009),
    "text that is a number": (text(5), 100),
    "callback data of 513": (text() | {"biz_opaque_callback_data": "x" * 513}, 131009),
    "context without wamid": (text() | {"context": {"message_id": "17"}}, 131009),
    "image by nothing": (TO | {"type": "image", "image": {"caption": "c"}}, 131008),
    "image by both": (TO | {"type": "image", "image": {"id": "1", "link": "https://a.example/x.png"}}, 131009),
    "link that is none": (TO | {"type": "image", "image": {"link": "/x.png"}}, 131009),
    "audio with caption": (TO | {"type": "audio", "audio": {"id": "1", "caption": "c"}}, 100),
    "latitude 91": (TO | {"type": "location", "location": {"latitude": 91, "longitude": 0}}, 131009),
    "location without longitude": (TO | {"type": "location", "location": {"latitude": 9}}, 131008),
    "contact without name": (TO | {"type": "contacts", "contacts": [{"phones": []}]}, 131008),
    "reaction to nothing": (TO | {"type": "reaction", "reaction": {"emoji": "👍"}}, 131008),
    "four buttons": (buttons(*(reply(i, i) for i in "abcd")), 131009),
    "no button": (buttons(), 131009),
    "button title of 21": (buttons(reply("a", "x" * 21)), 131009),
    "button id of 257": (buttons(reply("a" * 257)), 131009),
    "two buttons with one id": (buttons(reply("a", "A"), reply("a", "B")), 131009),
    "two buttons with one title": (buttons(reply("a"), reply("b")), 131009),
    "button body of 1025": (interactive("button", ONE_BUTTON, body={"text": "x" * 1025}), 131009),
    "interactive without body": (interactive("button", ONE_BUTTON, body=None), 131008),
    "unknown interactive": (interactive("poll", {}), 100),
    "header of 61": (interactive("button", ONE_BUTTON, header={"type": "text", "text": "x" * 61}), 131009),
    "list of eleven rows": (listing(section("1", "abcdef"), section("2", "ghijk")), 131009),
    "two sections without titles": (listing({"rows": rows("a")}, {"rows": rows("b")}), 131008),
    "two rows with one id": (listing({"rows": rows("a", "a")}), 131009),
    "list label of 21": (listing({"rows": rows("a")}, label="x" * 21), 131009),
    "row title of 25": (listing({"rows": [{"id": "a", "title": "x" * 25}]}), 131009),
    "link button without url": (
        interactive("cta_url", {"name": "cta_url", "parameters": {"display_text": "Go"}}),
        131008,
    ),
    "template without language": (TO | {"type": "template", "template": {"name": "t"}}, 131008),
    "template with unknown component": (
        TO | {"type": "template", "template": TEMPLATE | {"components": [{"type": "foot"}]}},
        100,
    ),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_message_that_meta_accepts_is_accepted(body: dict[str, Any]) -> None:
    """Every kind of message is accepted in its plain form."""
    assert check_message(body) == body.get("type", "text")


@pytest.mark.parametrize(("body", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_message_that_meta_refuses_is_refused_with_its_code(body: dict[str, Any], code: int) -> None:
    """A message that Meta refuses is refused with Meta's code.

    Unknown parameters and wrong types get 100, missing parameters 131008, and values out of bounds 131009.
    """
    with pytest.raises(Refusal) as refused:
        check_message(body)
    assert refused.value.code == code, refused.value.details or refused.value.message


def test_a_refusal_never_repeats_the_text_of_a_message() -> None:
    """Errors name a parameter but never repeat its content, so that a caller may log them."""
    with pytest.raises(Refusal) as refused:
        check_message(text("canary" * 1000))
    assert "canary" not in str(refused.value.envelope())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"messaging_product": "whatsapp", "status": "read", "message_id": WAMID}, None),
        (
            {
                "messaging_product": "whatsapp",
                "status": "read",
                "message_id": WAMID,
                "typing_indicator": {"type": "text"},
            },
            None,
        ),
        ({"messaging_product": "whatsapp", "status": "seen", "message_id": WAMID}, 100),
        ({"messaging_product": "whatsapp", "status": "read"}, 131008),
        ({"status": "read", "message_id": WAMID}, 100),
        (
            {
                "messaging_product": "whatsapp",
                "status": "read",
                "message_id": WAMID,
                "typing_indicator": {"type": "audio"},
            },
            100,
        ),
    ],
)
def test_a_mark_as_read_has_one_shape(body: dict[str, Any], code: int | None) -> None:
    """A mark as read has the status `read` and a message id. It may have a typing indicator of type text."""
    if code is None:
        check_mark(body)
        return
    with pytest.raises(Refusal) as refused:
        check_mark(body)
    assert refused.value.code == code
