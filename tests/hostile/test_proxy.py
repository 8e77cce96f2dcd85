"""G1, G4: whatever stands before the Graph API and answers in its place, no message fails for it or is sent twice."""

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import Engine

from waypost.cloudapi.graph.client import Credentials, GraphClient
from waypost.cloudapi.graph.errors import GraphError, GraphOutcomeUnknown, GraphUnreachable
from waypost.contracts.registry import Number
from waypost.sending.limits import RateLimits
from waypost.sending.sender import Sender
from waypost.store import numbers as stored_numbers
from waypost.store.connection.database import connect

from ..sending.conftest import Tables, number
from .gateway import Behaviour, Gateway, accept, drip, hang, page, raw

pytestmark = pytest.mark.anyio

CREDENTIALS = Credentials("EAAtoken1234567890")
NUMBER = "106540352242922"
MESSAGE = {"messaging_product": "whatsapp", "to": "+16505551234", "type": "text", "text": {"body": "Hello"}}
REPLIES = 60

DEADLINE_S = 6.0
"""Deadline of a call that must run out: long enough for a busy machine to connect and to send the request first."""

Eventually = Callable[..., Awaitable[object]]


@pytest.fixture
async def gateway(anyio_backend: str) -> AsyncIterator[Gateway]:
    """Yields a gateway that is closed after the test."""
    async with Gateway() as gateway:
        yield gateway


@pytest.fixture
def proxied(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """Returns a gateway that is the proxy of every client made in this test, as in a pod with HTTPS_PROXY."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, gateway.url)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return gateway


async def error_of(url: str) -> GraphError:
    """Sends a message and returns the error of the call."""
    async with GraphClient(url, "v26.0", timeout_s=DEADLINE_S) as graph:
        with pytest.raises(GraphError) as raised:
            await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    return raised.value


@pytest.mark.parametrize(
    "behaviour",
    [
        page(403), page(407, headers="Proxy-Authenticate: Basic\r\n"), page(429), page(500), page(502), page(503),
        page(504), page(302, headers="Location: https://login.example/\r\n"), raw(b""), raw(b"HTTP/1.1 200"),
        raw(b"SMTP ready\r\n"), raw(b"HTTP/1.1 200 Connection established\r\n\r\n"),
        raw(b"HTTP/1.1 200 Connection established\r\n\r\nnot TLS"), hang,
    ],
    ids=[
        "403", "407", "429", "500", "502", "503", "504", "302", "cut", "cut in the answer", "garbage",
        "cut after the tunnel", "garbage after the tunnel", "hang",
    ],
)  # fmt: skip
async def test_a_proxy_that_makes_no_tunnel_means_that_nothing_was_sent(proxied: Gateway, behaviour: Behaviour) -> None:
    """Whatever a proxy does with a CONNECT, nothing of the message has left: the send may be repeated."""
    proxied.behaviour = behaviour
    assert isinstance(await error_of("https://graph.facebook.com"), GraphUnreachable)
    assert [request.split(b" ")[0] for request in proxied.requests] == [b"CONNECT"]


@pytest.mark.parametrize(
    ("behaviour", "error"),
    [
        (page(403), GraphUnreachable),
        (page(407, headers="Proxy-Authenticate: Basic\r\n"), GraphUnreachable),
        (page(502), GraphOutcomeUnknown),
        (page(503), GraphOutcomeUnknown),
        (page(200), GraphOutcomeUnknown),
        (raw(b""), GraphOutcomeUnknown),
        (hang, GraphOutcomeUnknown),
        (drip, GraphOutcomeUnknown),
    ],
    ids=["403", "407", "502", "503", "200 with a page", "cut", "hang", "one byte after the other"],
)
async def test_a_proxy_without_a_tunnel_has_seen_the_message(
    proxied: Gateway, behaviour: Behaviour, error: type[GraphError]
) -> None:
    """A proxy for http gets the message itself. Only its refusal proves that the message went no further."""
    proxied.behaviour = behaviour
    assert type(await error_of("http://graph.test")) is error


@pytest.mark.fault("G4")
@pytest.mark.parametrize(
    "behaviour",
    [
        hang,
        drip,
        page(200, "OK", body=gzip.compress(bytes(256 * 1024 * 1024), 1), headers="Content-Encoding: gzip\r\n"),
    ],
    ids=["hang", "one byte after the other", "a gzip bomb"],
)
async def test_an_answer_that_never_ends_is_given_up_at_its_deadline(
    gateway: Gateway, figure: Callable[..., None], behaviour: Behaviour
) -> None:
    """A hang and a trickle end at the deadline of the call; a bomb of gzip ends at 1 MB of its content."""
    gateway.behaviour = behaviour
    began = time.monotonic()
    assert isinstance(await error_of(gateway.url), GraphOutcomeUnknown)
    figure(f"a call with a deadline of {DEADLINE_S:g} s took", time.monotonic() - began, "s")


class Office:
    """A real sender with a real outbox, whose calls go to a gateway."""

    def __init__(self, tables: Tables, sender: Sender) -> None:
        self.tables = tables
        self.sender = sender

    def reply(self, number_id: str, said: list[str]) -> None:
        """Queues replies of a number, each in a conversation of its own."""
        conversations = []
        for text in said:
            conversations.append(self.tables.conversation(number_id))
            self.tables.queue(conversations[-1], text)
        self.sender.wake(conversations)


@pytest.fixture
def office(
    database: Engine, database_url: str, gateway: Gateway
) -> Callable[..., contextlib.AbstractAsyncContextManager[Office]]:
    """Returns `office(numbers, url=…)`, a context in which a sender runs for these numbers."""

    @contextlib.asynccontextmanager
    async def office(
        *number_ids: str, url: str = "", timeout_s: float = 10, concurrency: int = 8
    ) -> AsyncIterator[Office]:
        entries: dict[str, Number] = {each: number(each) for each in number_ids}
        with database.begin() as connection:
            stored_numbers.record(connection, [(each, "team-a", f"n{each}", "1") for each in number_ids])
        engine = connect(database_url, application="hostile", pool_size=2)
        rates = connect(database_url, application="hostile-rates", pool_size=1)
        graph = GraphClient(url or gateway.url, "v26.0", timeout_s=timeout_s, connections=concurrency)
        sender = Sender(
            engine,
            graph,
            RateLimits(rates),
            entries.get,
            owner="hostile",
            concurrency=concurrency,
            sweep_interval_s=0.1,
            draw=lambda: 0.0,
        )
        running = asyncio.create_task(sender.run())
        try:
            yield Office(Tables(database), sender)
        finally:
            sender.stop()
            await asyncio.wait_for(running, 60)
            await graph.aclose()
            engine.dispose()
            rates.dispose()

    return office


OfficeOf = Callable[..., contextlib.AbstractAsyncContextManager[Office]]


@pytest.mark.fault("G1")
@pytest.mark.parametrize("status", [401, 403, 404, 407, 421, 425, 429])
async def test_no_reply_fails_for_the_page_of_a_proxy(
    proxied: Gateway, office: OfficeOf, eventually: Eventually, figure: Callable[..., None], status: int
) -> None:
    """A proxy answers with its own page for a while. Afterwards all 60 replies are sent, each once."""
    proxied.behaviour = page(status)
    said = [f"reply {n}" for n in range(REPLIES)]
    async with office(NUMBER, url="http://graph.test") as it:
        it.reply(NUMBER, said)
        await eventually(lambda: len(proxied.requests) >= 9, what="the tries of an outage")
        during = len(proxied.requests)
        assert set(it.tables.states()) <= {"queued", "sending"}
        proxied.behaviour = accept
        await eventually(lambda: set(it.tables.states()) == {"sent"}, what="all replies sent")
    assert proxied.accepted == dict.fromkeys(said, 1)
    figure(f"replies sent after an outage with {status}", REPLIES, f"of {REPLIES}")
    figure(f"calls during an outage with {status}", during, "calls")


@pytest.mark.fault("G1")
async def test_all_replies_are_sent_after_refused_connections(
    gateway: Gateway, office: OfficeOf, eventually: Eventually
) -> None:
    """Nothing listens for a while. Afterwards all replies are sent, each once."""
    said = [f"reply {n}" for n in range(REPLIES)]
    await gateway.close()
    async with office(NUMBER) as it:
        it.reply(NUMBER, said)
        tried = "SELECT count(*) FROM outbox WHERE attempts > 0"
        await eventually(lambda: it.tables.one(tried) >= 5, what="the tries of an outage")
        await gateway.open()
        await eventually(lambda: set(it.tables.states()) == {"sent"}, what="all replies sent")
    assert gateway.accepted == dict.fromkeys(said, 1)


@pytest.mark.fault("G1")
@pytest.mark.parametrize("status", [408, 500, 502, 503])
async def test_only_what_was_under_way_is_unknown_after_an_outage(
    gateway: Gateway, office: OfficeOf, eventually: Eventually, figure: Callable[..., None], status: int
) -> None:
    """A gateway answers without Graph's envelope for a while. What was not under way is sent afterwards, once.

    A reply that got such an answer may have been accepted before it, so it is unknown and not sent again.
    """
    gateway.behaviour = page(status)
    said = [f"reply {n}" for n in range(REPLIES)]
    async with office(NUMBER) as it:
        it.reply(NUMBER, said)
        await eventually(lambda: it.tables.states().count("unknown") >= 8, what="the tries of an outage")
        gateway.behaviour = accept
        await eventually(lambda: set(it.tables.states()) == {"sent", "unknown"}, what="all others sent")
        unknown = it.tables.states().count("unknown")
    # Each text was in one request only: with the gateway's page, or accepted.
    assert len(gateway.requests) == REPLIES
    assert unknown + gateway.accepted.total() == REPLIES
    assert unknown <= 8 + 8
    figure(f"unknown after an outage with {status}", unknown, f"of {REPLIES} replies")


@pytest.mark.fault("G4")
async def test_numbers_that_hang_do_not_hold_up_the_others(
    gateway: Gateway, office: OfficeOf, eventually: Eventually, figure: Callable[..., None]
) -> None:
    """With one number of ten hanging, the replies of the nine others are sent while it hangs."""
    numbers = [f"{n}06540352242922" for n in range(1, 11)]
    hanging = numbers[0]
    release = asyncio.Event()

    async def behave(it: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bool:
        if hanging.encode() in request.partition(b"\r\n")[0]:
            await release.wait()
        return await accept(it, reader, writer, request)

    gateway.behaviour = behave
    async with office(*numbers, timeout_s=60, concurrency=20) as it:
        it.reply(hanging, [f"hanging {n}" for n in range(50)])
        await eventually(lambda: len(gateway.requests) >= 10, what="calls that hang")
        began = time.monotonic()
        others = [f"reply {n}" for n in range(90)]
        for place, number_id in enumerate(numbers[1:]):
            it.reply(number_id, others[place * 10 : place * 10 + 10])
        await eventually(lambda: set(others) <= set(gateway.accepted), what="the others' replies")
        figure("90 replies of nine numbers beside one that hangs took", time.monotonic() - began, "s")
        assert not any(text.startswith("hanging") for text in gateway.accepted)
        release.set()
        await eventually(lambda: set(it.tables.states()) == {"sent"}, what="all replies sent")
    assert max(gateway.accepted.values()) == 1
