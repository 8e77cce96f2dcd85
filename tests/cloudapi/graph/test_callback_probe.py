"""The client checks a callback before it gives Meta the callback's address."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from waypost.cloudapi.graph.callback_probe import CallbackProbe

pytestmark = pytest.mark.anyio
TOKEN = "canary-verify-token"


@contextlib.asynccontextmanager
async def server(answer: bytes | None) -> AsyncIterator[str]:
    """Yields the URL of a server that gives this response. If `answer` is None, the server never responds.

    The word CHALLENGE in the response is replaced by the challenge of the request.
    """

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
            pass  # Some of these responses make the client close the connection.
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
    ("answer", "text"),
    [
        (OK + b"CHALLENGE", None),
        (OK + b"CHALLENGE\n", "the response is not the challenge"),
        (OK + b"x" * 100_000, "the response is not the challenge"),
        (b"HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n", "HTTP 404"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\n\r\n", "HTTP 302"),
        (b"", "no response (RemoteProtocolError)"),
    ],
)
async def test_only_the_bare_challenge_is_accepted(answer: bytes, text: str | None) -> None:
    """Only a response that is exactly the challenge is accepted, and a redirect is not followed.

    Meta judges in the same way.
    """
    async with server(answer) as url:
        assert await CallbackProbe(url).serves("/webhooks/team-a/support", TOKEN) == text


async def test_a_callback_that_never_responds_is_given_up() -> None:
    """The probe stops waiting for a callback that never responds, because the next check follows soon."""
    async with server(None) as url:
        text = await CallbackProbe(url, timeout_s=0.1).serves("/x", TOKEN)
    assert text is not None
    assert text.startswith("no response (")


async def test_an_unreachable_callback_is_reported_without_the_token() -> None:
    """The text about an unreachable callback does not contain the token. The text is shown in a condition."""
    text = await CallbackProbe("http://127.0.0.1:1").serves("/x", TOKEN)
    assert text == "no response (ConnectError)"
