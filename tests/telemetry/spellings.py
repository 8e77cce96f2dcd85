"""Lists the forms in which a secret, a number or a text may appear in an output."""

import base64
import json
from urllib.parse import quote, quote_plus


def spellings(canary: str) -> dict[str, bytes]:
    """Returns `canary` in all its spellings: plain, and encoded for URLs, for JSON and in hex.

    The base64 spellings are those inside a longer text, because a wamid contains a phone number in this form.
    """
    raw = canary.encode()
    found = {
        "plain": raw,
        "in a URL": quote(canary, safe="").encode(),
        "in a form": quote_plus(canary).encode(),
        "in a URL in a URL": quote(quote(canary, safe=""), safe="").encode(),
        "in JSON": json.dumps(canary)[1:-1].encode(),
        "hex": raw.hex().encode(),
        "HEX": raw.hex().upper().encode(),
    }
    for offset in range(3):
        for name, encoded in (("base64", base64.b64encode), ("base64 of URLs", base64.urlsafe_b64encode)):
            # The bytes around the text change only the first and the last group of four characters.
            whole = encoded(b"\0" * offset + raw + b"\0\0\0")
            found[f"{name} at {offset}"] = whole[4 if offset else 0 : (offset + len(raw)) // 3 * 4]
    return found


def spellings_of_number(digits: str) -> dict[str, bytes]:
    """Returns a North American number such as `15558675309` in the forms in which people and programs write it."""
    country, area, exchange, line = digits[:-10], digits[-10:-7], digits[-7:-4], digits[-4:]
    found = {f"national, {name}": each for name, each in spellings(digits[-10:]).items()}
    for mark in (" ", "-", "."):
        found[f"with {mark!r}"] = mark.join((area, exchange, line)).encode()
    found["with brackets"] = f"({area}) {exchange}-{line}".encode()
    found["with a country"] = f"+{country} {area}".encode()
    return found | spellings(digits)


def found_in(content: bytes, canaries: dict[str, dict[str, bytes]]) -> list[str]:
    """Returns which of the canaries are in `content`, and in which spelling."""
    return [f"{name}, {how}" for name, each in canaries.items() for how, spelt in each.items() if spelt in content]
