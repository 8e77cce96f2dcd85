"""Splits lists into pages and selects fields, as Graph does."""

import base64
import binascii
from typing import Any
from urllib.parse import urlencode

from waypost.simulator.graph.call import Call
from waypost.simulator.world.refusal import Refusal

PAGE_DEFAULT = 25
PAGE_MAX = 1000


def page(call: Call, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns `data` and `paging` of the page that `limit`, `after` and `before` ask for.

    Raises `Refusal` 100 for an invalid cursor.
    """
    limit = _limit(call)
    start = _position(call.text("after")) if call.text("after") else 0
    if call.text("before"):
        start = max(0, _position(call.text("before")) - 1 - limit)
    shown = items[start : start + limit]
    if not shown:
        return {"data": []}
    after = _cursor(start + len(shown))
    paging: dict[str, Any] = {"cursors": {"before": _cursor(start + 1), "after": after}}
    if start + len(shown) < len(items):
        query = {name: value for name, value in call.query.items() if name not in ("access_token", "after", "before")}
        paging["next"] = f"{call.base_url}/{call.version}{call.path}?{urlencode(query | {'after': after})}"
    return {"data": shown, "paging": paging}


def selected_fields(call: Call, node: dict[str, Any], default: tuple[str, ...], kind: str) -> dict[str, Any]:
    """Returns the requested fields and `id`. Raises `Refusal` 100 for a field that the node does not have."""
    names = call.fields() or default
    for name in names:
        if name not in node:
            raise Refusal(100, message=f"(#100) Tried accessing nonexisting field ({name}) on node type ({kind})")
    return {name: node[name] for name in dict.fromkeys((*names, "id")) if node[name] is not None}


def _limit(call: Call) -> int:
    given = call.text("limit")
    if given is None:
        return PAGE_DEFAULT
    if not given.isdigit() or not 1 <= int(given) <= PAGE_MAX:
        raise Refusal(100, message=f"(#100) Param limit must be an integer between 1 and {PAGE_MAX}.")
    return int(given)


def _cursor(position: int) -> str:
    return base64.urlsafe_b64encode(f"at:{position}".encode()).decode()


def _position(cursor: str | None) -> int:
    try:
        name, _, value = base64.urlsafe_b64decode(cursor or "").decode().partition(":")
        if name == "at" and value.isdigit():
            return int(value)
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise Refusal(100, message="(#100) Invalid cursors values")
