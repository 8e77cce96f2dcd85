"""The only HTTP to Meta: connections shared by all numbers, bounded in time and size, traced without secrets.

The token travels in the `Authorization` header and nowhere else, except where Meta's own interface wants one as a
parameter (`debug_token`, refresh, revoke). Therefore no URL may be told to anyone: the span of a call carries the
template of its path only, errors carry neither URL nor cause, and httpx's own log of requests is off.
"""

import asyncio
import contextlib
import datetime
import logging
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Self

import httpx
import msgspec
from opentelemetry.trace import Span, SpanKind, StatusCode

from waypost.cloudapi.graph import answers
from waypost.cloudapi.graph.apps import AppCalls
from waypost.cloudapi.graph.business_accounts import AccountCalls
from waypost.cloudapi.graph.calls import Credentials, File, Override
from waypost.cloudapi.graph.connections import Connections
from waypost.cloudapi.graph.errors import GraphError, GraphOutcomeUnknown, GraphRefused, GraphUnreachable
from waypost.cloudapi.graph.media import MediaCalls
from waypost.cloudapi.graph.messaging import Accepted, MessageCalls
from waypost.cloudapi.graph.numbers import NumberCalls
from waypost.cloudapi.graph.template_calls import TemplateCalls
from waypost.telemetry import tracing

__all__ = ["Accepted", "Credentials", "File", "GraphClient", "Override"]

LARGEST_ANSWER = 1024 * 1024
"""Bytes of an answer after decompression; Graph's longest pages of templates stay well below."""

LONGEST_CONNECT_S = 5.0
"""Seconds that a call waits for a free connection, and again for a new one to be made."""

HEADERS = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "waypost"}

MEDIA_HOSTS = ("lookaside.fbsbx.com", ".fbcdn.net", ".whatsapp.net")
"""Hosts that media may come from, and that may see the token; a leading dot stands for any host below."""
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3

# httpx logs the whole URL of each request at INFO, with whatever token its query holds; httpcore logs headers at DEBUG.
for _library in ("httpx", "httpcore"):
    logging.getLogger(_library).setLevel(logging.WARNING)

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class _Progress:
    """How far a request got, told by httpcore's trace extension; without it no time-out is sure that nothing left."""

    def __init__(self, *, told: bool) -> None:
        self._told = told
        self._began = False

    async def observe(self, event: str, _info: object) -> None:
        if event.endswith("send_request_headers.started"):
            self._began = True

    @property
    def nothing_left(self) -> bool:
        """Certain that no byte of the request has left."""
        return self._told and not self._began


class GraphClient(MessageCalls, MediaCalls, TemplateCalls, NumberCalls, AccountCalls, AppCalls):
    """Calls to the Graph API. Safe for many concurrent calls of one event loop; close it with `aclose`.

    `timeout_s` is the deadline of one call, from taking a connection to the last byte. `connections` bounds the calls
    that are under way; one that finds none free for 5 s is `GraphUnreachable`. `transport` stands for the network in
    tests.

    Each call raises `GraphRefused`, `GraphUnreachable` or `GraphOutcomeUnknown`, and nothing else.
    """

    def __init__(
        self,
        base_url: str,
        version: str,
        *,
        timeout_s: float = 30,
        connections: int = 100,
        media_hosts: tuple[str, ...] = MEDIA_HOSTS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._media_hosts = media_hosts
        self._base = httpx.URL(base_url.rstrip("/"))
        self._version = version
        self._timeout_s = timeout_s
        self._tells_progress = transport is None or isinstance(transport, httpx.AsyncHTTPTransport)
        self._connections = Connections(connections, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        await self._connections.aclose()

    async def call(
        self,
        method: str,
        template: str,
        credentials: Credentials | None,
        *,
        ids: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        form: Mapping[str, str] | None = None,
        file: File | None = None,
        quotable: bool = True,
        secrets: tuple[str, ...] = (),
        timeout_s: float | None = None,
    ) -> object:
        """See `GraphCalls.call`. Public for calls of the Graph API that have no method of their own yet."""
        with self._span(method, "/{version}" + template, ids or {}) as span:
            try:
                url = f"{self._base}/{self._version}{_filled(template, ids or {})}"
                request = self._request(method, url, credentials, query=query or {}, body=body, form=form, file=file)
                if credentials is not None:
                    secrets = (*secrets, credentials.token, credentials.proof or "")
                async with self._answer(request, timeout_s or self._timeout_s) as response:
                    span.set_attribute("http.response.status_code", response.status_code)
                    content = await _bounded(response, LARGEST_ANSWER)
                return answers.read(
                    response.status_code,
                    response.headers,
                    content,
                    now=datetime.datetime.now(datetime.UTC),
                    quotable=quotable,
                    secrets=secrets,
                )
            except GraphError as error:
                _note(span, error)
                raise

    async def fetch(
        self,
        url: str,
        credentials: Credentials,
        write: Callable[[bytes], object],
        *,
        limit_bytes: int,
        timeout_s: float,
    ) -> int:
        """See `GraphCalls.fetch`; `media_hosts` and the host of the Graph API itself are asked, no other."""
        # The address of a media object is a secret of five minutes, so the span tells nothing of it.
        with self._span("GET", "/{media_url}", {}) as span:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._fetched(url, credentials, write, limit_bytes, timeout_s)
            except TimeoutError:
                failure: GraphError = _failure(f"no end of the media within {timeout_s:g} s", never_sent=False)
            except GraphError as error:
                failure = error
            _note(span, failure)
            raise failure from None

    async def _fetched(
        self, url: str, credentials: Credentials, write: Callable[[bytes], object], limit_bytes: int, timeout_s: float
    ) -> int:
        for _ in range(_MOST_REDIRECTS + 1):
            address = self._media_address(url)
            headers = {"authorization": f"Bearer {_checked(credentials.token)}", "accept-encoding": "identity"}
            request = httpx.Request("GET", address, headers=HEADERS | headers)
            async with self._answer(request, timeout_s) as response:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    url = str(address.join(response.headers["location"]))
                    continue
                if response.status_code == 200:
                    return await _written(response, write, limit_bytes)
                content = await _bounded(response, LARGEST_ANSWER)
            now = datetime.datetime.now(datetime.UTC)
            answers.read(response.status_code, response.headers, content, now=now, quotable=False)
            raise GraphOutcomeUnknown("the answer is no media", http_status=response.status_code)
        raise GraphRefused.by_us("the media address redirects too often")

    def _media_address(self, url: str) -> httpx.URL:
        try:
            address = httpx.URL(url)
        except httpx.InvalidURL:
            raise GraphRefused.by_us("not sent: the media address is not a URL") from None
        graph = (self._base.scheme, self._base.host, self._base.port)
        if (address.scheme, address.host, address.port) == graph:
            return address
        host = address.host.lower()
        of_meta = any(host.endswith(each) if each.startswith(".") else host == each for each in self._media_hosts)
        if address.scheme == "https" and address.port is None and of_meta:
            return address
        raise GraphRefused.by_us("not sent: the media address is not on one of Meta's hosts")

    def _request(
        self,
        method: str,
        url: str,
        credentials: Credentials | None,
        *,
        query: Mapping[str, str],
        body: Mapping[str, object] | None,
        form: Mapping[str, str] | None,
        file: File | None,
    ) -> httpx.Request:
        headers = {}
        if credentials is not None:
            headers["authorization"] = f"Bearer {_checked(credentials.token)}"
            if credentials.proof is not None:
                query = {**query, "appsecret_proof": credentials.proof}
        content = None
        if body is not None:
            headers["content-type"] = "application/json"
            content = _encoded(body)
        return httpx.Request(
            method,
            url,
            params=query or None,
            headers=HEADERS | headers,
            content=content,
            data=form,
            files=None if file is None else {"file": (file.name, file.content, file.mime_type)},
        )

    @contextlib.asynccontextmanager
    async def _answer(self, request: httpx.Request, timeout_s: float) -> AsyncIterator[httpx.Response]:
        """The answer, its body still to be read, all within `timeout_s`; failures become those of `errors.py`."""
        progress = _Progress(told=self._tells_progress)
        # Waiting for a connection and making one end before the whole deadline does: httpcore leaves the socket of a
        # TLS handshake open when it is cancelled, but not when it times out.
        wait_s = min(LONGEST_CONNECT_S, timeout_s / 2)
        timeouts = httpx.Timeout(timeout_s, connect=wait_s, pool=wait_s)
        request.extensions |= {"trace": progress.observe, "timeout": timeouts.as_dict()}
        try:
            async with asyncio.timeout(timeout_s), self._connections.one(wait_s) as connection:
                response = await connection.send(request, stream=True)
                try:
                    yield response
                finally:
                    await response.aclose()
        except TimeoutError:
            failure = _failure(f"no answer within {timeout_s:g} s", never_sent=progress.nothing_left)
        except httpx.HTTPError as error:
            never_sent = isinstance(error, _NEVER_SENT) or progress.nothing_left
            failure = _failure(type(error).__name__, never_sent=never_sent)
        else:
            return
        # The cause is left out: its request holds the URL and the token, and its message can quote a header.
        raise failure from None

    @contextlib.contextmanager
    def _span(self, method: str, template: str, ids: Mapping[str, str]) -> Iterator[Span]:
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "url.template": template,
            "server.address": self._base.host,
            "server.port": self._base.port or (80 if self._base.scheme == "http" else 443),
        }
        if "phone_number_id" in ids:
            attributes["waypost.number"] = ids["phone_number_id"]
        with tracing.tracer().start_as_current_span(
            f"{method} {template}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except asyncio.CancelledError:
                # Whoever waited has given up, or the process ends: no answer was seen.
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", "cancelled")
                raise


def _note(span: Span, error: GraphError) -> None:
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", type(error).__name__)
    if isinstance(error, GraphRefused):
        span.set_attribute("waypost.error_code", error.code)
        span.set_attribute("waypost.verdict", error.verdict.value)


def _failure(what: str, *, never_sent: bool) -> GraphError:
    if never_sent:
        return GraphUnreachable(f"the Graph API cannot be reached: {what}")
    return GraphOutcomeUnknown(f"outcome of the call is unknown: {what}")


def _filled(template: str, ids: Mapping[str, str]) -> str:
    for name, given in ids.items():
        # An id with a slash, a dot segment or a query would make another call than the one that is meant.
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", given):
            raise GraphRefused.by_us(f"not sent: the given {name} is not an id")
    return template.format_map(ids)


def _checked(token: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise GraphRefused.by_us("not sent: the token holds characters that no token has")
    return token


def _encoded(body: Mapping[str, object]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        raise GraphRefused.by_us("not sent: the payload cannot be written as JSON") from None


async def _bounded(response: httpx.Response, limit: int) -> bytes | None:
    """The body, decompressed; None as soon as it is longer than `limit`, or if it cannot be decompressed.

    Not httpx's own decoding: that inflates a whole chunk at once, and 64 KB of gzip can hold 64 MB.
    """
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "gzip"}:
        return None
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 16) if encoding == "gzip" else None
    content = bytearray()
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream), "an AsyncClient's streams are asynchronous"
    async for chunk in stream:
        try:
            content += inflate.decompress(chunk, limit + 1 - len(content)) if inflate else chunk
        except zlib.error:
            return None
        if len(content) > limit:
            return None
    return None if inflate and not inflate.eof else bytes(content)


async def _written(response: httpx.Response, write: Callable[[bytes], object], limit: int) -> int:
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise GraphRefused.by_us("media came compressed, which was not asked for")
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream), "an AsyncClient's streams are asynchronous"
    length = 0
    async for chunk in stream:
        length += len(chunk)
        if length > limit:
            raise GraphRefused.by_us(f"media is larger than {limit} bytes")
        write(chunk)
    return length
