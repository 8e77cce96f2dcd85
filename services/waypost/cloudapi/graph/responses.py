"""Turns an HTTP response of the Graph API into a value, or into an error of `errors.py`.

This module is pure: it has no I/O and reads no clock.

The envelope of an error is `{"error": {"message", "type", "code", "error_subcode"?, "error_data"?,
"fbtrace_id"?, …}}`. `error_data` is an object with `details`, or a string in older responses. The code
decides, whatever the HTTP status is.

A failure without this envelope is not the Graph API's: a proxy, a firewall or a gateway answered instead. Its
status only decides whether the request can have reached the Graph API (`NOT_PROCESSED`).
"""

import datetime
import email.utils
import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from waypost.cloudapi.graph.errors import NO_CODE, GraphOutcomeUnknown, GraphRefused, GraphUnreachable, is_known
from waypost.telemetry import redaction

LONGEST_WAIT_S = 86_400.0
"""The longest wait, in seconds, that a response can impose.

Longer waits are cut to this day: a broken header must not silence a number for a year.
"""

NOT_PROCESSED = frozenset({301, 302, 307, 308, *range(400, 500)} - {408, 499})
"""The statuses that, without a Graph error, prove that the request was not processed.

These answers refuse the request, or name another place for it (RFC 9110, 15.4 and 15.5). The others prove nothing: a
gateway that gives up waiting answers 408, 499 or a 5xx, a 303 may follow the processing, and a 2xx claims it.
"""

_LONGEST_DETAILS = 500
_PROOF_REFUSED = re.compile(
    r"(?:\(#\d+\) )?(?:API calls from the server require an|Invalid) appsecret_proof\b", re.IGNORECASE
)
"""Meta's sentence for a missing or wrong proof. It comes with code 100, as for a wrong parameter, without a subcode.

Only the beginning of the text is compared: further on, Meta may quote a message that contains the same words.
"""
_UNREADABLE = object()

Shape = TypeVar("Shape")


def decode(
    status: int,
    headers: Mapping[str, str],
    body: bytes | None,
    *,
    now: datetime.datetime,
    quotable: bool,
    secrets: Iterable[str] = (),
) -> object:
    """Returns the decoded JSON of a successful response.

    `body` is None if it was too long or could not be decompressed.

    If `quotable` is True, `GraphRefused.details` has Meta's explanation, without the `secrets` of the call.
    `quotable` must be False for a call that carries message content, because Meta quotes what it refuses.

    Raises `GraphRefused` for a response with a Graph error. Raises `GraphUnreachable` for another response whose
    status is in `NOT_PROCESSED`, and `GraphOutcomeUnknown` for all other failures.
    """
    reply = _decoded(body)
    error = reply.get("error") if isinstance(reply, dict) else None
    if isinstance(error, dict) and _is_graphs(error):
        raise _refusal(error, status, headers, now=now, quotable=quotable, secrets=secrets)
    wait = retry_after_s(headers, now=now)
    if status in NOT_PROCESSED:
        raise GraphUnreachable(
            f"HTTP {status} without a Graph error: something before the Graph API answered",
            http_status=status,
            retry_after_s=wait,
        )
    if not 200 <= status < 300:
        raise GraphOutcomeUnknown(f"HTTP {status} without a Graph error", http_status=status, retry_after_s=wait)
    if reply is _UNREADABLE:
        raise GraphOutcomeUnknown(f"HTTP {status} with an unreadable body", http_status=status)
    return reply


def convert(reply: object, shape: type[Shape]) -> Shape:
    """Converts a decoded `reply` to the type `shape`. Numbers may be written as strings.

    Raises `GraphOutcomeUnknown` if the reply cannot be converted.
    """
    try:
        return msgspec.convert(reply, shape, strict=False)
    except msgspec.ValidationError:
        # msgspec's message can quote the value, so it is dropped.
        raise GraphOutcomeUnknown(f"the response is not a {shape.__name__}") from None


def require_success(reply: object) -> None:
    """Checks that `reply` reports success.

    Three forms are accepted: `{"success": true}`, the same object with the string "true" (Meta's page shows
    both), and the bare `true` of older edges. Raises `GraphRefused` if Meta answers false. Raises
    `GraphOutcomeUnknown` if the reply says neither true nor false.
    """
    said = reply.get("success") if isinstance(reply, dict) else reply
    if said is True or said == "true":
        return
    if said is False or said == "false":
        raise GraphRefused(NO_CODE, 200, title_override="answered with success: false")
    raise GraphOutcomeUnknown("the response does not say whether it succeeded", http_status=200)


def retry_after_s(headers: Mapping[str, str], *, now: datetime.datetime) -> float | None:
    """Returns the seconds that the response asks the client to wait, or None if it does not ask.

    If both `Retry-After` and `X-Business-Use-Case-Usage` ask for a wait, the longer wait is returned.
    `Retry-After` is a number of seconds or an HTTP date (RFC 9110, 10.2.3). The other header gives the wait as
    `estimated_time_to_regain_access`, in minutes.
    """
    waits = [wait for wait in (_from_retry_after(headers, now), _from_usage(headers)) if wait is not None]
    return min(max(waits), LONGEST_WAIT_S) if waits else None


def _from_retry_after(headers: Mapping[str, str], now: datetime.datetime) -> float | None:
    given = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", given):
        return float(given)
    if not given:
        return None
    try:
        until = email.utils.parsedate_to_datetime(given)
    except (ValueError, OverflowError):
        return None
    if until.tzinfo is None:  # "-0000" means UTC without a known place.
        until = until.replace(tzinfo=datetime.UTC)
    return max(0.0, (until - now).total_seconds())


class _Usage(msgspec.Struct):
    estimated_time_to_regain_access: float = 0


def _from_usage(headers: Mapping[str, str]) -> float | None:
    given = headers.get("x-business-use-case-usage", "")
    if not given:
        return None
    try:
        usage = msgspec.json.decode(given, type=dict[str, list[_Usage]])
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return None
    minutes = max((entry.estimated_time_to_regain_access for entries in usage.values() for entry in entries), default=0)
    return minutes * 60 if minutes > 0 else None


def _decoded(body: bytes | None) -> object:
    if body is None:
        return _UNREADABLE
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _UNREADABLE


def _is_graphs(error: dict[str, object]) -> bool:
    """Returns whether the object `error` of an answer is in the form of the Graph API.

    Gateways of other makers also answer with an object `error`. Some have a `type` of their own, and some repeat the
    HTTP status as `code`. The types of the Graph API are names such as `OAuthException`.
    """
    code, type_ = _integer(error.get("code")), error.get("type")
    has_marks = isinstance(error.get("fbtrace_id"), str) or (isinstance(type_, str) and type_.endswith("Exception"))
    return has_marks or is_known(code)


def _refusal(
    error: dict[str, object],
    status: int,
    headers: Mapping[str, str],
    *,
    now: datetime.datetime,
    quotable: bool,
    secrets: Iterable[str],
) -> GraphRefused:
    code = _integer(error.get("code"))
    transient = error.get("is_transient")
    trace = error.get("fbtrace_id")
    said = error.get("message")
    return GraphRefused(
        NO_CODE if code is None else code,
        status,
        subcode=_integer(error.get("error_subcode")),
        details=_without(_details(error), secrets) if quotable else "",
        retry_after_s=retry_after_s(headers, now=now),
        is_transient=transient if isinstance(transient, bool) else None,
        fbtrace_id=trace if isinstance(trace, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,64}", trace) else None,
        proof_refused=isinstance(said, str) and _PROOF_REFUSED.match(said) is not None,
    )


def _integer(given: object) -> int | None:
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    if isinstance(given, str) and re.fullmatch(r"-?[0-9]{1,18}", given):
        return int(given)
    return None


def _details(error: dict[str, object]) -> str:
    """Returns the most specific explanation in the envelope of an error."""
    data = error.get("error_data")
    error_data = data.get("details") if isinstance(data, dict) else data
    for text in (error_data, error.get("error_user_msg"), error.get("message")):
        if isinstance(text, str) and text.strip():
            return text.strip()
    return ""


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in sorted((s for s in secrets if s), key=len, reverse=True):
        text = text.replace(secret, redaction.MASK)
    return redaction.text(text)[:_LONGEST_DETAILS]
