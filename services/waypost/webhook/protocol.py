"""Speaks HTTP with one client, within limits for time and memory that apply before anything is known about it.

A refusal is answered where no other answer is due, and ends the connection:

- 408: the body is not complete in time. Headers that are not complete in time end the connection without an answer.
- 414: the request line is longer than `LONGEST_LINE`.
- 431: the line and the headers are larger than `LARGEST_HEAD`, or there are more than `MOST_HEADERS`.
- 503: too many bytes of incomplete or unanswered requests are held, see `room`.
- 400: the request is not valid HTTP. A request whose end is in doubt is never answered in another way.
"""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from waypost.clients import client_address, is_trusted
from waypost.telemetry import metrics
from waypost.webhook.body import LARGEST
from waypost.webhook.refusals import REFUSALS
from waypost.webhook.room import SMALL, Share

if TYPE_CHECKING:
    from waypost.webhook.server import Config

LONGEST_LINE = 8 * 1024
"""Most bytes of a request line, without its line end. Meta's are about a hundred bytes long."""

LARGEST_HEAD = 32 * 1024
"""Most bytes of a request line and its headers. Meta's and those that proxies add take about a thousand."""

MOST_HEADERS = 100
"""Most headers of a request: each of them takes a hundred bytes of memory, and may be four bytes long."""

MOST_CONNECTIONS = 2_000
"""Number of connections above which a connection is closed after its answer, and not kept for the next request."""

LAST_ANSWERS_S = 20
"""Seconds for the last answers of an ending process. The chart's grace period for pods is longer than this."""

LINGER_S = 1.0
"""Seconds for which the rest of a refused request is discarded. If the connection closed at once, the operating system
would reset it, and a client that is still sending would not see the answer."""

LARGEST_UNREAD = 16 * 1024
"""Most bytes of answers that wait for their client. All answers that one connection may owe at a time are smaller."""

_MOST_DISCARDED = 1024 * 1024
_HEAD_PIECE = 4 * 1024
"""Bytes that are parsed at a time while headers are expected. Callbacks can not stop the parser soon enough."""
_BODY_PIECE = 64 * 1024

_CLOSE_AFTER_ANSWER = 0

_COUNTERS = {status: metrics.deliveries_total.labels(str(status)) for status in REFUSALS}


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Time limits for clients, in seconds."""

    headers_s: float = 10.0
    """Limit from a request's first byte (or from the connection) to the end of its headers."""
    body_s: float = 5.0
    """Limit from the end of the headers to the end of the body."""
    unread_s: float = 5.0
    """Limit from the close of a connection until its client has taken the last answer."""
    last_answers_s: int = LAST_ANSWERS_S
    """Limit for the deliveries in flight, once no new ones are accepted."""


class _Refused(Exception):
    """Raised in a callback of the parser, to stop it. `Protocol._refused_with` is the status of the answer."""


class Protocol(HttpToolsProtocol):
    """Ends a connection whose client does not complete its request in time, or holds too much memory, on any route.

    uvicorn 0.54 has no limit for headers and no limit for a body, and waits for ever. This class can be removed
    when uvicorn has all these limits. A request that arrives in one piece, as nearly all do, costs no timer and takes
    no share of the room.
    """

    config: "Config"

    url = b""

    _expected = 1
    """The part still to arrive: an odd value means the headers of a request, an even value its body, 0 nothing.

    Each request has two values of its own, so that a request's timer is never taken for the next request's.
    """
    _requests = 0
    _timed = 0
    """The value of `_expected` when `_timer` was started."""
    _timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    """Bytes of the request line and headers that have arrived, while they are not complete."""
    _body_bytes = 0
    """Bytes of the body that have arrived."""
    _body_raw_bytes = 0
    """Bytes in which they have arrived. They are more if the body is chunked."""
    _share: Share | None = None
    _admitted = 0
    """The value of `_expected` for which the length of the body was checked."""
    _refused_with = 400
    _deaf = False
    """Whether all that still arrives is discarded."""
    _discarded = 0

    # Called by the event loop

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the timer for the headers of the connection's first request, and opens the connection's share."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(LARGEST_UNREAD)
        self._restart_timer()
        self._share = self._open_share()
        if self._share is None:
            self._abort()

    def data_received(self, data: bytes) -> None:
        """Parses the data, counts what is held, and starts or stops the timer for the part that is still expected."""
        if self._deaf:
            self._discard(len(data))
            return
        if len(data) <= _HEAD_PIECE and not self._head_bytes:
            self._parse(data)
            if self._expected % 2:
                self._head_bytes = len(data)
                self._check_head()
            elif self._expected:
                self._check_body(len(data))
        else:
            self._parse_in_pieces(data)
        if (self._expected or self._share is not None or len(data) > SMALL) and not self._deaf:
            self._count(len(data))
        if self._expected != self._timed:
            self._restart_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Records that the connection is closed and nothing is expected."""
        self._expected = 0
        self._restart_timer()
        self._release()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Ends the connection, since its client does not read the answers. Waiting for it would have no limit."""
        self._abort()

    # Called by uvicorn

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection that is idle."""
        super().timeout_keep_alive_handler()
        self._limit_close()

    def shutdown(self) -> None:
        """Closes the connection when nothing is in flight, or else after the answer."""
        super().shutdown()
        self._limit_close()

    # Called by the parser

    def on_message_begin(self) -> None:
        """Records that the headers of a new request are expected. At most one request waits for another's answer."""
        if self.pipeline:
            self._refused_with = _CLOSE_AFTER_ANSWER
            raise _Refused
        self._requests += 2
        self._expected = self._requests + 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Records that the headers have arrived and the request's body is expected."""
        if self._line_is_too_long() or self._head_is_too_large():
            self._refused_with = 414 if self._line_is_too_long() else 431
            raise _Refused
        super().on_headers_complete()
        self._expected = self._requests
        self._body_bytes = self._body_raw_bytes = 0
        if len(self.connections) > MOST_CONNECTIONS:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Counts what a piece of the body brings."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Adds a header. Drops a trailer of a chunked body, which would count as a header of the request."""
        if self._expected % 2:
            super().on_header(name, value)

    def on_message_complete(self) -> None:
        """Records that the request is complete and nothing is expected."""
        self._expected = 0
        super().on_message_complete()

    # Called when the application has answered

    def on_response_complete(self) -> None:
        """Gives the share back, unless the next request has begun."""
        super().on_response_complete()
        self._limit_close()
        if self._share is not None and not self._expected and self.cycle.response_complete:
            self._release()

    def _parse(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        is_idle = not self._expected
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            if self._refused_with == _CLOSE_AFTER_ANSWER:
                self._end_after_answer()
            else:
                self._refuse(self._refused_with)
        except httptools.HttpParserUpgrade:
            # The request was complete and is answered as any other. What follows it is not HTTP.
            self._end_after_answer()
        if is_idle and not self._expected and self.cycle.response_complete and not self._deaf:
            # Only empty lines have arrived. No request begins with them, but a head must follow in time.
            self._expected = self._requests + 1

    def _parse_in_pieces(self, data: bytes) -> None:
        at = 0
        while at < len(data) and not self._deaf:
            in_head = self._expected % 2 == 1 or not self._expected
            size = min(_HEAD_PIECE, LARGEST_HEAD - self._head_bytes) if in_head else _BODY_PIECE
            piece = data[at : at + size]
            at += size
            before, requests = self._head_bytes, self._requests
            self._parse(piece)
            if self._deaf:
                return
            if self._expected % 2 == 0:
                self._head_bytes = 0
                if self._expected:
                    self._check_body(len(piece))
            elif not in_head or (before and requests != self._requests):
                # A head began within this piece. Its first bytes are not counted, which is at most one piece.
                self._head_bytes = 1
            else:
                self._head_bytes = before + len(piece)
                self._check_head()

    def _check_head(self) -> None:
        """Refuses a head that is not complete, and larger than a head may be."""
        if self._deaf:
            return
        if self._line_is_too_long():
            self._refuse(414)
        elif self._head_bytes >= LARGEST_HEAD or len(self.headers or ()) > MOST_HEADERS:
            self._refuse(431)

    def _check_body(self, size: int) -> None:
        """Refuses a chunked body that consists of tiny chunks, of extensions of chunks, or of trailers.

        They cost time and hold memory, and bring nothing. Real chunks have kilobytes.
        """
        if self._deaf:
            return
        self._body_raw_bytes += size
        if self._body_raw_bytes > 2 * self._body_bytes + LARGEST_HEAD + _BODY_PIECE:
            self._refuse(400)

    def _line_is_too_long(self) -> bool:
        line = len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1") if self.url else 0
        return line > LONGEST_LINE

    def _head_is_too_large(self) -> bool:
        # The head may have begun in one piece with a body. Then its bytes were not counted as they arrived.
        size = sum([len(name) + len(value) for name, value in self.headers]) + len(self.url)
        return size > LARGEST_HEAD or len(self.headers) > MOST_HEADERS

    # What is held

    def _open_share(self) -> Share | None:
        peer = self.client[0] if self.client else ""
        trusted = self.config.trusted_proxies
        # A trusted proxy speaks for many clients. The headers say for which one, once they have arrived.
        client = None if is_trusted(peer, trusted) else client_address(peer, "", trusted)
        return self.config.room.open(client, self._make_place)

    def _count(self, size: int) -> None:
        """Adds bytes that have arrived to the connection's share. Refuses the request if there is no room for them."""
        share = self._share
        if share is None:
            share = self._share = self._open_share()
        if share is None or not self._is_admitted(share) or not share.take(size):
            self._refuse(503)
            return
        if not self._expected:
            share.settle()
            if self.cycle.response_complete:
                self._release()

    def _is_admitted(self, share: Share) -> bool:
        """Returns False if a body of the length that the headers give would find no room."""
        if self._expected % 2:
            return True
        self.cycle.scope["state"]["share"] = share
        if not share.is_attributed:
            forwarded_for = b",".join([value for name, value in self.headers if name == b"x-forwarded-for"])
            peer = self.client[0] if self.client else ""
            share.attribute(client_address(peer, forwarded_for.decode("latin-1"), self.config.trusted_proxies))
        if not self._expected or self._admitted == self._expected:
            return True
        self._admitted = self._expected
        # The parser has refused a length that is not a number. The application refuses one that is too large.
        length = next((int(value) for name, value in self.headers if name == b"content-length"), 0)
        return length > LARGEST or share.expect(length)

    def _release(self) -> None:
        share, self._share = self._share, None
        if share is not None:
            share.release()

    def _make_place(self) -> None:
        if self._expected % 2:
            self._abort()
        else:
            self._refuse(503)

    # Ends of a connection

    def _end_after_answer(self) -> None:
        self._deaf = True
        self.cycle.keep_alive = False

    def _abort(self) -> None:
        self._deaf = True
        self._release()
        self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Answers the request and ends the connection. There is no answer if another request's answer is due first."""
        if self.transport.is_closing():
            self._release()
            return
        cycle = self.cycle
        if self._expected % 2 or (status == 400 and not self._expected):
            is_due = cycle is None or cycle.response_complete
        else:
            is_due = not self.pipeline and not cycle.response_started
            cycle.disconnected = True
            # Otherwise uvicorn would write "100 Continue" after the answer.
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
        if not is_due:
            self._abort()
            return
        self._deaf = True
        self._release()
        self.url, self.headers = b"", []
        _COUNTERS[status].inc()
        self.transport.write(REFUSALS[status])
        self._expected = 0
        self._restart_timer()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def _limit_close(self) -> None:
        """Limits the time that a closing connection waits for its client to take the last answer."""
        if self.transport.is_closing():
            self._deaf = True
            self._expected = 0
            self._restart_timer()
            self._timer = self.loop.call_later(self.config.deadlines.unread_s, self._abort)

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > _MOST_DISCARDED:
            self.transport.abort()

    def _restart_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timed = self._expected
        if self._expected:
            deadlines = self.config.deadlines
            limit_s = deadlines.headers_s if self._expected % 2 else deadlines.body_s
            self._timer = self.loop.call_later(limit_s, self._time_out)

    def _time_out(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self._expected % 2:
            # There is no request to answer.
            self._abort()
        else:
            self._refuse(408)
