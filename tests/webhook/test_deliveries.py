"""Tests how `POST` answers each delivery, and what is in the database afterwards."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from waypost.clients import Throttle
from waypost.store.connection import database as store_database
from waypost.store.inbox import lane_of
from waypost.webhook import body, deliveries

from . import posts
from .service import Webhook, serving

pytestmark = pytest.mark.anyio


async def test_a_signed_delivery_is_stored_and_answered_with_an_empty_200(webhook: Webhook, database: Engine) -> None:
    """A signed delivery is stored and answered with an empty 200. Meta counts every other status as a failure."""
    key = posts.wamid()
    response = await webhook.post(posts.delivery(posts.item(key)))
    assert (response.status_code, response.content) == (200, b"")
    assert posts.stored(database) == {key: "waiting"}


async def test_an_event_keeps_its_sender_its_time_and_the_bytes_of_its_item(webhook: Webhook, database: Engine) -> None:
    """An event keeps its sender, its time and the bytes of its item. The row alone is enough to handle it later."""
    item = posts.item(posts.wamid(), sender="15550007", body="caffè", at=1_700_000_000)
    await webhook.post(posts.delivery(item))
    with database.connect() as connection:
        row = connection.execute(
            text("SELECT kind, contact_key, lane, extract(epoch FROM occurred_at)::int AS at, payload FROM event")
        ).one()
    assert (row.kind, row.contact_key, row.at) == ("message", "15550007", 1_700_000_000)
    assert row.lane == lane_of(posts.NUMBER, "15550007")
    assert json.dumps(item).encode() in row.payload


async def test_the_lanes_of_new_events_are_woken_after_the_commit(webhook: Webhook) -> None:
    """After the commit, each lane with a new event is passed on to be woken."""
    await webhook.post(posts.delivery(posts.item(posts.wamid(), sender="15550009")))
    assert webhook.woken == {lane_of(posts.NUMBER, "15550009")}


async def test_no_lane_is_woken_for_a_redelivery(webhook: Webhook) -> None:
    """No lane is woken for a redelivery, because its events are in the inbox already."""
    delivery = posts.delivery(posts.item(posts.wamid()))
    await webhook.post(delivery)
    webhook.woken.clear()
    await webhook.post(delivery)
    assert webhook.woken == set()


@pytest.mark.parametrize("path", ["/webhooks/team-a/other", "/webhooks/apps/1", "/webhooks/team-a", "/"])
async def test_an_unknown_route_is_not_found(webhook: Webhook, path: str) -> None:
    """An unknown route gets 404, even with a right signature."""
    assert (await webhook.post(posts.delivery(), path=path)).status_code == 404


async def test_other_methods_are_not_allowed(webhook: Webhook) -> None:
    """Methods other than GET and POST are not allowed."""
    assert (await webhook.client.put(posts.PATH)).status_code == 405


@pytest.mark.fault("D6")
async def test_an_encoded_body_is_refused_without_being_read(webhook: Webhook, database: Engine) -> None:
    """An encoded body is refused without being read.

    No body is ever decompressed, so a decompression bomb is harmless.
    """
    packed = gzip.compress(posts.delivery(posts.item(posts.wamid())))
    headers = {**posts.signed(packed), "content-encoding": "gzip"}
    response = await webhook.client.post(posts.PATH, content=packed, headers=headers)
    assert response.status_code == 415
    assert posts.stored(database) == {}


async def test_a_body_that_says_it_is_too_large_is_refused(webhook: Webhook) -> None:
    """A body with a Content-Length above the limit gets 413 at once."""
    assert (await webhook.post(b" " * (body.LARGEST + 1))).status_code == 413


async def test_a_body_without_a_length_is_refused_once_it_grows_too_large(webhook: Webhook) -> None:
    """A body without a Content-Length gets 413 once it is too large. The rest is not read."""
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 64 * 1024
            yield b" " * (64 * 1024)

    response = await webhook.client.post(posts.PATH, content=endless(), headers={"x-hub-signature-256": "sha256="})
    assert response.status_code == 413
    assert sent <= body.LARGEST + 64 * 1024


async def test_a_body_of_three_megabytes_is_accepted(webhook: Webhook, database: Engine) -> None:
    """A body of three megabytes is accepted, because Meta's largest deliveries have that size."""
    items = [posts.item(posts.wamid(), body="x" * 30_000) for _ in range(100)]
    assert (await webhook.post(posts.delivery(*items))).status_code == 200
    assert len(posts.stored(database)) == 100


def _signatures() -> dict[str, dict[str, str]]:
    delivery = posts.delivery(posts.item("wamid.unsigned"))
    right = posts.signed(delivery)["x-hub-signature-256"]
    return {
        "missing": {},
        "empty": {"x-hub-signature-256": ""},
        "wrong": {"x-hub-signature-256": "sha256=" + "0" * 64},
        "short": {"x-hub-signature-256": right[:-1]},
        "upper case": {"x-hub-signature-256": right.upper()},
        "sha-1 only": {"x-hub-signature": right},
        "not ascii": {"x-hub-signature-256": "sha256=é"},
        "other secret": posts.signed(delivery, "another-tenants-secret"),
        "for other bytes": posts.signed(delivery + b" "),
    }


@pytest.mark.parametrize("headers", _signatures().values(), ids=_signatures().keys())
async def test_a_wrong_signature_is_answered_exactly_as_a_missing_one(
    webhook: Webhook, database: Engine, headers: dict[str, str]
) -> None:
    """A wrong signature and a missing one get the same answer with the status 400, and nothing is stored."""
    delivery = posts.delivery(posts.item("wamid.unsigned"))
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    response = await webhook.client.post(posts.PATH, content=delivery, headers=encoded)
    assert (response.status_code, response.content) == (400, b"signature missing or wrong\n")
    assert posts.stored(database) == {}


async def test_two_signatures_count_as_none(webhook: Webhook) -> None:
    """A delivery with two signatures is refused like one without a signature, even if one of them is right."""
    delivery = posts.delivery(posts.item(posts.wamid()))
    headers = [("x-hub-signature-256", "sha256=00"), *posts.signed(delivery).items()]
    assert (await webhook.client.post(posts.PATH, content=delivery, headers=headers)).status_code == 400


@pytest.mark.fault("X2")
async def test_the_previous_app_secret_is_still_accepted(webhook: Webhook, database: Engine) -> None:
    """A delivery that was signed with the previous app secret is still accepted after a rotation."""
    key = posts.wamid()
    response = await webhook.post(posts.delivery(posts.item(key)), secret=posts.PREVIOUS_SECRET)
    assert response.status_code == 200
    assert posts.stored(database) == {key: "waiting"}


def unreachable_database() -> Engine:
    """Returns an engine whose connections fail at once."""
    return store_database.connect("postgresql://nobody@/none?host=/nowhere", application="waypost-tests")


async def test_the_documented_order_of_checks_is_the_real_one(database: Engine, registry_dir: Path) -> None:
    """The webhook makes its checks in the documented order.

    A delivery with every fault gets the first answer. When its faults are removed one after the other, the other
    answers follow in this order.
    """
    order = (deliveries.__doc__ or "").split("\n\n")[1]
    documented = [int(status) for status in re.findall(r"\b\d{3}\b", order)]
    small, large = posts.delivery(posts.item(posts.wamid())), b" " * (body.LARGEST + 1)
    unsigned = {"x-hub-signature-256": "sha256=" + "0" * 64}
    encoded = {**unsigned, "content-encoding": "gzip"}
    now = [0.0]
    throttle = Throttle(limit=1, clock=lambda: now[0])
    async with serving(unreachable_database(), registry_dir, throttle=throttle) as webhook:

        async def status(path: str, content: bytes, headers: dict[str, str]) -> int:
            return (await webhook.client.post(path, content=content, headers=headers)).status_code

        await status(posts.PATH, small, unsigned)  # from now on the client has failed too often
        answers = [
            await status("/webhooks/team-a/unknown", large, encoded),
            await status(posts.PATH, large, encoded),
            await status(posts.PATH, large, unsigned),
            await status(posts.PATH, small, unsigned),
        ]
        now[0] += 61  # and from now on no longer
        answers += [
            await status(posts.PATH, small, unsigned),
            await status(posts.PATH, small, posts.signed(small)),
        ]
    async with serving(database, registry_dir) as webhook:
        answers.append((await webhook.post(small)).status_code)
    assert answers == documented
    assert answers == list(deliveries.ANSWERS)


async def test_a_delivery_that_cannot_be_committed_is_refused_with_a_time_to_retry(registry_dir: Path) -> None:
    """A delivery that cannot be committed gets 503 with a time to retry, so that Meta delivers it again.

    The webhook never answers 200 for an event that is not in the database.
    """
    async with serving(unreachable_database(), registry_dir) as webhook:
        response = await webhook.post(posts.delivery(posts.item(posts.wamid())))
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0


async def test_a_delivery_without_events_is_acknowledged(webhook: Webhook, database: Engine) -> None:
    """A delivery without events is acknowledged. It is valid, and there is nothing to store."""
    assert (await webhook.post(posts.envelope([]))).status_code == 200
    assert posts.stored(database) == {}


async def test_a_traceparent_from_outside_is_not_trusted(webhook: Webhook, database: Engine) -> None:
    """A traceparent from outside is ignored. Each delivery starts its own trace, so that no stranger can join it."""
    delivery = posts.delivery(posts.item(posts.wamid()))
    theirs = "0af7651916cd43dd8448eb211c80319c"
    headers = {**posts.signed(delivery), "traceparent": f"00-{theirs}-b7ad6b7169203331-01"}
    await webhook.client.post(posts.PATH, content=delivery, headers=headers)
    with database.connect() as connection:
        ours = connection.execute(text("SELECT traceparent FROM event")).scalar_one()
    assert ours.startswith("00-")
    assert theirs not in ours


@pytest.mark.fault("D4")
async def test_one_bad_item_of_a_thousand_does_not_affect_the_others(webhook: Webhook, database: Engine) -> None:
    """One bad item of a thousand does not affect the others: 999 events wait, and one is dead.

    The delivery is acknowledged.
    """
    items: list[object] = [posts.item(posts.wamid(), sender=f"1555{n:04d}") for n in range(999)]
    items.insert(500, "not a message")
    assert (await webhook.post(posts.delivery(*items))).status_code == 200
    counts = posts.counted(database)
    assert (counts["received"], counts["waiting"], counts["dead"]) == (1000, 999, 1)


async def test_an_item_that_is_in_a_body_twice_is_stored_once_and_counted_twice(
    webhook: Webhook, database: Engine
) -> None:
    """An item that is twice in one body is stored once and counted twice.

    `received` counts all items that arrived. `duplicate` counts those that were stored before, even in one body.
    """
    item = posts.item(posts.wamid())
    await webhook.post(posts.delivery(item, item))
    await webhook.post(posts.delivery(item))
    assert posts.counted(database) == {"received": 3, "duplicate": 2, "waiting": 1}


def _poison() -> dict[str, bytes]:
    def around(raw: bytes) -> bytes:
        return posts.delivery(posts.item("wamid.poison", body="@")).replace(b'"@"', raw)

    return {
        "NUL in a text": around(rb'"\u0000"'),
        "raw NUL": around(b'"\x00"'),
        "lone surrogate": around(rb'"\ud800"'),
        "invalid UTF-8": around(b'"\xff\xfe"'),
        "NaN": around(b"NaN"),
        "infinity": around(b"1e999"),
        "integer of 5,000 digits": around(b"9" * 5000),
        "depth 100,000": around(b"[" * 100_000 + b"]" * 100_000),
        "100,000 keys": around(b"{" + b",".join(b'"%d":0' % n for n in range(100_000)) + b"}"),
        "duplicate keys": around(b'"a","text":{"body":"b"}'),
        "byte order mark": b"\xef\xbb\xbf" + posts.delivery(posts.item("wamid.poison")),
        "cut off": posts.delivery(posts.item("wamid.poison"))[:-9],
        "nothing": b"",
        "no object": b"[]",
        "no JSON": b"hello",
        "NUL in the id": posts.delivery(posts.item("wamid.\0")),
        "surrogate in the id": posts.delivery(posts.item("wamid.\ud800")),
        "id of 100,000 characters": posts.delivery(posts.item("w" * 100_000)),
        "NUL in the sender": posts.delivery(posts.item("wamid.poison", sender="\0")),
        "sender of 100,000 characters": posts.delivery(posts.item("wamid.poison", sender="1" * 100_000)),
        "NUL in the number": posts.delivery(posts.item("wamid.poison"), number="\0"),
        "number of 100,000 characters": posts.delivery(posts.item("wamid.poison"), number="1" * 100_000),
        "time before all time": posts.delivery(posts.item("wamid.poison", at=-(10**30))),
        "time after all time": posts.delivery(posts.item("wamid.poison", at=10**30)),
        "a new field": posts.envelope([{"field": "unheard_of", "value": {"metadata": {}}}]),
    }


@pytest.mark.fault("D7")
@pytest.mark.parametrize("delivery", _poison().values(), ids=_poison().keys())
async def test_signed_poison_is_acknowledged_and_stored(webhook: Webhook, database: Engine, delivery: bytes) -> None:
    """A signed delivery that cannot be processed is acknowledged, because Meta would repeat it for seven days.

    Its bytes are stored, and other deliveries are not affected.
    """
    assert (await webhook.post(delivery)).status_code == 200
    assert (await webhook.post(posts.delivery(posts.item(posts.wamid())))).status_code == 200
    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM event")).scalar_one() >= 2


@pytest.mark.fault("D7")
@pytest.mark.parametrize("delivery", _poison().values(), ids=_poison().keys())
async def test_unsigned_poison_is_refused_and_leaves_nothing(
    webhook: Webhook, database: Engine, delivery: bytes
) -> None:
    """A delivery with a wrong signature gets 400 whatever it contains, because it is never parsed."""
    assert (await webhook.post(delivery, secret="wrong")).status_code == 400
    assert posts.stored(database) == {}
