"""A conversation's memory between turns, as plain JSON.

Reading a state never fails. The stored value may have an older layout, belong to another script, or be
nonsense. It always becomes a state that the current script can continue from. Parts that cannot be understood
are dropped, not guessed.
"""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from waypost.bot.event import readable

State = dict[str, Any]
"""The state of a conversation, as a JSON object. `{}` is the state of a conversation that has not begun."""

LAYOUT = 1
"""The version of the state's layout, raised when the meaning of a key changes.

A state of another layout is read as empty.
"""

SLOT_LIMIT = 1000
"""The most characters that are stored of one answer."""


@dataclass(slots=True)
class Progress:
    """A state that was checked and split into fields. Each turn works on its own copy."""

    dialog: str | None = None
    step: str | None = None
    asked_at: float = 0.0
    tries: int = 0
    slots: dict[str, str] = field(default_factory=dict)
    missed: int = 0
    opted_out: bool = False

    def leave_dialog(self) -> None:
        """Leaves the dialog. The answers given so far are kept."""
        self.dialog = self.step = None
        self.tries = 0
        self.asked_at = 0.0


def read(state: object, slots: Collection[str]) -> Progress:
    """Returns the parts of `state` that can be understood. Only answers whose names are in `slots` are kept."""
    if not isinstance(state, Mapping) or _whole(state.get("v")) != LAYOUT:
        return Progress()
    progress = Progress(
        missed=_whole(state.get("missed")),
        opted_out=state.get("opted_out") is True,
    )
    stored = state.get("slots")
    if isinstance(stored, Mapping):
        progress.slots = {
            name: readable(value[:SLOT_LIMIT])
            for name in sorted(slots)
            if isinstance(value := stored.get(name), str) and value.strip()
        }
    dialog, step = state.get("dialog"), state.get("step")
    if isinstance(dialog, str) and isinstance(step, str):
        progress.dialog, progress.step = dialog, step
        progress.tries = _whole(state.get("tries"))
        progress.asked_at = seconds(state.get("asked_at"))
    return progress


def write(progress: Progress) -> State:
    """Returns the state to store. Fields with their default value are left out."""
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
    """Returns `value` as unix seconds between 1970 and the year 9999, or 0 if it is not such a time."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    if not (0 <= value < 253_402_000_000) or not math.isfinite(value):
        return 0.0
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(value, 0), 1_000_000)
