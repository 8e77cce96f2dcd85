"""Tests the webhook as a process with sockets: kills, restarts, drains, and clients that behave badly."""

import asyncio
import json
import random
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine

from waypost.dev.embedded import EmbeddedPostgres
from waypost.store.connection import database as store_database
from waypost.store.connection import schema

from . import posts
from .service import NEVER_S, Process, publish_number

pytestmark = pytest.mark.anyio

StartWebhook = Callable[..., Process]


async def deliver(client: httpx.AsyncClient, url: str, key: str) -> int:
    """Returns the status of one delivery, or 0 if there was no answer."""
    delivery = posts.delivery(posts.item(key, sender=f"1555{key[-4:]}"))
    try:
        return (await client.post(url + posts.PATH, content=delivery, headers=posts.signed(delivery))).status_code
    except httpx.TransportError:
        return 0


class Meta:
    """Delivers events again and again until each is answered with 200, as Meta does.

    `ledger` contains the keys of the events that were answered with 200.
    """

    def __init__(self, urls: list[str], keys: list[str], *, clients: int = 12) -> None:
        self.urls = urls
        self.ledger: set[str] = set()
        self._pending = list(keys)
        self._clients = clients

    async def run(self) -> None:
        """Delivers all events, and returns once each is acknowledged."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._clients):
                group.create_task(self._client())

    async def _client(self) -> None:
        async with httpx.AsyncClient(timeout=NEVER_S) as client:
            while self._pending:
                key = self._pending.pop()
                if await deliver(client, random.choice(self.urls), key) == 200:
                    self.ledger.add(key)
                else:
                    self._pending.insert(0, key)
                    await asyncio.sleep(0.02)


@pytest.mark.fault("D1")
async def test_five_times_the_same_over_two_processes_is_one_row_each(
    database: Engine, database_url: str, start_webhook: StartWebhook
) -> None:
    """If each event is delivered five times to two processes, it is stored once and every arrival is counted.

    The deliveries are shuffled and arrive at the same time.
    """
    urls = [start_webhook(database_url).url for _ in range(2)]
    keys = [posts.wamid() for _ in range(100)]
    deliveries = keys * 5
    random.Random(7).shuffle(deliveries)
    async with httpx.AsyncClient(timeout=NEVER_S) as client:
        places = asyncio.Semaphore(20)

        async def one(number: int, key: str) -> int:
            async with places:
                return await deliver(client, urls[number % 2], key)

        statuses = await asyncio.gather(*(one(number, key) for number, key in enumerate(deliveries)))
    assert set(statuses) == {200}
    assert posts.stored(database) == dict.fromkeys(keys, "waiting")
    assert posts.counted(database) == {"received": 500, "duplicate": 400, "waiting": 100}


async def test_kill_9_under_load_loses_nothing_that_was_acknowledged(
    database: Engine,
    database_url: str,
    start_webhook: StartWebhook,
    eventually: Callable[..., Any],
) -> None:
    """The process is killed three times under load. Each event that got a 200 is in the database once."""
    process = start_webhook(database_url)
    port = int(process.url.rsplit(":", 1)[1])
    keys = [posts.wamid() for _ in range(1_500)]
    meta = Meta([process.url], keys)
    load = asyncio.create_task(meta.run())
    for acknowledged in (200, 600, 1_000):
        await eventually(lambda enough=acknowledged: len(meta.ledger) >= enough)
        process.kill()
        process = await asyncio.to_thread(start_webhook, database_url, port=port)
    await load
    stored = posts.stored(database)
    assert [key for key in meta.ledger if key not in stored] == []
    assert stored == dict.fromkeys(keys, "waiting")
    counts = posts.counted(database)
    assert counts["received"] == counts["waiting"] + counts.get("duplicate", 0)


@pytest.fixture
def fragile(own_postgres: EmbeddedPostgres) -> Iterator[Engine]:
    """Yields a migrated database on a server that the test may stop and kill."""
    engine = store_database.connect(own_postgres.url, application="waypost-tests")
    schema.migrate(engine)
    engine.dispose()  # its connections would not survive what the test does to the server
    yield engine
    engine.dispose()


@pytest.mark.fault("S6")
@pytest.mark.parametrize("end", [EmbeddedPostgres.stop, EmbeddedPostgres.kill], ids=["stopped", "killed"])
async def test_while_the_database_is_away_deliveries_are_refused_and_none_is_lost(
    fragile: Engine,
    own_postgres: EmbeddedPostgres,
    start_webhook: StartWebhook,
    eventually: Callable[..., Any],
    end: Callable[[EmbeddedPostgres], None],
) -> None:
    """While the database is away, the webhook answers 503. It is alive but not ready.

    Afterwards it answers 200 again, and every acknowledged event is stored.
    """
    process = start_webhook(own_postgres.url)
    meta = Meta([process.url], [posts.wamid() for _ in range(800)])
    load = asyncio.create_task(meta.run())
    await eventually(lambda: len(meta.ledger) > 200)
    await asyncio.to_thread(end, own_postgres)
    async with httpx.AsyncClient(timeout=NEVER_S) as client:
        assert await deliver(client, process.url, "wamid.refused") == 503
    assert process.probe("/readyz") == 503
    assert process.probe("/healthz") == 200
    await asyncio.to_thread(own_postgres.start)
    await load
    await eventually(lambda: process.probe("/readyz") == 200)
    stored = posts.stored(fragile)
    assert [key for key in meta.ledger if key not in stored] == []


@pytest.mark.fault("X2")
async def test_a_secret_and_a_token_rotate_without_a_restart(
    database_url: str, registry_dir: Path, start_webhook: StartWebhook, eventually: Callable[..., Any]
) -> None:
    """A secret and a token are rotated without a restart.

    After the registry's files are rewritten, the new secret and token are accepted and the oldest ones refused.
    """
    process = start_webhook(database_url)

    def status(secret: str) -> int:
        delivery = posts.delivery(posts.item(posts.wamid()))
        headers = posts.signed(delivery, secret)
        return httpx.post(process.url + posts.PATH, content=delivery, headers=headers, timeout=NEVER_S).status_code

    def handshake(token: str) -> int:
        query = {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": token}
        return httpx.get(process.url + posts.PATH, params=query, timeout=NEVER_S).status_code

    publish_number(registry_dir, secrets=("newest", posts.SECRET), tokens=("Newest", posts.TOKEN))
    await eventually(lambda: status("newest") == 200)
    assert status(posts.SECRET) == 200
    assert status(posts.PREVIOUS_SECRET) in {400, 429}
    assert [handshake("Newest"), handshake(posts.TOKEN), handshake(posts.PREVIOUS_TOKEN)] == [200, 200, 403]


def half_a_delivery(url: str, key: str) -> tuple[socket.socket, bytes]:
    """Sends a delivery without its last byte, and returns the connection and that byte."""
    delivery = posts.delivery(posts.item(key))
    lines = [f"POST {posts.PATH} HTTP/1.1", "host: webhook", f"content-length: {len(delivery)}"]
    lines += [f"{name}: {value}" for name, value in posts.signed(delivery).items()]
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=NEVER_S)
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + delivery[:-1])
    return connection, delivery[-1:]


def answer(connection: socket.socket) -> bytes:
    """Returns the bytes that arrive until the server closes the connection."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


@pytest.mark.fault("P4")
async def test_sigterm_finishes_what_is_in_flight_and_takes_nothing_new(
    database: Engine, database_url: str, start_webhook: StartWebhook, eventually: Callable[..., Any]
) -> None:
    """After SIGTERM a delivery that has begun is stored and answered, and no new one is accepted.

    Then the process ends by itself with status 0.
    """
    process = start_webhook(database_url)
    connection, rest = half_a_delivery(process.url, "wamid.inflight")
    with connection:
        process.terminate()

        def refused() -> bool:
            try:
                httpx.get(process.url, timeout=NEVER_S)
            except httpx.ConnectError:
                return True
            except httpx.TransportError:
                return False
            return False

        await eventually(refused)
        assert await asyncio.to_thread(process.probe, "/readyz") == 503
        connection.sendall(rest)
        assert (await asyncio.to_thread(answer, connection)).startswith(b"HTTP/1.1 200 ")
    assert await asyncio.to_thread(process.popen.wait) == 0
    assert posts.stored(database) == {"wamid.inflight": "waiting"}


async def test_redis_is_not_missed(database: Engine, database_url: str, start_webhook: StartWebhook) -> None:
    """Deliveries are acknowledged without Redis. No webhook process in these tests has a Redis server."""
    process = start_webhook(database_url)
    async with httpx.AsyncClient(timeout=NEVER_S) as client:
        assert await deliver(client, process.url, "wamid.a") == 200
    assert process.probe("/readyz") == 200


def test_each_signed_delivery_is_one_root_span_and_one_for_its_commit_and_they_say_nothing_private(
    database_url: str, tmp_path: Path, start_webhook: StartWebhook
) -> None:
    """Each signed delivery has a root span and a span for its commit, which contain nothing private.

    Later spans of the event belong to the same trace. Neither the trace nor the log contains the query or the body.
    """
    process = start_webhook(database_url, WAYPOST_TRACE_DIR=str(tmp_path / "traces"))
    delivery = posts.delivery(posts.item("wamid.CANARY", sender="15557654321", body="CANARY text"))
    headers = {**posts.signed(delivery), "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    with httpx.Client(timeout=NEVER_S) as client:
        client.post(process.url + posts.PATH + "?q=CANARY", content=delivery, headers=headers)
        client.post(process.url + posts.PATH, content=delivery, headers={"x-hub-signature-256": "CANARY"})
        client.get(process.url + posts.PATH, params={"hub.verify_token": "CANARY", "hub.mode": "subscribe"})
        metrics = client.get(f"{process.probes}/metrics").text
    process.terminate()
    process.popen.wait()
    written = "".join(file.read_text() for file in (tmp_path / "traces").iterdir())
    span, *others = sorted(map(json.loads, written.splitlines()), key=lambda each: str(each["parent_id"] or ""))
    assert [each["parent_id"] for each in (span, *others)] == [None, span["span_id"]]
    assert "a" * 32 not in written
    assert (span["name"], span["kind"]) == ("POST /webhooks/{namespace}/{name}", "SERVER")
    attributes = span["attributes"]
    assert (attributes["http.response.status_code"], attributes["waypost.events"]) == (200, 1)
    everything = written + metrics + "".join(log.read_text() for log in tmp_path.glob("webhook-*.log"))
    assert [secret for secret in ("CANARY", "15557654321", posts.SECRET, posts.TOKEN) if secret in everything] == []
