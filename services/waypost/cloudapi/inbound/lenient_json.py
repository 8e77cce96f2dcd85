"""Decodes JSON that strict decoding refuses, and makes text valid for PostgreSQL."""

import codecs
import json
import re
from typing import Any, Final

import msgspec

Buffer = bytes | msgspec.Raw

DECODE_ERRORS: Final = (ValueError, RecursionError)
"""Exceptions that msgspec or the standard library raises for bad JSON.

The specific error classes of both are ValueErrors.
"""

LARGEST_DECODED: Final = 256 * 1024
"""Most bytes that are decoded at a time. Decoded values may take thirty times the memory."""

_check = msgspec.json.Decoder(msgspec.Raw).decode

_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB]%b\\u[dD][c-fC-F]%b|u[dD][89a-fA-F]%b|u0000|.)" % ((rb"[0-9a-fA-F]{2}",) * 3), re.DOTALL
)
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def loads(raw: Buffer) -> Any:
    """Decodes JSON with the standard library. Accepts lone surrogates, and turns numbers beyond 64 bits into text.

    Raises one of `DECODE_ERRORS` for NaN, bad UTF-8, nesting that is too deep, and text that is not JSON.
    """
    return json.loads(bytes(raw).decode(), parse_constant=_refuse, parse_int=_integer, parse_float=_fraction)


def is_json(raw: Buffer) -> bool:
    """Returns whether `raw` is JSON that `loads` decodes.

    A long text is checked without being decoded, since its values can take thirty times its size of memory. Then
    a few texts count as JSON that `loads` refuses.
    """
    try:
        if len(raw) <= LARGEST_DECODED:
            loads(raw)
        else:
            check_utf8(raw)
            _check(raw)
    except DECODE_ERRORS:
        return False
    return True


def check_utf8(raw: Buffer) -> None:
    """Raises a ValueError if `raw` is not UTF-8. Decodes piece by piece: text may take four times the bytes."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with memoryview(raw) as view:
        for start in range(0, len(view), LARGEST_DECODED):
            decoder.decode(view[start : start + LARGEST_DECODED])
    decoder.decode(b"", final=True)


def storable(raw: bytes) -> bytes:
    """Returns `raw` with each U+0000 and each half of a surrogate pair replaced by U+FFFD.

    PostgreSQL accepts neither of them in text. `raw` must be JSON. Any other text stays invalid.
    """
    return _ESCAPE.sub(_whole_character, raw) if b"\\u" in raw else raw


def storable_text(text: str) -> str:
    """Returns decoded text with each U+0000 and each half of a surrogate pair replaced by U+FFFD.

    `storable` does the same for JSON.
    """
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
