"""Fixtures that write events directly into a lane, and a handler that records the events it gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy import Connection, Engine, text

from waypost.store.claims import WaitingEvent


@pytest.fixture
def put(database: Engine) -> Callable[..., int]:
    """Returns `put(key, contact='…', at=seconds)`, which stores a waiting event in lane 0 and returns its id."""

    def put(key: str, contact: str = "15550001", at: float = 1_000_000.0, kind: str = "message", lane: int = 0) -> int:
        with database.begin() as connection:
            row = connection.execute(
                text("""
                    INSERT INTO event (number_id, kind, event_key, lane, contact_key, occurred_at, payload)
                    VALUES ('100', :kind, :key, :lane, :contact, to_timestamp(:at), :payload) RETURNING id
                """),
                {"kind": kind, "key": key, "lane": lane, "contact": contact, "at": at, "payload": key.encode()},
            )
            return int(row.scalar_one())

    return put


@dataclass
class Recorder:
    """A handler that calls `on_event`, and stores each event's key as a row in the table `effect`."""

    on_event: Callable[[WaitingEvent], str | None] = lambda _event: None
    on_store: Callable[[list[str]], None] = lambda _keys: None
    on_begin: Callable[[list[str]], None] = lambda _keys: None
    handled: list[str] = field(default_factory=list)
    committed: list[str] = field(default_factory=list)

    def begin(self, connection: Connection, events: Sequence[WaitingEvent]) -> "RecordedBatch":
        self.on_begin([event.event_key for event in events])
        return RecordedBatch(self)


class RecordedBatch:
    """A batch that stores its effects in a table without a unique key, so that a repeated effect is visible."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.keys: list[str] = []

    def handle(self, event: WaitingEvent) -> str | None:
        reason = self.recorder.on_event(event)
        self.keys.append(event.event_key)
        self.recorder.handled.append(event.event_key)
        return reason

    def give_up(self, event: WaitingEvent) -> None:
        """Records nothing."""

    def store(self, connection: Connection) -> None:
        self.recorder.on_store(self.keys)
        for key in self.keys:
            connection.execute(text("INSERT INTO effect (key) VALUES (:key)"), {"key": key})

    def committed(self) -> None:
        self.recorder.committed.extend(self.keys)


@pytest.fixture
def recorder(database: Engine) -> Recorder:
    """Returns a handler whose effects can be read with `effects`."""
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE effect (id bigserial, key text CHECK (key <> 'unstorable'))"))
    return Recorder()


@pytest.fixture
def effects(database: Engine) -> Callable[[], list[str]]:
    """Returns a function that returns the keys of all effects, in the order in which they were stored."""

    def effects() -> list[str]:
        with database.connect() as connection:
            return list(connection.execute(text("SELECT key FROM effect ORDER BY id")).scalars())

    return effects


@pytest.fixture
def states(database: Engine) -> Callable[[], dict[str, tuple[str, int, str | None]]]:
    """Returns a function that returns `{key: (state, attempts, reason)}` of all events."""

    def states() -> dict[str, tuple[str, int, str | None]]:
        with database.connect() as connection:
            rows = connection.execute(text("SELECT event_key, state, attempts, reason FROM event"))
            return {row.event_key: (row.state, row.attempts, row.reason) for row in rows}

    return states
