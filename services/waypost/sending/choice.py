"""Which of the rows that were looked up may be asked for now. Changes nothing but the lines."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from waypost.contracts.registry import Number
from waypost.sending import gate
from waypost.sending.circuit import Circuit
from waypost.sending.lines import Lines
from waypost.store.outbox import Head

RETRY_S = 1.0
"""A number whose trial call is under way is looked at again after this, if nothing happens before."""


@dataclass(slots=True)
class Choice:
    """Rows by what is to be done with them; a row that is in none of these waits in its line, or for a sweep."""

    granted: list[int] = field(default_factory=list)
    """To be claimed without asking the limits: they do not count there."""
    wishing: list[Head] = field(default_factory=list)
    """To be claimed if the limits allow it."""
    refused: list[int] = field(default_factory=list)
    """To be failed by the gate."""
    later: list[tuple[int, float]] = field(default_factory=list)
    """Conversations and the seconds until their row is due."""


def choose(
    heads: Sequence[Head],
    numbers: Callable[[str], Number | None],
    lines: Lines,
    circuits: Mapping[str, Circuit],
    *,
    now: float,
) -> Choice:
    """Sort `heads`, replies first; those whose number has no room now are parked. `now` is the lines' clock."""
    choice = Choice()
    admitted: dict[str, int] = {}
    probing: set[str] = set()
    for head in sorted(heads, key=lambda head: (head.priority, head.outbox_id)):
        decision = gate.decide(head, numbers(head.number_id))
        match decision:
            case gate.Refuse():
                choice.refused.append(head.outbox_id)
            case gate.Wait():
                # Without a moment the sweeper brings it back, when the pause is over or the number is known.
                if decision.until is not None:
                    choice.later.append((head.conversation_id, (decision.until - head.now).total_seconds()))
            case gate.Probe() if head.number_id in probing:
                pass  # likewise
            case _ if _room(head.number_id, lines, circuits, now) <= admitted.get(head.number_id, 0):
                lines.park(head.number_id, head.conversation_id, bulk=head.priority >= gate.BULK)
            case _:
                admitted[head.number_id] = admitted.get(head.number_id, 0) + 1
                if isinstance(decision, gate.Probe):
                    probing.add(head.number_id)
                if head.kind == "read":
                    choice.granted.append(head.outbox_id)
                else:
                    choice.wishing.append(head)
    return choice


def _room(number_id: str, lines: Lines, circuits: Mapping[str, Circuit], now: float) -> int:
    """How many more calls of this number may start; notes when to look again if that is none for a while."""
    room = lines.room(number_id)
    circuit = circuits.get(number_id)
    allowed = None if circuit is None else circuit.room(now, lines.line(number_id).in_flight)
    if circuit is None or allowed is None:
        return room
    if not allowed:
        lines.busy_until(number_id, now + max(circuit.wait_s(now), RETRY_S))
    return min(room, allowed)
