"""What a conversation remembers between turns, as plain JSON.

Reading never fails: whatever is stored (an older layout, another script, nonsense) becomes a state that this script
can go on from, and what cannot be understood is forgotten rather than guessed.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from waypost.bot.event import readable

State = dict[str, Any]
"""JSON-able; `{}` is a conversation that has not begun."""

LAYOUT = 1
"""Raised when the meaning of a key changes; a state of another layout is read as none."""

SLOT_LIMIT = 1000
"""Characters kept of one answer."""


@dataclass(slots=True)
class Progress:
    """`State`, checked. A turn works on its own copy."""

    dialog: str | None = None
    step: str | None = None
    asked_at: float = 0.0
    tries: int = 0
    slots: dict[str, str] = field(default_factory=dict)
    missed: int = 0
    opted_out: bool = False

    def leave(self) -> None:
        """Out of the dialog; the answers given so far are kept."""
        self.dialog = self.step = None
        self.tries = 0
        self.asked_at = 0.0


def read(state: object, slots: Collection[str]) -> Progress:
    """`state` as far as it can be understood; only answers named in `slots` are kept."""
    if not isinstance(state, Mapping) or _whole(state.get("v")) != LAYOUT:
        return Progress()
    progress = Progress(
        missed=_whole(state.get("missed")),
        opted_out=state.get("opted_out") is True,
    )
    known = state.get("slots")
    if isinstance(known, Mapping):
        progress.slots = {
            name: readable(value[:SLOT_LIMIT])
            for name in sorted(slots)
            if isinstance(value := known.get(name), str) and value.strip()
        }
    dialog, step = state.get("dialog"), state.get("step")
    if isinstance(dialog, str) and isinstance(step, str):
        progress.dialog, progress.step = dialog, step
        progress.tries = _whole(state.get("tries"))
        progress.asked_at = seconds(state.get("asked_at"))
    return progress


def write(progress: Progress) -> State:
    """The state to store; what has its ordinary value is left out."""
    state: State = {"v": LAYOUT}
    if progress.dialog is not None and progress.step is not None:
        state["dialog"] = progress.dialog
        state["step"] = progress.step
        state["asked_at"] = progress.asked_at
        if progress.tries:
            state["tries"] = progress.tries
    if progress.slots:
        state["slots"] = progress.slots
    if progress.missed:
        state["missed"] = progress.missed
    if progress.opted_out:
        state["opted_out"] = True
    return state


def seconds(value: object) -> float:
    """`value` as unix seconds between 1970 and the year 9999, 0 when it is no such time."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    if not (0 <= value < 253_402_000_000) or not math.isfinite(value):
        return 0.0
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(value, 0), 1_000_000)
