"""Masks texts and values that must not leave the process in a log line or a span.

Two rules complete each other. If a key names something private, its value is removed. In every other string,
each part is masked if it looks like a phone number, a BSUID, a wamid (base64 of a phone number), a token or a
digest.
"""

import datetime
import enum
import re
import traceback
from collections.abc import Mapping
from pathlib import PurePath

MASK = "[redacted]"

IDENTIFIERS = frozenset(
    {
        "app_id",
        "attempt",
        "attempts",
        "code",
        "contact_id",
        "conversation_id",
        "conversation_ids",
        "error_code",
        "event_id",
        "event_ids",
        "fence",
        "job_id",
        "lane",
        "line",
        "logger",
        "number",
        "number_id",
        "outbox_id",
        "outbox_ids",
        "phone_number_id",
        "pid",
        "port",
        "service",
        "span_id",
        "status_code",
        "subcode",
        "trace_id",
        "ts",
        "waba_id",
    }
)
"""Keys whose values are our ids, or Meta's ids of things (not of people); they may be long numbers."""

PRIVATE_KEYS = frozenset(
    {
        "address",
        "args",
        "authorization",
        "bsuid",
        "callback_data",
        "caption",
        "contact",
        "contact_key",
        "contacts",
        "content",
        "cookie",
        "data",
        "description",
        "from",
        "from_",
        "headers",
        "kwargs",
        "locals",
        "message",
        "msisdn",
        "participant",
        "pin",
        "payload",
        "profile",
        "profile_name",
        "query",
        "query_string",
        "raw",
        "recipient",
        "recipient_id",
        "sender",
        "signature",
        "state",
        "to",
        "user",
        "user_id",
        "username",
        "wa_id",
    }
)
PRIVATE_PARTS = frozenset(
    {"authorization", "body", "credential", "credentials", "digest", "password", "phone", "proof", "secret", "secrets"}
    | {"text", "token", "tokens", "wamid", "wamids"}
)

_PRIVATE = re.compile(
    r"""
    (?P<uuid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)
    | wamid\.[A-Za-z0-9+/=_-]+
    | \b[A-Z]{2}\.(?:[A-Z]{3}\.)?[A-Za-z0-9]{8,}
    | EAA[A-Za-z0-9]{8,}
    | sha256=[0-9A-Fa-f]+
    | (?P<parameter>(?:hub\.verify_token|hub\.challenge|access_token|input_token|fb_exchange_token|client_secret
        |appsecret_proof|pin)=)[^&\s"']+
    | (?P<scheme>\bBearer\s+)\S+
    | (?<=://)[^/\s:@]*:[^/\s@]+(?=@)
    | \+\d[\d\s().-]{6,}\d
    | \+?\d{8,}
    """,
    re.VERBOSE,
)
_LOCATION = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)', re.MULTILINE)
_RAISED = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?::.*)?$", re.MULTILINE)
_TRACEBACK = "Traceback (most recent call last)"

LONGEST = 2000
"""Most characters of a string; the rest is cut off."""


def _mask(match: re.Match[str]) -> str:
    if match["uuid"]:
        return match["uuid"]
    return (match["parameter"] or match["scheme"] or "") + MASK


def text(value: str) -> str:
    """Masks every part that looks like a person, a token or a digest, and cuts the text to `LONGEST` characters."""
    if len(value) > LONGEST:
        value = value[:LONGEST] + "…"
    return _PRIVATE.sub(_mask, value)


def is_private(key: str) -> bool:
    """Returns whether a field of this name must lose its value, regardless of the value."""
    key = key.lower().replace("-", "_").replace(".", "_")
    if key in IDENTIFIERS:
        return False
    return key in PRIVATE_KEYS or not PRIVATE_PARTS.isdisjoint(key.split("_"))


def value(key: str, given: object, depth: int = 0) -> object:
    """Returns `given` in the form in which it may be logged under `key`.

    The result is masked and valid in JSON. It is never the `repr` of an unknown object.
    """
    if given is None or isinstance(given, bool | float):
        return given
    if isinstance(given, BaseException):
        return exception(given)
    if is_private(key):
        return MASK
    if isinstance(given, enum.Enum):
        given = given.value
    if isinstance(given, int):
        return given if key in IDENTIFIERS or abs(given) < 10_000_000 else MASK
    if isinstance(given, str):
        if key in IDENTIFIERS and re.fullmatch(r"(waba:)?[\w.:-]{1,200}", given):
            return given
        return text(given)
    if isinstance(given, datetime.date | datetime.timedelta | PurePath):
        return text(str(given)) if isinstance(given, PurePath) else str(given)
    if depth >= 3:
        return MASK
    if isinstance(given, Mapping):
        return {text(str(name)): value(str(name), item, depth + 1) for name, item in list(given.items())[:50]}
    if isinstance(given, list | tuple | set | frozenset):
        return [value(key, item, depth + 1) for item in list(given)[:50]]
    return f"<{type(given).__name__}>"


def message_of(error: BaseException) -> str:
    """Returns the error's message if it cannot contain private data, else "".

    Messages of libraries quote their input (`invalid literal … 'text'`, SQL parameters). Therefore only three
    kinds of messages are returned: our own messages, messages of the operating system, and messages about code.
    """
    kind = type(error)
    origin = getattr(error, "orig", None)
    if kind.__module__.startswith("sqlalchemy") and isinstance(origin, BaseException):
        return f"{kind_of(origin)} {message_of(origin)}".strip()
    if kind.__module__.startswith("psycopg"):
        state = getattr(error, "sqlstate", None)
        if state is None or state[:2] in {"08", "53", "55", "57"}:
            return text(" ".join(filter(None, (state, str(error).split("\n", 1)[0]))))
        return str(state)
    ours = kind.__module__.startswith("waypost.")
    names_code = isinstance(error, AttributeError | ImportError | NameError | NotImplementedError | OSError | TypeError)
    if ours or names_code or kind.__module__.startswith("redis."):
        return text(str(error))
    return ""


def kind_of(error: BaseException) -> str:
    """Returns the error's class with its module. The module `builtins` is left out."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def exception(error: BaseException) -> dict[str, object]:
    """Describes an error as `{type, message, at: [file:line function], cause}`, without source code or variables."""
    described: dict[str, object] = {"type": kind_of(error)}
    if message := message_of(error):
        described["message"] = message
    # Only the names of the frames are needed; with `lookup_lines` each error would read source files.
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    if frames:
        described["at"] = [f"{place(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames[-20:]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and cause is not error:
        described["cause"] = {"type": kind_of(cause), "message": message_of(cause)}
    if isinstance(error, BaseExceptionGroup):
        described["errors"] = [{"type": kind_of(each), "message": message_of(each)} for each in error.exceptions[:10]]
    return described


def place(filename: str) -> str:
    """Returns a file's path within its package."""
    for root in ("/site-packages/", "/services/", "/lib/"):
        _, found, rest = filename.rpartition(root)
        if found:
            return rest
    return PurePath(filename).name


def foreign(line: str) -> str:
    """Masks a library's log message. A message with a traceback keeps only its first line, error type and places."""
    if _TRACEBACK not in line:
        return text(line)
    first, _, rest = line.partition(_TRACEBACK)
    places = [f"{place(m['file'])}:{m['line']} {m['function']}" for m in _LOCATION.finditer(rest)]
    raised = [m["type"] for m in _RAISED.finditer(rest)]
    return text(first.strip()) + " | " + " ".join(raised[-1:]) + " at " + ", ".join(places[-20:])
