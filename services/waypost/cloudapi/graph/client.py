"""The only HTTP client for Meta.

All numbers share its connections. It limits the time and the size of calls, and its traces have no secrets.

The token is sent only in the `Authorization` header, except where Meta's interface requires it as a parameter
(`debug_token`, refresh, revoke). URLs must therefore never be shown. The span of a call has only the template
of its path, errors have neither URL nor cause, and httpx's own log of requests is off.
"""

import asyncio
import contextlib
import datetime
import logging
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import httpcore
import httpx
import msgspec
from opentelemetry.trace import Span, SpanKind, StatusCode

from waypost.cloudapi.graph import responses
from waypost.cloudapi.graph.apps import AppCalls
from waypost.cloudapi.graph.business_accounts import AccountCalls
from waypost.cloudapi.graph.calls import Credentials, File, Override
from waypost.cloudapi.graph.connections import Connections
from waypost.cloudapi.graph.errors import GraphError, GraphOutcomeUnknown, GraphRefused, GraphUnreachable
from waypost.cloudapi.graph.media import MediaCalls
from waypost.cloudapi.graph.media_addresses import MEDIA_HOSTS, MediaAddresses, Resolve, resolve
from waypost.cloudapi.graph.messaging import Accepted, MessageCalls
from waypost.cloudapi.graph.numbers import NumberCalls
from waypost.cloudapi.graph.template_calls import TemplateCalls
from waypost.telemetry import tracing

__all__ = ["Accepted", "Credentials", "File", "GraphClient", "Override"]

LARGEST_RESPONSE = 1024 * 1024
"""Largest response in bytes, counted after decompression. Graph's longest pages of templates are well below this."""

LONGEST_CONNECT_S = 5.0
"""Seconds that a call may wait for a free connection, and then again for a new connection to open."""

HEADERS = {"accept": "application/json", "accept-encoding": "gzip", "user-agent": "waypost"}

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3

# httpx logs the whole URL of each request at INFO, including any token in its query; httpcore logs headers at DEBUG.
for _library in ("httpx", "httpcore"):
    logging.getLogger(_library).setLevel(logging.WARNING)

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class _SendProgress:
    """Records the progress of a request, as httpcore's trace extension reports it.

    If `observable` is False, there are no such reports. A time-out then never proves that nothing was sent.
    """

    def __init__(self, *, observable: bool) -> None:
        self._observable = observable
        self._headers_started = False
        self._opened: httpcore.AsyncNetworkStream | None = None

    async def observe(self, event: str, info: Mapping[str, Any]) -> None:
        # A CONNECT asks a proxy for a tunnel. It is reported like the request, but carries nothing of it.
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self._headers_started = True
        elif event == "connection.connect_tcp.complete":
            self._opened = info["return_value"]

    async def close_opened(self) -> None:
        """Closes the connection that was opened for this request.

        httpcore (1.0) leaves the socket open if a call is cancelled during its TLS handshake.
        """
        if self._opened is not None:
            await self._opened.aclose()

    @property
    def nothing_sent(self) -> bool:
        """Returns whether it is certain that no byte of the request was sent."""
        return self._observable and not self._headers_started


class GraphClient(MessageCalls, MediaCalls, TemplateCalls, NumberCalls, AccountCalls, AppCalls):
    """Makes calls to the Graph API. Many calls of one event loop may run at once. Close the client with `aclose`.

    `timeout_s` is the deadline of one call, from waiting for a connection to the last byte. `connections` limits
    the number of concurrent calls. A call that gets no connection within 5 s raises `GraphUnreachable`.
    `transport` and `resolve_media` replace the network in tests; with a `transport`, no name is resolved.

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
        resolve_media: Resolve | None = None,
    ) -> None:
        self._base = httpx.URL(base_url.rstrip("/"))
        if transport is None and resolve_media is None:
            resolve_media = resolve
        self._media = MediaAddresses(self._base, media_hosts, resolve_media)
        self._version = version
        self._timeout_s = timeout_s
        self._progress_is_observable = transport is None or isinstance(transport, httpx.AsyncHTTPTransport)
        self._connections = Connections(connections, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes all connections."""
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
        """Implements `GraphCalls.call`.

        The method is public for calls of the Graph API that have no method of their own.
        """
        with self._span(method, "/{version}" + template, ids or {}) as span:
            try:
                url = f"{self._base}/{self._version}{_filled_path(template, ids or {})}"
                request = self._request(method, url, credentials, query=query or {}, body=body, form=form, file=file)
                if credentials is not None:
                    secrets = (*secrets, credentials.token, credentials.proof or "")
                async with self._response(request, timeout_s or self._timeout_s) as response:
                    span.set_attribute("http.response.status_code", response.status_code)
                    content = await _read_bounded(response, LARGEST_RESPONSE)
                return responses.decode(
                    response.status_code,
                    response.headers,
                    content,
                    now=datetime.datetime.now(datetime.UTC),
                    quotable=quotable,
                    secrets=secrets,
                )
            except GraphError as error:
                _record_error(span, error)
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
        """Implements `GraphCalls.fetch`. Requests go only to `media_hosts` and to the host of the Graph API."""
        # The address of a media object is a secret for five minutes, so the span does not show it.
        with self._span("GET", "/{media_url}", {}) as span:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._fetch(url, credentials, write, limit_bytes, timeout_s)
            except TimeoutError:
                failure: GraphError = _failure(f"the media did not end within {timeout_s:g} s", never_sent=False)
            except GraphError as error:
                failure = error
            _record_error(span, failure)
            raise failure from None

    async def _fetch(
        self, url: str, credentials: Credentials, write: Callable[[bytes], object], limit_bytes: int, timeout_s: float
    ) -> int:
        for _ in range(_MOST_REDIRECTS + 1):
            address = self._media.checked(url)
            headers = {"authorization": f"Bearer {_checked_token(credentials.token)}", "accept-encoding": "identity"}
            target = await self._media.target(address)
            request = httpx.Request(
                "GET", target.url, headers=HEADERS | headers | target.headers, extensions=target.extensions
            )
            async with self._response(request, timeout_s) as response:
                if response.status_code in _REDIRECTS and "location" in response.headers:
                    url = str(address.join(response.headers["location"]))
                    continue
                if response.status_code == 200:
                    return await _write_media(response, write, limit_bytes)
                content = await _read_bounded(response, LARGEST_RESPONSE)
            now = datetime.datetime.now(datetime.UTC)
            responses.decode(response.status_code, response.headers, content, now=now, quotable=False)
            raise GraphOutcomeUnknown("the response is not media", http_status=response.status_code)
        raise GraphRefused.by_client("the media address redirects too often")

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
            headers["authorization"] = f"Bearer {_checked_token(credentials.token)}"
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
    async def _response(self, request: httpx.Request, timeout_s: float) -> AsyncIterator[httpx.Response]:
        """Yields the response, whose body is still unread.

        Connecting and reading must end within `timeout_s`. Failures become errors of `errors.py`.
        """
        progress = _SendProgress(observable=self._progress_is_observable)
        wait_s = min(LONGEST_CONNECT_S, timeout_s / 2)
        timeouts = httpx.Timeout(timeout_s, connect=wait_s, pool=wait_s)
        request.extensions |= {"trace": progress.observe, "timeout": timeouts.as_dict()}
        try:
            async with asyncio.timeout(timeout_s), self._connections.one(wait_s) as connection:
                try:
                    response = await connection.send(request, stream=True)
                except BaseException:
                    await progress.close_opened()
                    raise
                try:
                    yield response
                finally:
                    await response.aclose()
        except TimeoutError:
            failure = _failure(f"no response within {timeout_s:g} s", never_sent=progress.nothing_sent)
        except httpx.HTTPError as error:
            never_sent = isinstance(error, _NEVER_SENT) or progress.nothing_sent
            failure = _failure(type(error).__name__, never_sent=never_sent)
        else:
            return
        # The cause is dropped: its request has the URL and the token, and its message can quote a header.
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
                # The caller gave up, or the process ends: no response was seen.
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", "cancelled")
                raise


def _record_error(span: Span, error: GraphError) -> None:
    span.set_status(StatusCode.ERROR)
    span.set_attribute("error.type", type(error).__name__)
    if isinstance(error, GraphRefused):
        span.set_attribute("waypost.error_code", error.code)
        span.set_attribute("waypost.verdict", error.verdict.value)


def _failure(what: str, *, never_sent: bool) -> GraphError:
    if never_sent:
        return GraphUnreachable(f"the Graph API cannot be reached: {what}")
    return GraphOutcomeUnknown(f"outcome of the call is unknown: {what}")


def _filled_path(template: str, ids: Mapping[str, str]) -> str:
    for name, given in ids.items():
        # An id with a slash, a dot segment or a query would turn this call into another one.
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", given):
            raise GraphRefused.by_client(f"not sent: the value of {name} is not an id")
    return template.format_map(ids)


def _checked_token(token: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        raise GraphRefused.by_client("not sent: the token contains characters that no token has")
    return token


def _encoded(body: Mapping[str, object]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, TypeError, ValueError, RecursionError):
        raise GraphRefused.by_client("not sent: the payload cannot be written as JSON") from None


async def _read_bounded(response: httpx.Response, limit: int) -> bytes | None:
    """Returns the decompressed body, or None if it is longer than `limit` or cannot be decompressed.

    httpx's own decoding is not used, because it inflates a whole chunk at once. 64 KB of gzip can contain 64 MB.
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


async def _write_media(response: httpx.Response, write: Callable[[bytes], object], limit: int) -> int:
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise GraphRefused.by_client("media was compressed although that was not requested")
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream), "an AsyncClient's streams are asynchronous"
    length = 0
    async for chunk in stream:
        length += len(chunk)
        if length > limit:
            raise GraphRefused.by_client(f"media is larger than {limit} bytes")
        write(chunk)
    return length
