"""Tests that a signed delivery cannot become more events, or take more memory, than a delivery of Meta's."""

import json

import pytest
from sqlalchemy import Engine, text

from waypost.webhook.body import LARGEST

from .clients import delivery, exchange, statuses
from .conftest import Attacked

pytestmark = pytest.mark.fault("D10")


def of_items(item: str, *, metadata: object = "", size: int = LARGEST) -> bytes:
    """Returns a body that is filled with copies of an item."""
    value = json.dumps({"messaging_product": "whatsapp", "metadata": metadata})[:-1]
    start = '{"entry":[{"changes":[{"field":"messages","value":' + value + ',"messages":['
    count = (size - len(start) - len("]}}]}]}")) // (len(item) + 1)
    return (start + ",".join([item] * count) + "]}}]}]}").encode()


def repeated(start: str, part: str, end: str) -> bytes:
    """Returns a body that is filled with copies of a part."""
    return (start + ",".join([part] * ((LARGEST - len(start + end)) // (len(part) + 1))) + end).encode()


BODIES = {
    "empty objects": of_items("{}"),
    "numbers": of_items("1"),
    "empty changes": repeated('{"entry":[{"changes":[', '{"value":1}', "]}]}"),
    "empty entries": repeated('{"entry":[', '{"changes":[]}', "]}"),
    "members": repeated('{"entry":[{"changes":[{"field":"messages","value":{', '"a":1', "}}]}]}"),
    "a list": repeated("[", "{}", "]"),
    "one item of many": of_items("[" + "[],[]," * 600_000 + "{}]"),
    "long metadata": of_items('{"id":1}', metadata={"a": "b" * 8_000}, size=60_000),
    "damaged": of_items("{}")[:-3],
    "a byte order mark": b"\xef\xbb\xbf" + of_items("1", size=LARGEST - 3),
    "contacts": repeated(
        '{"entry":[{"changes":[{"field":"messages","value":{"contacts":[', "{}", '],"messages":[{}]}}]}]}'
    ),
}


@pytest.mark.parametrize("shape", BODIES)
def test_millions_of_items(attacked: Attacked, database: Engine, shape: str) -> None:
    """A signed body with far more items than Meta sends is stored whole, as one dead event, and answered with 200."""
    body = BODIES[shape]
    assert len(body) <= LARGEST
    for _ in range(3):
        assert statuses(exchange(attacked.address, delivery(body, "connection: close"))) == [200]
    with database.connect() as connection:
        rows = connection.execute(text("SELECT reason, length(payload) AS size FROM event WHERE state = 'dead'")).all()
    assert sum(row.size for row in rows) <= 2 * len(body) + 1_000
    assert len(rows) <= 2
