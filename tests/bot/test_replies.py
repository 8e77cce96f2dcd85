"""Messages of a script have the form that Meta expects."""

from collections.abc import Callable
from typing import Any

import pytest

from waypost.bot import Reply

Talk = Callable[..., Any]

MESSAGES = {
    "'Hello {{profile_name|friend}}'": {"type": "text", "text": {"body": "Hello Ann", "preview_url": False}},
    "{text: 'See https://x.example', preview: true}": {
        "type": "text",
        "text": {"body": "See https://x.example", "preview_url": True},
    },
    "{text: Go?, header: H, footer: 'F {{message}}', buttons: {a: Go}}": {
        "type": "interactive",
        "interactive": {
            "type": "button",
            "header": {"type": "text", "text": "H"},
            "body": {"text": "Go?"},
            "footer": {"text": "F a"},
            "action": {"buttons": [{"type": "reply", "reply": {"id": "a", "title": "Go"}}]},
        },
    },
    "{text: Pick, list: {button: Open, sections: [{title: S, rows: {a: {title: A, description: D}}}]}}": {
        "type": "interactive",
        "interactive": {
            "type": "list",
            "body": {"text": "Pick"},
            "action": {
                "button": "Open",
                "sections": [{"title": "S", "rows": [{"id": "a", "title": "A", "description": "D"}]}],
            },
        },
    },
    "{text: Track, link: {title: Open, url: 'https://x.example/t?q={{profile_name}}'}}": {
        "type": "interactive",
        "interactive": {
            "type": "cta_url",
            "body": {"text": "Track"},
            "action": {"name": "cta_url", "parameters": {"display_text": "Open", "url": "https://x.example/t?q=Ann"}},
        },
    },
    "{image: 'https://x.example/a.png', caption: 'For {{profile_name|you}}'}": {
        "type": "image",
        "image": {"link": "https://x.example/a.png", "caption": "For Ann"},
    },
    "{document: 'https://x.example/a.pdf', filename: a.pdf}": {
        "type": "document",
        "document": {"link": "https://x.example/a.pdf", "filename": "a.pdf"},
    },
    "{audio: 'https://x.example/a.ogg'}": {"type": "audio", "audio": {"link": "https://x.example/a.ogg"}},
    "{video: 'https://x.example/a.mp4'}": {"type": "video", "video": {"link": "https://x.example/a.mp4"}},
    "{sticker: 'https://x.example/a.webp'}": {"type": "sticker", "sticker": {"link": "https://x.example/a.webp"}},
    "{location: {latitude: 41.9, longitude: 12.5, name: Shop}}": {
        "type": "location",
        "location": {"latitude": 41.9, "longitude": 12.5, "name": "Shop"},
    },
    "{template: {name: news, language: it, parameters: ['{{profile_name|you}}']}}": {
        "type": "template",
        "template": {
            "name": "news",
            "language": {"code": "it"},
            "components": [{"type": "body", "parameters": [{"type": "text", "text": "Ann"}]}],
        },
    },
    "{template: {name: news, language: it, parameters: {who: Ann}}}": {
        "type": "template",
        "template": {
            "name": "news",
            "language": {"code": "it"},
            "components": [{"type": "body", "parameters": [{"type": "text", "parameter_name": "who", "text": "Ann"}]}],
        },
    },
}


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_of_a_script_has_the_form_that_meta_expects(talk: Talk, message: str) -> None:
    """Each kind of message in a script has the form that Meta expects, with its placeholders filled."""
    conversation = talk(f"version: 1\nintents: {{a: {{keywords: [a], buttons: [a], reply: {message}}}}}\n")
    conversation.say("a")
    (effect,) = conversation.effects
    assert isinstance(effect, Reply)
    assert effect.message.payload() == MESSAGES[message]


def payload_for(talk: Talk, message: str, **event: Any) -> dict[str, Any]:
    conversation = talk(f"version: 1\nintents: {{a: {{types: [text], buttons: [a], reply: {message}}}}}\n")
    conversation.send(**event)
    payload: dict[str, Any] = conversation.effects[0].message.payload()
    return payload


def test_an_answer_in_an_address_is_percent_encoded(talk: Talk) -> None:
    """In a URL, the text of a contact is percent-encoded and cut.

    It cannot change other parts of the URL or make it too long.
    """
    message = "{text: Track, link: {title: Open, url: 'https://x.example/t?q={{message}}'}}"
    payload = payload_for(talk, message, text="a/../?&=#é " + "𝄞" * 4000)
    url = payload["interactive"]["action"]["parameters"]["url"]
    assert url == "https://x.example/t?q=a%2F..%2F%3F%26%3D%23%C3%A9%20" + "%F0%9D%84%9E" * 89


def test_a_template_parameter_is_written_on_one_line(talk: Talk) -> None:
    """A template parameter is written on one line, because Meta refuses line breaks, tabs and wide gaps there."""
    message = "{template: {name: news, language: it, parameters: ['You wrote: {{message}}']}}"
    payload = payload_for(talk, message, text="a\n\n\tb      c")
    assert payload["template"]["components"][0]["parameters"][0]["text"] == "You wrote: a b c"


@pytest.mark.parametrize(
    ("message", "path", "longest"),
    [
        ("'{{message}}.'", ("text", "body"), 4096),
        ("{text: '{{message}}.', buttons: {a: A}}", ("interactive", "body", "text"), 1024),
        ("{text: A, header: '{{message}}.', buttons: {a: A}}", ("interactive", "header", "text"), 60),
        ("{text: A, footer: '{{message}}.', buttons: {a: A}}", ("interactive", "footer", "text"), 60),
        ("{text: '{{message}}.', list: {button: B, rows: {a: A}}}", ("interactive", "body", "text"), 4096),
        ("{image: 'https://x.example/a.png', caption: '{{message}}.'}", ("image", "caption"), 1024),
    ],
)
def test_inserted_values_are_cut_at_metas_limit(talk: Talk, message: str, path: tuple[str, ...], longest: int) -> None:
    """Inserted values are cut at the limit that Meta sets for the field."""
    value: Any = payload_for(talk, message, text="x" * 10_000)
    for key in path:
        value = value[key]
    assert value == "x" * (longest - 1) + "…"
