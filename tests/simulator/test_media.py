"""Tests media: upload, look-up, download, and files of users."""

from typing import Any

import httpx
import pytest

from .meta import NUMBER, USER, WABA, CallbackServer, Driver, code

pytestmark = pytest.mark.anyio
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 50


async def upload(simulator: Driver, content: bytes = PNG, kind: str = "image/png", **data: str) -> httpx.Response:
    """Uploads a file for the number."""
    return await simulator.graph(
        "POST",
        f"{NUMBER}/media",
        data={"messaging_product": "whatsapp", "type": kind} | data,
        files={"file": ("picture.png", content, kind)},
    )


async def test_an_upload_can_be_looked_up_fetched_sent_and_deleted(simulator: Driver) -> None:
    """An upload can be looked up, fetched, sent and deleted. Its URL needs the token and is valid for five minutes."""
    media_id = (await upload(simulator)).json()["id"]
    node = (await simulator.graph("GET", media_id, params={"phone_number_id": NUMBER})).json()
    assert (node["mime_type"], node["file_size"], len(node["sha256"])) == ("image/png", len(PNG), 64)
    assert (await simulator.http.get(node["url"])).status_code == 403
    headers = {"authorization": "Bearer EAAtoken"}
    fetched = await simulator.http.get(node["url"], headers=headers)
    assert (fetched.content, fetched.headers["content-type"]) == (PNG, "image/png")
    await simulator.http.post("/_sim/clock", json={"advance_s": 301})
    assert (await simulator.http.get(node["url"], headers=headers)).status_code == 404
    await simulator.inbound()
    assert (
        code(
            await simulator.send(
                {"messaging_product": "whatsapp", "to": USER, "type": "image", "image": {"id": media_id}}
            )
        )
        == 0
    )
    assert code(await simulator.graph("DELETE", media_id)) == 0
    assert code(await simulator.graph("GET", media_id)) == 100


@pytest.mark.parametrize(
    ("content", "kind", "data", "expected"),
    [
        (PNG, "image/tiff", {}, 100),
        (b"", "image/png", {}, 131053),
        (b"x" * 5_242_881, "image/png", {}, 131053),
        (PNG, "image/png", {"messaging_product": "x"}, 100),
    ],
)
async def test_a_file_that_meta_does_not_accept_is_refused(
    simulator: Driver, content: bytes, kind: str, data: dict[str, Any], expected: int
) -> None:
    """A file that Meta does not accept is refused: a wrong type with code 100, a wrong size with 131053."""
    assert code(await upload(simulator, content, kind, **data)) == expected


async def test_media_belongs_to_the_number_it_was_uploaded_for(simulator: Driver) -> None:
    """Media belongs to the number for which it was uploaded. For another number it does not exist."""
    other = {"phone_number_id": "3002", "display_phone_number": "+39 02 5550999"}
    await simulator.http.put("/_sim/world", json={"accounts": [{"waba_id": WABA, "numbers": [other]}]})
    media_id = (await upload(simulator)).json()["id"]
    assert code(await simulator.graph("GET", media_id, params={"phone_number_id": "3002"})) == 100
    await simulator.inbound(number="3002")
    body = {"messaging_product": "whatsapp", "to": USER, "type": "image", "image": {"id": media_id}}
    assert code(await simulator.graph("POST", "3002/messages", json=body)) == 131009


async def test_a_users_picture_comes_with_an_id_that_can_be_fetched(
    simulator: Driver, callback: CallbackServer
) -> None:
    """A user's picture comes in the webhook with id, type, checksum and URL, as at Meta, and can be fetched."""
    await simulator.subscribe(callback.url)
    await simulator.inbound(text=None, message={"type": "image", "image": {"caption": "look"}})
    [message] = callback.items("messages")
    assert message["image"]["caption"] == "look"
    headers = {"authorization": "Bearer EAAtoken"}
    fetched = await simulator.http.get(message["image"]["url"], headers=headers)
    assert fetched.headers["content-type"] == message["image"]["mime_type"]
    assert code(await simulator.graph("GET", message["image"]["id"])) == 0


async def test_old_files_make_room_for_new_ones(simulator: Driver) -> None:
    """The oldest files are deleted when new ones need room, so that memory stays bounded."""
    simulator.simulation.world._media_bytes_max = 150
    ids = [(await upload(simulator)).json()["id"] for _ in range(4)]
    assert [media_id in simulator.simulation.world.media for media_id in ids] == [False, False, True, True]
