"""A bot as a Python function: it offers the next three working hours for a call back and remembers the choice.

Name it in a number as `bot: {plugin: "callback_bot:turn"}` and put this folder on the workers' PYTHONPATH. On a cluster
the chart's `bot.plugins` must also list it.
A turn does no I/O and does not read the clock: everything it may use is in `state` and `event`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from waypost.bot import BotEvent, Effect, HandOff, Reply
from waypost.cloudapi.messages import Button, Buttons, Text

OPENS, CLOSES = 9, 17


def turn(state: dict[str, Any], event: BotEvent) -> tuple[dict[str, Any], Sequence[Effect]]:
    """Takes one message; returns the new state and the answer."""
    if event.button_id in state.get("offered", []):
        thanks = Text(f"We will call you on {event.button_id}, UTC. Write PERSON if you need us sooner.")
        return {"booked": event.button_id}, [Reply(thanks)]
    if (event.text or "").strip().lower() == "person":
        return state, [HandOff(minutes=60, reply=Text("One moment please, a colleague will answer you here."))]
    if "booked" in state:
        return state, [Reply(Text(f"Your call is on {state['booked']}, UTC. Write PERSON if you need us sooner."))]
    slots = free_hours(event.now)
    question = Buttons(
        body=f"Hello {event.profile_name or 'there'}! When may we call you?"[:1024],
        buttons=tuple(Button(slot, slot) for slot in slots),
    )
    return {"offered": slots}, [Reply(question)]


def free_hours(now: float) -> list[str]:
    """Returns the next three full hours within working hours, as "Mon 23 Nov 10:00"."""
    hour = datetime.fromtimestamp(now, UTC).replace(minute=0, second=0, microsecond=0)
    found: list[str] = []
    while len(found) < 3:
        hour += timedelta(hours=1)
        if hour.weekday() < 5 and OPENS <= hour.hour < CLOSES:
            found.append(hour.strftime("%a %d %b %H:%M"))
    return found
