"""Tests that nothing that a bot or a user wrote can become markup in the chat page."""

import re
from pathlib import Path

import pytest

import waypost.simulator.page.chat
from waypost.simulator.world.history import Received

from .meta import NUMBER, USER, CallbackServer, Driver, until

pytestmark = pytest.mark.anyio
FOLDER = Path(waypost.simulator.page.chat.__file__).parent
SINKS = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|DOMParser|setHTML"


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/_sim/chat.css", "text/css"), ("/_sim/chat.js", "text/javascript")]
)
async def test_the_page_comes_with_a_policy_that_forbids_foreign_and_inline_code(
    simulator: Driver, path: str, kind: str
) -> None:
    """The page's policy allows scripts, styles and requests of the simulator only. No page may frame it."""
    answer = await simulator.http.get(path)
    assert answer.headers["content-type"].startswith(kind)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_script_never_writes_markup() -> None:
    """The script writes text by `textContent` and never parses HTML or code."""
    script = (FOLDER / "chat.js").read_text("utf-8")
    assert not re.findall(SINKS, script)
    assert "textContent" in script


def test_the_page_has_no_inline_code_or_style_and_loads_nothing_from_elsewhere() -> None:
    """The page contains nothing that its policy forbids: no inline code or style, and nothing from elsewhere."""
    page = (FOLDER / "chat.html").read_text("utf-8")
    assert not re.findall(r"\son\w+\s*=|\sstyle\s*=|<style|<script>|javascript:", page)
    assert not re.findall(r"(?:src|href)=\"(?!/_sim/)", page)
    assert "url(" not in (FOLDER / "chat.css").read_text("utf-8")


async def test_a_conversation_is_returned_as_data(simulator: Driver, callback: CallbackServer) -> None:
    """A conversation is returned as JSON, so no browser renders it as markup.

    It contains the messages of both sides in order, with status and unchanged text.
    """
    await simulator.subscribe(callback.url)
    evil = "<img src=x onerror=alert(1)>"
    await simulator.inbound(text=evil, name=evil)
    await simulator.send(text={"body": evil})
    await until(lambda: len(callback.items("statuses")) == 3)
    answer = await simulator.http.get("/_sim/conversation", params={"number": NUMBER, "from": USER})
    assert answer.headers["content-type"] == "application/json"
    conversation = answer.json()
    assert [(one["from_user"], one["text"], one["status"]) for one in conversation["messages"]] == [
        (True, evil, "delivered"),
        (False, evil, "read"),
    ]
    [listed] = (await simulator.http.get("/_sim/conversations", params={"number": NUMBER})).json()["conversations"]
    assert (listed["name"], listed["phone"]) == (evil, "393331112223")


async def test_an_unchanged_conversation_is_not_sent_again(simulator: Driver) -> None:
    """An unchanged conversation is not sent again. Once something has happened, the page gets it again."""
    await simulator.inbound()
    query = {"number": NUMBER, "from": USER}
    version = (await simulator.http.get("/_sim/conversation", params=query)).json()["version"]
    again = await simulator.http.get("/_sim/conversation", params=query | {"version": version})
    assert again.json() == {"version": version, "unchanged": True}
    await simulator.inbound()
    assert "messages" in (await simulator.http.get("/_sim/conversation", params=query | {"version": version})).json()


async def test_a_conversation_has_the_state_of_ticks_and_typing(simulator: Driver) -> None:
    """A user's message is first `sent`. It becomes `delivered` when a webhook has accepted it.

    It becomes `read` when the business has marked it as read. A reply ends the typing state.
    """
    query = {"number": NUMBER, "from": USER}
    received = await simulator.inbound()
    conversation = (await simulator.http.get("/_sim/conversation", params=query)).json()
    assert (conversation["messages"][0]["status"], conversation["typing"]) == ("sent", False)
    body = {"messaging_product": "whatsapp", "status": "read", "message_id": received["wamid"]}
    await simulator.send(body, typing_indicator={"type": "text"})
    conversation = (await simulator.http.get("/_sim/conversation", params=query)).json()
    assert (conversation["messages"][0]["status"], conversation["typing"]) == ("read", True)
    await simulator.send()
    assert (await simulator.http.get("/_sim/conversation", params=query)).json()["typing"] is False


async def test_only_pictures_are_shown_and_other_files_are_downloaded(simulator: Driver) -> None:
    """Only pictures are shown. Other files are downloaded, so that no file is rendered as a page of the simulator."""
    for message, kind in (
        ({"type": "image", "image": {}}, "image/png"),
        ({"type": "image", "image": {"mime_type": "text/html"}}, "application/octet-stream"),
        ({"type": "image", "image": {"mime_type": "image/svg+xml"}}, "application/octet-stream"),
    ):
        answer = await simulator.inbound(text=None, message=message)
        received: Received = simulator.simulation.history.received[answer["wamid"]]
        shown = await simulator.http.get(f"/_sim/media/{received.message['image']['id']}")
        assert shown.headers["content-type"] == kind
        assert "sandbox" in shown.headers["content-security-policy"]
