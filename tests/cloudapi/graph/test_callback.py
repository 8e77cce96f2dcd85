"""The look at a callback before Meta is told of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from waypost.cloudapi.graph.callback import CallbackProbe

pytestmark = pytest.mark.anyio
TOKEN = "canary-verify-token"


@contextlib.asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[str]:
    """Gives this answer, in which CHALLENGE stands for the challenge; None: never any."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
            if answer is None:
                await reader.read()  # until the client gives up
            else:
                challenge = line.partition(b"hub.challenge=")[2].partition(b"&")[0]
                writer.write(answer.replace(b"CHALLENGE", challenge))
                await writer.drain()
        except ConnectionError:
            pass  # it went while it was answered, which some of these answers make it do
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    handlers: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.create_task(handle(reader, writer)))

    made = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with made:
        yield f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}"
    await asyncio.gather(*handlers)


OK = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (OK + b"CHALLENGE", None),
        (OK + b"CHALLENGE\n", "another answer than the challenge"),
        (OK + b"x" * 100_000, "another answer than the challenge"),
        (b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n", "HTTP 404"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\n\r\n", "HTTP 302"),
        (b"", "no answer (RemoteProtocolError)"),
    ],
)
async def test_only_the_bare_challenge_will_do(answer: bytes, said: str | None) -> None:
    """As Meta judges it; a redirect is not followed."""
    async with server(answer) as url:
        assert await CallbackProbe(url).serves("/webhooks/team-a/support", TOKEN) == said


async def test_a_callback_that_never_answers_is_given_up() -> None:
    """The next look comes soon."""
    async with server(None) as url:
        said = await CallbackProbe(url, timeout_s=0.1).serves("/x", TOKEN)
    assert said is not None
    assert said.startswith("no answer (")


async def test_nobody_there_is_told_without_the_token() -> None:
    """What is said goes into a condition."""
    said = await CallbackProbe("http://127.0.0.1:1").serves("/x", TOKEN)
    assert said == "no answer (ConnectError)"
