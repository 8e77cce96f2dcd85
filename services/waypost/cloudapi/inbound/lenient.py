"""JSON as it comes: read where strict decoding refuses, and made fit for PostgreSQL."""

import json
import re
from typing import Any, Final

import msgspec

Buffer = bytes | msgspec.Raw

UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding JSON raises, by msgspec or the standard library: msgspec's and Unicode's errors are ValueErrors."""

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b\\u[dD][c-fC-F]%b|u[dD][89a-fA-F]%b|u0000|.)" % ((rb"[0-9a-fA-F]{2}",) * 3), re.DOTALL
)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def loads(raw: Buffer) -> Any:
    """The JSON in `raw` by the standard library: lone surrogates pass, and numbers beyond 64 bits become text.

    Raises one of `UNREADABLE` for NaN, bad UTF-8, too deep a nesting, and what is no JSON at all.
    """
    return json.loads(bytes(raw).decode(), parse_constant=_refuse, parse_int=_integer, parse_float=_fraction)


def storable(raw: bytes) -> bytes:
    """`raw` with each U+0000 and each half of a surrogate pair replaced by U+FFFD: PostgreSQL takes neither in text.

    `raw` must be JSON, or else the result is no better.
    """
    return _ESCAPE.sub(_whole_character, raw) if b"\\u" in raw else raw


def storable_text(text: str) -> str:
    """As `storable`, of text that is decoded already."""
    return _UNSTORABLE.sub("\ufffd", text)


def _whole_character(escape: re.Match[bytes]) -> bytes:
    found = escape.group()
    lone = len(found) == 6 and (found == b"\\u0000" or found[2:3] in b"dD")
    return b"\\ufffd" if lone else found


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= 18 else digits


def _fraction(digits: str) -> float | str:
    value = float(digits)
    return value if abs(value) <= 1.7e308 else digits
