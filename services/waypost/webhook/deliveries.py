"""Answers `POST`. The checks run in the following order, and the first check that fails decides the answer.

- 404: the route is unknown.
- 415: the body is encoded.
- 413: the body is too large.
- 429: the signature is missing or wrong, and the client has sent too many such requests.
- 400: the signature is missing or wrong.
- 503: the events were not committed.
- 200: no check has failed, and the events are committed.

`protocol.Protocol` answers on any route if a request does not arrive in time (408), is not valid HTTP (400), has too
long a request line (414) or too large headers (431), or finds no room (503).
"""

import asyncio
import time
from collections.abc import Sequence

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Message, Receive, Scope, Send

from waypost.clients import Network, Throttle, client_address
from waypost.cloudapi.inbound import delivery
from waypost.cloudapi.inbound.delivery import Event
from waypost.telemetry import metrics, tracing
from waypost.webhook.body import ClientGone, Headers, UnreadableBody, read_body, read_headers
from waypost.webhook.directory import Directory
from waypost.webhook.endpoints import Endpoint
from waypost.webhook.intake import Intake, IntakeUnavailable
from waypost.webhook.refusals import RETRY_AFTER_S
from waypost.webhook.room import Share

INLINE_BYTES = 256 * 1024
"""Bodies with more bytes are checked and split in a thread: 3 MB take 0.2 s, too long to block the event loop."""

LARGE_AT_ONCE = 2
"""Number of those bodies that are checked and split at a time. Each takes several times its size of memory."""

log = structlog.get_logger(__name__)


def _answer(status: int, text: bytes = b"", *extra: tuple[bytes, bytes]) -> tuple[Message, Message]:
    headers = [(b"content-length", str(len(text)).encode()), *extra]
    if text:
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
    return (
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": text},
    )


_CLOSE = (b"connection", b"close")
ANSWERS = {
    404: _answer(404, b"not found\n"),
    # The bodies of these two are not read, so the connection cannot carry another request.
    415: _answer(415, b"content-encoding is not supported\n", _CLOSE),
    413: _answer(413, b"body too large\n", _CLOSE),
    429: _answer(429, b"too many failures\n", (b"retry-after", b"60")),
    # One text for a missing and for a wrong signature, so that a guess learns nothing from it.
    400: _answer(400, b"signature missing or wrong\n"),
    503: _answer(503, b"not stored, try again\n", (b"retry-after", str(RETRY_AFTER_S).encode())),
    # Meta counts every other status as a failure, even 201 and 204.
    200: _answer(200),
}
"""The answers of the application, in the order of the checks."""

_STORE_SPAN = {
    "messaging.system": "waypost",
    "messaging.destination.name": "inbox",
    "messaging.operation.name": "store",
    "messaging.operation.type": "send",
}
_COUNTERS = {status: metrics.deliveries_total.labels(str(status)) for status in ANSWERS}


class Deliveries:
    """The ASGI app that answers `POST` on every callback URL."""

    def __init__(
        self,
        directory: Directory,
        intake: Intake,
        throttle: Throttle,
        *,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self._directory = directory
        self._intake = intake
        self._throttle = throttle
        self._trusted_proxies = trusted_proxies
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one delivery. There is no answer if the client closes the connection before the end of the body."""
        began = time.perf_counter()
        try:
            status = await self._status(scope, receive)
        except ClientGone:
            return
        except UnreadableBody as error:
            status = error.status
        _COUNTERS[status].inc()
        metrics.delivery_seconds.observe(time.perf_counter() - began)
        start, rest = ANSWERS[status]
        await send(start)
        await send(rest)

    async def _status(self, scope: Scope, receive: Receive) -> int:
        path = scope["path_params"]
        endpoint = self._directory.endpoints.get((path["namespace"], path["name"]))
        if endpoint is None:
            return 404
        started_ns = time.time_ns()
        headers = read_headers(scope)
        events = await self._verified(endpoint, headers, scope, receive)
        if events is None:
            return self._not_signed(endpoint, scope, headers)
        return await self._store(endpoint, events, started_ns)

    async def _verified(
        self, endpoint: Endpoint, headers: Headers, scope: Scope, receive: Receive
    ) -> list[Event] | None:
        """Returns the events of the body, or None if its signature is missing or wrong. Raises `UnreadableBody`."""
        body = await read_body(headers, receive)
        if len(body) <= INLINE_BYTES:
            return _verified_events(endpoint, headers.signature, body)
        share: Share | None = scope.get("state", {}).get("share")
        if share is not None:
            # The body stays in memory for as long as the thread needs it, even if its client goes away.
            share.hold()
        try:
            async with self._large:
                return await asyncio.to_thread(_verified_events, endpoint, headers.signature, body)
        finally:
            if share is not None:
                share.release()

    async def _store(self, endpoint: Endpoint, events: list[Event], started_ns: int) -> int:
        if not tracing.is_recording():
            return await self._store_without_span(events, tracing.new_traceparent())
        # The context is empty so that a `traceparent` from outside cannot make our spans children of a foreign trace.
        span = tracing.tracer().start_span(
            endpoint.span_name, Context(), SpanKind.SERVER, endpoint.span_attributes, start_time=started_ns
        )
        if not span.is_recording():
            # Not sampled (the usual case): skip the second span.
            return await self._store_without_span(events, tracing.traceparent_of(span))
        with trace.use_span(span, end_on_exit=True):
            span.set_attribute("waypost.events", len(events))
            try:
                await self._store_in_span(events)
            except IntakeUnavailable as unavailable:
                status = _refused(unavailable, events)
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", str(status))
            else:
                status = 200
            span.set_attribute("http.response.status_code", status)
        return status

    async def _store_without_span(self, events: list[Event], traceparent: str | None) -> int:
        try:
            await self._intake.store(events, traceparent)
        except IntakeUnavailable as unavailable:
            with trace.use_span(trace.get_current_span(tracing.context_from(traceparent))):
                return _refused(unavailable, events)
        return 200

    async def _store_in_span(self, events: list[Event]) -> None:
        """Stores events and records a span that ends when the events are durable.

        The spans of the handling of these events are children of this span.
        """
        handed_over_ns = time.time_ns()
        span = tracing.tracer().start_span(
            "store inbox", None, SpanKind.PRODUCER, _STORE_SPAN, start_time=handed_over_ns
        )
        span.set_attribute("messaging.batch.message_count", len(events))
        durable_ns = None
        try:
            commit = await self._intake.store(events, tracing.traceparent_of(span))
        except IntakeUnavailable as unavailable:
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", type(unavailable).__name__)
            raise
        else:
            durable_ns = commit.ended_ns
            span.set_attribute("waypost.wait_s", round(max(commit.began_ns - handed_over_ns, 0) / 1e9, 6))
            span.set_attribute("waypost.batch_size", commit.events)
        finally:
            span.end(durable_ns)

    def _not_signed(self, endpoint: Endpoint, scope: Scope, headers: Headers) -> int:
        metrics.signature_failures_total.inc()
        peer = scope.get("client")
        if self._throttle.fail(client_address(peer[0] if peer else None, headers.forwarded_for, self._trusted_proxies)):
            return 429
        log.warning("signature missing or wrong", route=endpoint.route, number=endpoint.number_id)
        return 400


def _refused(unavailable: IntakeUnavailable, events: list[Event]) -> int:
    log.warning("delivery refused", reason=str(unavailable), events=len(events))
    return 503


def _verified_events(endpoint: Endpoint, signature: str | None, body: bytes) -> list[Event] | None:
    """Returns the events of a body, or None if the body's signature fits no secret of the endpoint."""
    signer = endpoint.signer(signature, body)
    if signer is None:
        return None
    return endpoint.attributed(delivery.split(body, default_number=endpoint.number_id), signer)
