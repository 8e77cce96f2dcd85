"""Fixtures for tests of runs: a number that a worker has recorded, and orders for that number."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from waypost.contracts import order
from waypost.contracts.order import Order
from waypost.schedule.run import perform
from waypost.settings import Settings
from waypost.store import numbers

NUMBER = "106540352242922"
UID = "5f0c7c1e-0d3c-4a57-9d0e-3d1f0c0d7a11"
NINE = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

Row = dict[str, Any]


def message_order(contacts: Sequence[str], **action: Any) -> dict[str, Any]:
    """Returns the order, as parsed JSON, of a schedule that sends `weekly_news` to `contacts`."""
    message: dict[str, Any] = {"template": {"name": "weekly_news", "language": "it"}}
    message["audience"] = {"contacts": list(contacts)}
    message = {name: value for name, value in (message | action).items() if value is not None}
    return {
        "uid": UID,
        "namespace": "team-a",
        "name": "weekly-news",
        "number": "support",
        "numberId": NUMBER,
        "timeZone": "Europe/Rome",
        "action": {"message": message},
    }


@pytest.fixture
def seen(database: Engine) -> Engine:
    """Returns a database in which a worker has recorded the number."""
    with database.begin() as connection:
        numbers.record(connection, [(NUMBER, "team-a", "support", "102290129340398")])
    return database


@pytest.fixture
def run(seen: Engine) -> Callable[..., tuple[int, dict[str, object]]]:
    """Returns `run(content, at=NINE)`, which performs one run in this process.

    `run` returns the exit status and the report.
    """

    def perform_one(content: dict[str, Any], at: datetime = NINE, **settings: Any) -> tuple[int, dict[str, object]]:
        parsed: Order = order.load(msgspec.json.encode(content))
        return perform(seen, Settings.model_validate({"schedule_wait_s": 0} | settings), parsed, at)

    return perform_one


def rows(engine: Engine) -> list[Row]:
    """Returns the rows of the outbox with their contacts."""
    with engine.connect() as connection:
        return [
            dict(row)
            for row in connection.execute(
                text("""
                    SELECT outbox.*, contact.wa_id, contact.user_id FROM outbox
                    JOIN conversation ON conversation.id = outbox.conversation_id
                    JOIN contact ON contact.id = conversation.contact_id ORDER BY outbox.id
                """)
            ).mappings()
        ]


def runs(engine: Engine) -> list[Row]:
    """Returns the rows of the table `schedule_run`."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text("SELECT * FROM schedule_run")).mappings()]


@pytest.fixture
def order_file(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Returns a function that writes an order to the path at which `waypost schedule run` looks for it."""

    def write(content: dict[str, Any]) -> Path:
        path = tmp_path / "order.json"
        path.write_bytes(msgspec.json.encode(content))
        return path

    return write
