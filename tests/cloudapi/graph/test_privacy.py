"""Calls leave no token, secret, number or text in logs, traces or errors, even if they fail."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from waypost.cloudapi.graph.client import Credentials, File, GraphClient, Override
from waypost.cloudapi.graph.errors import GraphError, GraphRefused
from waypost.cloudapi.graph.proof import appsecret_proof
from waypost.telemetry import spanfile, tracing

from .conftest import NUMBER, Meta, Sockets, read_request, reset

pytestmark = pytest.mark.anyio

TOKEN = "EAAcanaryTokenOfTheNumber"
SECRET = "canary-app-secret-0123"
INSPECTED = "EAAcanaryTokenThatIsInspected"
VERIFY = "canaryVerifyToken0123456789"
PIN = "918273"
PHONE = "16505550199"
TEXT = "canary words of a person"
PROOF = appsecret_proof(TOKEN, SECRET)
CANARIES = (TOKEN, SECRET, PROOF, INSPECTED, VERIFY, PIN, PHONE, TEXT)
CREDENTIALS = Credentials(TOKEN, PROOF)
MESSAGE = {"messaging_product": "whatsapp", "to": f"+{PHONE}", "type": "text", "text": {"body": TEXT}}

CALLS: dict[str, Callable[[GraphClient], Awaitable[object]]] = {
    "send": lambda g: g.send(CREDENTIALS, NUMBER, MESSAGE),
    "mark read": lambda g: g.mark_read(CREDENTIALS, NUMBER, f"wamid.{PHONE}"),
    "debug token": lambda g: g.debug_token(CREDENTIALS, INSPECTED),
    "refresh": lambda g: g.refresh_token("1", SECRET, INSPECTED),
    "revoke": lambda g: g.revoke_token("1", SECRET, INSPECTED, with_token=TOKEN),
    "override": lambda g: g.subscribe_app(CREDENTIALS, "2", Override("https://a.example/w", VERIFY)),
    "register": lambda g: g.register(CREDENTIALS, NUMBER, pin=PIN),
    "upload": lambda g: g.upload_media(CREDENTIALS, NUMBER, File("a.txt", TEXT.encode(), "text/plain")),
    "download": lambda g: g.download_media(CREDENTIALS, f"https://lookaside.fbsbx.com/?mid={PHONE}", lambda _: None),
}


def quoting(request: httpx.Request) -> httpx.Response:
    """Returns a refusal that repeats the whole request in all of its texts."""
    whole = f"{request.url} {request.headers.get('authorization', '')} {request.content.decode('latin-1')}"
    error = {
        "message": f"Malformed access token: {whole}",
        "error_user_title": whole,
        "error_user_msg": whole,
        "error_data": {"details": whole},
        "fbtrace_id": whole,
        "type": whole,
        "code": 100,
    }
    return httpx.Response(400, json={"error": error})


@pytest.fixture
def trace_dir(tmp_path: Path) -> Iterator[Path]:
    """Yields a folder that receives all spans of the test."""
    configured = tracing.configure("test", tmp_path)
    yield tmp_path
    configured.shutdown()
    tracing.configure("test", None)


@pytest.fixture
async def sockets_graph(sockets: Sockets) -> AsyncIterator[GraphClient]:
    """Yields a client of a server that resets each connection after it has read the request."""

    async def resetting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        reset(writer)

    async with GraphClient(await sockets.listen(resetting), "v26.0") as client:
        yield client


def spans(trace_dir: Path) -> str:
    """Returns all spans that were traced, as text."""
    tracing.tracer()
    return "".join(path.read_text() for path in trace_dir.iterdir())


async def outcome(graph: GraphClient, name: str) -> str:
    """Makes a call that fails. Returns its error in every form in which an error can be written."""
    with pytest.raises(GraphError) as raised:
        await CALLS[name](graph)
    error = raised.value
    return "\n".join([repr(error), str(vars(error)), *traceback.format_exception(error)])


def found(text: str) -> list[str]:
    """Returns the canaries in `text`."""
    return [canary for canary in CANARIES if canary in text]


@pytest.mark.parametrize("name", CALLS)
async def test_an_error_of_meta_that_quotes_the_request_is_not_passed_on(
    graph: GraphClient, meta: Meta, name: str
) -> None:
    """If an error of Meta quotes the request, our error does not contain the quotation.

    Meta quotes tokens ("Malformed access token …") and parameters.
    """
    meta.answer = quoting
    assert found(await outcome(graph, name)) == []


@pytest.mark.parametrize("name", [name for name in CALLS if name != "download"])
async def test_an_error_of_the_network_reveals_nothing_of_the_request(sockets_graph: GraphClient, name: str) -> None:
    """A network error reveals nothing of the request.

    httpx attaches the request to its errors, with URL and headers. Our errors do not show the request.
    """
    assert found(await outcome(sockets_graph, name)) == []


@pytest.mark.parametrize("name", CALLS)
async def test_nothing_is_logged_of_a_call_at_any_level(
    graph: GraphClient, meta: Meta, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The logs of a call contain no secret at any log level.

    httpx logs each URL at INFO, and some URLs have a token in their query.
    """
    caplog.set_level(logging.DEBUG)
    meta.answer = quoting
    await outcome(graph, name)
    assert found(caplog.text) == []


async def test_nothing_is_logged_of_a_call_over_a_real_connection(
    sockets_graph: GraphClient, caplog: pytest.LogCaptureFixture
) -> None:
    """httpx and httpcore log nothing about a call over a real connection.

    By default, httpcore logs each step of a connection at DEBUG.
    """
    caplog.set_level(logging.DEBUG)
    await outcome(sockets_graph, "debug token")
    assert [record.name for record in caplog.records if record.name.startswith("http")] == []


@pytest.mark.parametrize("name", CALLS)
async def test_the_span_of_a_call_holds_no_secret(graph: GraphClient, meta: Meta, trace_dir: Path, name: str) -> None:
    """The span of a call contains no secret. OpenTelemetry's own instrumentation would export the whole URL."""
    meta.answer = quoting
    await outcome(graph, name)
    tracing.configure("test", None)
    assert found(spans(trace_dir)) == []


async def test_the_span_of_a_call_is_named_by_its_template(graph: GraphClient, trace_dir: Path) -> None:
    """The span of a call is named by the method and the template of the path.

    This name, the number's id and the status are enough to read a trace.
    """
    configured = tracing.configure("test", trace_dir)
    await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    configured.shutdown()
    traced = spans(trace_dir)
    assert '"POST /{version}/{phone_number_id}/messages"' in traced
    assert NUMBER in traced


async def test_the_span_of_a_refusal_has_code_and_verdict(graph: GraphClient, meta: Meta, trace_dir: Path) -> None:
    """The span of a refusal has code and verdict, because these explain a failed trace."""
    configured = tracing.configure("test", trace_dir)
    meta.replies(400, {"error": {"code": 131056}})
    with pytest.raises(GraphRefused):
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    configured.shutdown()
    traced = spans(trace_dir)
    assert "131056" in traced
    assert "pause-pair" in traced


async def test_a_cancelled_call_is_an_error_in_its_trace(sockets: Sockets, trace_dir: Path) -> None:
    """A cancelled call is an error in its trace.

    The sender's deadline cancels a call. A span that ended normally would hide this.
    """
    configured = tracing.configure("test", trace_dir)
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        asked.set()
        await reader.read()

    async with GraphClient(await sockets.listen(silent), "v26.0") as graph:
        call = asyncio.ensure_future(graph.send(CREDENTIALS, NUMBER, MESSAGE))
        await asked.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    configured.shutdown()
    (span,) = spanfile.read(trace_dir)
    assert (span["status"], span["attributes"]["error.type"]) == ("ERROR", "cancelled")  # type: ignore[index]  # nested JSON


@pytest.mark.parametrize("value", [CREDENTIALS, Override("https://a.example/w", VERIFY)])
def test_an_object_with_a_secret_does_not_show_it(value: object) -> None:
    """The `repr` of an object with a secret does not show the secret. A `repr` ends up in logs sooner or later."""
    assert found(repr(value)) == []


async def test_an_issued_token_is_not_shown(graph: GraphClient, meta: Meta) -> None:
    """The `repr` of a token that Meta returns does not show the token."""
    meta.answer = lambda _request: httpx.Response(200, json={"access_token": INSPECTED})
    assert found(repr(await graph.refresh_token("1", SECRET, "EAAold"))) == []
