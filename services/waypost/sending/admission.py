"""Decides which outbox rows may be claimed now. The rows have just been read.

Nothing is changed except the numbers' queues.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from waypost.contracts.registry import Number
from waypost.contracts.states import OutboxKind, Priority
from waypost.sending import gate
from waypost.sending.circuit import Circuit
from waypost.sending.number_queues import NumberQueues
from waypost.store.outbox import OutboxRow

RETRY_S = 1.0
"""Seconds after which a number whose trial call is in flight is looked at again, unless something wakes it earlier."""


@dataclass(slots=True)
class Admission:
    """Outbox rows, sorted by what happens to them next.

    A row that is in no list waits in its number's queue or for a sweep. Marks as read do not count against the
    rate limits, so they are in `unlimited`.
    """

    unlimited: list[int] = field(default_factory=list)
    """Ids of rows to claim without asking the rate limits."""
    limited: list[OutboxRow] = field(default_factory=list)
    """Rows to claim if the rate limits allow it."""
    refused: list[int] = field(default_factory=list)
    """Ids of rows that the gate refuses."""
    delayed: list[tuple[int, float]] = field(default_factory=list)
    """Conversations, each with the seconds until its row is due."""


def admit(
    rows: Sequence[OutboxRow],
    numbers: Callable[[str], Number | None],
    queues: NumberQueues,
    circuits: Mapping[str, Circuit],
    *,
    now: float,
) -> Admission:
    """Sorts `rows` into an admission. Replies come before bulk messages.

    If a number has no room, its rows are added to `queues`. `now` is the time of the clock of `queues`.
    """
    admission = Admission()
    admitted: dict[str, int] = {}
    probing: set[str] = set()
    for row in sorted(rows, key=lambda row: (row.priority, row.outbox_id)):
        decision = gate.decide(row, numbers(row.number_id))
        match decision:
            case gate.Refuse():
                admission.refused.append(row.outbox_id)
            case gate.Wait():
                # Without a moment, a sweep finds the row again when the pause is over or the number is registered.
                if decision.until is not None:
                    admission.delayed.append((row.conversation_id, (decision.until - row.now).total_seconds()))
            case gate.Probe() if row.number_id in probing:
                pass  # one probe is enough; a sweep finds this row again
            case _ if _room(row.number_id, queues, circuits, now) <= admitted.get(row.number_id, 0):
                queues.add(row.number_id, row.conversation_id, bulk=row.priority >= Priority.BULK)
            case _:
                admitted[row.number_id] = admitted.get(row.number_id, 0) + 1
                if isinstance(decision, gate.Probe):
                    probing.add(row.number_id)
                if row.kind == OutboxKind.READ:
                    admission.unlimited.append(row.outbox_id)
                else:
                    admission.limited.append(row)
    return admission


def _room(number_id: str, queues: NumberQueues, circuits: Mapping[str, Circuit], now: float) -> int:
    """Returns how many more calls of this number may start.

    If the number's circuit allows no call, records in `queues` when to look again.
    """
    room = queues.room(number_id)
    circuit = circuits.get(number_id)
    allowed = None if circuit is None else circuit.room(now, queues.of(number_id).in_flight)
    if circuit is None or allowed is None:
        return room
    if not allowed:
        queues.busy_until(number_id, now + max(circuit.wait_s(now), RETRY_S))
    return min(room, allowed)
