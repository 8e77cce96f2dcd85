"""Counts messages per hour. The result has an entry for every hour, so it can be plotted directly."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from waypost.store.reports import HourOfNumber


@dataclass(frozen=True, slots=True)
class Hour:
    """The counts of messages in one hour. `start` is in UTC."""

    start: datetime
    incoming: int
    outgoing: int


def series(
    now: datetime, rows: Iterable[HourOfNumber], *, hours: int = 48, number_id: str | None = None
) -> tuple[Hour, ...]:
    """Returns the counts of `hours` hours, oldest first. The last hour starts at `now`.

    Only messages of the number `number_id` are counted. If `number_id` is None, the messages of all numbers are
    counted.
    """
    incoming: dict[datetime, int] = {}
    outgoing: dict[datetime, int] = {}
    for row in rows:
        if number_id is None or row.number_id == number_id:
            incoming[row.hour] = incoming.get(row.hour, 0) + row.incoming
            outgoing[row.hour] = outgoing.get(row.hour, 0) + row.outgoing
    starts = [now - timedelta(hours=back) for back in range(hours - 1, -1, -1)]
    return tuple(Hour(start, incoming.get(start, 0), outgoing.get(start, 0)) for start in starts)
