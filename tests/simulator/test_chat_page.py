"""The chat page: nothing that was written by a bot or a user can become markup."""

import re
from pathlib import Path

import pytest

import waypost.simulator.page.chat
from waypost.simulator.world.ledger import Received

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
    """Scripts, styles and requests from here only, no framing."""
    answer = await simulator.http.get(path)
    assert answer.headers["content-type"].startswith(kind)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_script_never_writes_markup() -> None:
    """Text goes through textContent; no sink that parses HTML or code is in the file."""
    script = (FOLDER / "chat.js").read_text("utf-8")
    assert not re.findall(SINKS, script)
    assert "textContent" in script


def test_the_page_has_no_inline_code_or_style_and_loads_nothing_from_elsewhere() -> None:
    """What the policy forbids is not there to begin with."""
    page = (FOLDER / "chat.html").read_text("utf-8")
    assert not re.findall(r"\son\w+\s*=|\sstyle\s*=|<style|<script>|javascript:", page)
    assert not re.findall(r"(?:src|href)=\"(?!/_sim/)", page)
    assert "url(" not in (FOLDER / "chat.css").read_text("utf-8")


async def test_a_conversation_is_told_as_data(simulator: Driver, callback: CallbackServer) -> None:
    """Both sides in order, with status, text as written, and a content type that no browser renders."""
    await simulator.subscribe(callback.url)
    evil = "<img src=x onerror=alert(1)>"
    await simulator.inbound(text=evil, name=evil)
    await simulator.send(text={"body": evil})
    await until(lambda: len(callback.items("statuses")) == 3)
    answer = await simulator.http.get("/_sim/conversation", params={"number": NUMBER, "from": USER})
    assert answer.headers["content-type"] == "application/json"
    told = answer.json()
    assert [(one["from_user"], one["text"], one["status"]) for one in told["messages"]] == [
        (True, evil, "delivered"),
        (False, evil, "read"),
    ]
    [listed] = (await simulator.http.get("/_sim/conversations", params={"number": NUMBER})).json()["conversations"]
    assert (listed["name"], listed["phone"]) == (evil, "393331112223")


async def test_a_page_that_knows_the_latest_is_told_so_in_few_bytes(simulator: Driver) -> None:
    """Until something happens."""
    await simulator.inbound()
    query = {"number": NUMBER, "from": USER}
    version = (await simulator.http.get("/_sim/conversation", params=query)).json()["version"]
    again = await simulator.http.get("/_sim/conversation", params=query | {"version": version})
    assert again.json() == {"version": version, "unchanged": True}
    await simulator.inbound()
    assert "messages" in (await simulator.http.get("/_sim/conversation", params=query | {"version": version})).json()


async def test_the_page_shows_ticks_and_typing_of_the_business(simulator: Driver) -> None:
    """A user's message is one tick until a webhook took it, and read once it is marked; typing ends with the reply."""
    query = {"number": NUMBER, "from": USER}
    received = await simulator.inbound()
    told = (await simulator.http.get("/_sim/conversation", params=query)).json()
    assert (told["messages"][0]["status"], told["typing"]) == ("sent", False)
    body = {"messaging_product": "whatsapp", "status": "read", "message_id": received["wamid"]}
    await simulator.send(body, typing_indicator={"type": "text"})
    told = (await simulator.http.get("/_sim/conversation", params=query)).json()
    assert (told["messages"][0]["status"], told["typing"]) == ("read", True)
    await simulator.send()
    assert (await simulator.http.get("/_sim/conversation", params=query)).json()["typing"] is False


async def test_only_pictures_are_shown_and_other_files_are_downloads(simulator: Driver) -> None:
    """A file is never rendered as a page of the simulator."""
    for message, kind in (
        ({"type": "image", "image": {}}, "image/png"),
        ({"type": "image", "image": {"mime_type": "text/html"}}, "application/octet-stream"),
        ({"type": "image", "image": {"mime_type": "image/svg+xml"}}, "application/octet-stream"),
    ):
        answer = await simulator.inbound(text=None, message=message)
        received: Received = simulator.simulation.ledger.received[answer["wamid"]]
        shown = await simulator.http.get(f"/_sim/media/{received.message['image']['id']}")
        assert shown.headers["content-type"] == kind
        assert "sandbox" in shown.headers["content-security-policy"]
