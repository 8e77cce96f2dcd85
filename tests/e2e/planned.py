"""Creates a BotSchedule before all tests.

One of the last tests checks the runs, because the planned minutes have passed by that time.
"""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from .installed import TEAM, Installed

NAME = "planned"
TEXT = f"what was planned, {secrets.token_hex(4)}"
"""The text is unique to this test run, so that messages of an earlier one are not counted."""

CONTACTS = [f"1555140{number:04}" for number in range(3)]
AHEAD = timedelta(seconds=30)
"""Time in which the operator creates the CronJob even on a slow machine."""

RUNS = 2


def create(installed: Installed) -> None:
    """Creates a schedule that runs once in each of the next two minutes, for contacts that wrote just now."""
    delete(installed)  # an earlier test run that was cut short may have left it
    installed.greet(CONTACTS)
    first = (datetime.now(UTC) + AHEAD + timedelta(minutes=1)).replace(second=0, microsecond=0)
    minutes = [first + timedelta(minutes=number) for number in range(RUNS)]
    # At a full hour this becomes `59,0 8,9`, which also names two minutes an hour later; it is deleted long before.
    minute, hour = (",".join(dict.fromkeys(each.strftime(part) for each in minutes)) for part in ("%M", "%H"))
    spec = {
        "numberRef": {"name": "ledger"},
        "schedule": f"{minute} {hour} * * *",
        "timeZone": "Etc/UTC",
        # A slow machine may start the second run before the first has ended.
        "concurrencyPolicy": "Allow",
        "action": {"message": {"text": TEXT, "audience": {"contacts": [f"+{each}" for each in CONTACTS]}}},
    }
    metadata = {"name": NAME, "namespace": TEAM}
    installed.apply({"apiVersion": "waypost.dev/v1alpha1", "kind": "BotSchedule", "metadata": metadata, "spec": spec})
    installed.wait(
        lambda: installed.is_ready(NAME, namespace=TEAM, kind_="botschedule"), what="the schedule to be ready"
    )


def schedule(installed: Installed) -> Any:
    """Returns the schedule as stored, or None if it is deleted."""
    found = installed.get("botschedules", namespace=TEAM)
    return next((each for each in found if each["metadata"]["name"] == NAME), None)


def ended(installed: Installed) -> list[str]:
    """Returns the planned minutes of the runs that have ended, in order of time."""
    rows = installed.query(f"""
        SELECT to_char(planned_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS minute FROM schedule_run
        WHERE schedule_uid = '{schedule(installed)["metadata"]["uid"]}' AND finished_at IS NOT NULL ORDER BY planned_at
    """)
    return [row["minute"] for row in rows]


def wait(installed: Installed) -> None:
    """Waits until all runs have ended. Returns at once if the schedule is deleted."""
    if schedule(installed) is not None:
        installed.wait(lambda: len(ended(installed)) == RUNS, what="the planned runs to have ended", deadline_s=300)


def delete(installed: Installed) -> None:
    """Deletes the schedule if it exists, and waits until it is gone.

    The function does not use kubectl's own wait, because kubectl would wait without a deadline. If no operator
    runs, the finalizer stays for ever.
    """
    installed.kubectl("delete", "botschedule", NAME, "--ignore-not-found", "--wait=false", namespace=TEAM)
    installed.wait(lambda: schedule(installed) is None, what="the planned schedule to be gone")
