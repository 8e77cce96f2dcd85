"""`POST`: the order of refusals, and the one way to a 200.

404 unknown route · 415 encoded · 413 too large · 400 not signed · 503 not committed · 200 committed.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import Message, Receive, Scope, Send

from waypost.cloudapi.inbound import delivery
from waypost.cloudapi.inbound.delivery import Event
from waypost.telemetry import metrics, tracing
from waypost.webhook import body as bodies
from waypost.webhook.directory import Directory
from waypost.webhook.endpoints import Endpoint, Signer
from waypost.webhook.intake import Intake, IntakeUnavailable
from waypost.webhook.throttle import Network, Throttle, client_of

INLINE_BYTES = 256 * 1024
"""Larger bodies are checked and split in a thread: 3 MB take 0.2 s, which the event loop does not have."""

RETRY_AFTER_S = 5

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
    # Exactly 200 and empty: Meta counts any other status as a failure, 201 and 204 too.
    200: _answer(200),
    # The same for a missing and for a wrong signature, so that it teaches nothing.
    400: _answer(400, b"signature missing or wrong\n"),
    404: _answer(404, b"not found\n"),
    # What follows the headers of these is not read, so the connection cannot go on.
    413: _answer(413, b"body too large\n", _CLOSE),
    415: _answer(415, b"content-encoding is not supported\n", _CLOSE),
    429: _answer(429, b"too many failures\n", (b"retry-after", b"60")),
    503: _answer(503, b"not stored, try again\n", (b"retry-after", str(RETRY_AFTER_S).encode())),
}
_STORING = {
    "messaging.system": "waypost",
    "messaging.destination.name": "inbox",
    "messaging.operation.name": "store",
    "messaging.operation.type": "send",
}
_COUNTERS = {status: metrics.deliveries_total.labels(str(status)) for status in ANSWERS}


class Deliveries:
    """The ASGI app behind every callback URL for `POST`."""

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one delivery; a client that goes away within its body gets none."""
        began = time.perf_counter()
        try:
            status = await self._status(scope, receive)
        except bodies.Gone:
            return
        except bodies.Unreadable as refusal:
            status = refusal.status
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
        head = bodies.headers(scope)
        body = await bodies.read(head, receive)
        if len(body) > INLINE_BYTES:
            signer, events = await asyncio.to_thread(_open, endpoint, head.signature, body)
        else:
            signer, events = _open(endpoint, head.signature, body)
        if signer is None:
            return self._not_signed(endpoint, scope, head)
        return await self._store(endpoint, events, started_ns)

    async def _store(self, endpoint: Endpoint, events: list[Event], started_ns: int) -> int:
        if not tracing.is_recording():
            return await self._store_untold(events, tracing.new_traceparent())
        # An empty context: whoever sends may set a `traceparent`, and ours would then be children of theirs.
        span = tracing.tracer().start_span(
            endpoint.span_name, Context(), SpanKind.SERVER, endpoint.span_attributes, start_time=started_ns
        )
        if not span.is_recording():
            # Most deliveries, where traces are sampled: a second span would be work for nobody.
            return await self._store_untold(events, tracing.traceparent_of(span))
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

    async def _store_untold(self, events: list[Event], traceparent: str | None) -> int:
        try:
            await self._intake.store(events, traceparent)
        except IntakeUnavailable as unavailable:
            with trace.use_span(trace.get_current_span(tracing.context_from(traceparent))):
                return _refused(unavailable, events)
        return 200

    async def _store_in_span(self, events: list[Event]) -> None:
        """Store, told in a span that ends when the events are durable; what handles them later is its child."""
        handed_over_ns = time.time_ns()
        span = tracing.tracer().start_span("store inbox", None, SpanKind.PRODUCER, _STORING, start_time=handed_over_ns)
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

    def _not_signed(self, endpoint: Endpoint, scope: Scope, head: bodies.Headers) -> int:
        metrics.signature_failures_total.inc()
        peer = scope.get("client")
        if self._throttle.fail(client_of(peer[0] if peer else None, head.forwarded_for, self._trusted_proxies)):
            return 429
        log.warning("signature missing or wrong", route=endpoint.route, number=endpoint.number_id)
        return 400


def _refused(unavailable: IntakeUnavailable, events: list[Event]) -> int:
    log.warning("delivery refused", reason=str(unavailable), events=len(events))
    return 503


def _open(endpoint: Endpoint, signature: str | None, body: bytes) -> tuple[Signer | None, list[Event]]:
    signer = endpoint.signer(signature, body)
    if signer is None:
        return None, []
    return signer, endpoint.attributed(delivery.split(body, default_number=endpoint.number_id), signer)
