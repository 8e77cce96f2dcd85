"""The commands `waypost dead list`, `show`, `replay` and `drop`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import redis
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sqlalchemy import Connection, Engine

from waypost.lanes import wake
from waypost.store import dead
from waypost.store.dead import DeadEvent, OpenSend, Selection

BATCH = 500
"""Events per transaction: few enough that no lock is held for long."""


def show_events(engine: Engine, selection: Selection, *, limit: int, as_json: bool, out: Console) -> None:
    """Prints dead events, oldest first, without contacts or texts."""
    with engine.connect() as connection:
        found = dead.events(connection, selection, limit=limit)
        total = dead.count(connection, selection)
    if as_json:
        _write_json(found, out)
        return
    if not found:
        out.print("No dead events.")
        return
    table = Table("id", "number", "kind", "reason", "attempts", "bytes", "received", box=None)
    for event in found:
        cells = (event.id, event.number_id, event.kind, event.reason, event.attempts, event.size)
        table.add_row(*(str(cell) for cell in cells), _time(event.received_at))
    out.print(table)
    out.print(f"{len(found)} of {total}. `waypost dead replay` tries them again; `waypost dead drop` gives them up.")


def show_event(engine: Engine, event_id: int, *, as_json: bool, out: Console) -> None:
    """Prints one dead event: why it was given up, where the bot's code failed, and its trace."""
    with engine.connect() as connection:
        (event,) = dead.events(connection, Selection(ids=(event_id,)), limit=1)
    if as_json:
        out.file.write(json.dumps(asdict(event), indent=2, default=datetime.isoformat) + "\n")
        return
    table = Table(box=None, show_header=False)
    trace = event.traceparent.split("-")[1] if event.traceparent else "–"
    for name, value in (
        ("event", event.id),
        ("number", event.number_id),
        ("kind", event.kind),
        ("reason", event.reason or "–"),
        ("where", (event.detail or "–").replace("; ", "\n")),
        ("attempts", event.attempts),
        ("received", _time(event.received_at)),
        ("given up", _time(event.finished_at) if event.finished_at else "–"),
        ("trace", trace),
    ):
        table.add_row(name, str(value))
    out.print(table)


def show_sends(engine: Engine, number_id: str | None, *, limit: int, as_json: bool, out: Console) -> None:
    """Prints sends that failed or whose outcome is unknown."""
    with engine.connect() as connection:
        found = dead.sends(connection, number_id=number_id, limit=limit)
    if as_json:
        _write_json(found, out)
        return
    if not found:
        out.print("No failed or unknown sends.")
        return
    table = Table("id", "number", "state", "code", "reason", "attempts", "requested", box=None)
    for send in found:
        cells = (send.id, send.number_id, send.state, send.error_code or "", send.reason or "", send.attempts)
        table.add_row(*(str(cell) for cell in cells), _time(send.created_at))
    out.print(table)
    out.print("An unknown send may have reached Meta, so it is never repeated; a status from Meta settles it.")


def replay(engine: Engine, selection: Selection, redis_url: str, *, progress: Console) -> int:
    """Makes the selected events wait again and wakes their lanes. Returns the number of events.

    If Redis cannot be reached, the workers find the events by themselves within seconds.
    """

    def replay_batch(connection: Connection) -> Sequence[tuple[int, int]]:
        return dead.replay(connection, selection, limit=BATCH)

    changed = _in_batches(engine, selection, replay_batch, "Replaying", progress)
    if changed and redis_url:
        try:
            with wake.connect(redis_url) as client:
                wake.enqueue(client, {lane for _, lane in changed})
        except redis.exceptions.RedisError:
            progress.print("Redis cannot be reached; the workers find the events by themselves within seconds.")
    return len(changed)


def drop(engine: Engine, selection: Selection, *, progress: Console) -> int:
    """Gives up the selected events for good. Returns the number of events."""

    def drop_batch(connection: Connection) -> Sequence[int]:
        return dead.drop(connection, selection, limit=BATCH)

    return len(_in_batches(engine, selection, drop_batch, "Dropping", progress))


def unknown_ids(engine: Engine, ids: Sequence[int]) -> list[int]:
    """Returns the ids in `ids` that are not ids of dead events."""
    with engine.connect() as connection:
        return dead.not_dead(connection, ids)


def _in_batches(
    engine: Engine,
    selection: Selection,
    change_batch: Callable[[Connection], Sequence[Any]],
    description: str,
    console: Console,
) -> list[Any]:
    changed: list[Any] = []
    with engine.connect() as connection:
        total = dead.count(connection, selection)
    # An event that dies again must not be replayed twice, so the count at the start is the limit.
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(description, total=total)
        while len(changed) < total:
            with engine.begin() as connection:
                batch = change_batch(connection)
            if not batch:
                break
            changed.extend(batch)
            progress.update(task, completed=len(changed))
    return changed


def _write_json(found: Sequence[DeadEvent] | Sequence[OpenSend], out: Console) -> None:
    out.file.write(json.dumps([asdict(each) for each in found], indent=2, default=datetime.isoformat) + "\n")


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
