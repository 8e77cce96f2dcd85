"""A BotSchedule that is made before all tests and looked at by one of the last: its minutes pass meanwhile."""

import secrets
from datetime import UTC, datetime, timedelta

from .installed import TEAM, Installed

NAME = "planned"
TEXT = f"what was planned, {secrets.token_hex(4)}"
"""Another one each time: what Meta took earlier is not taken for ours."""

CONTACTS = [f"1555140{number:04}" for number in range(3)]
AHEAD = timedelta(seconds=45)
"""Within this time the operator has made the CronJob, also on a slow machine."""

RUNS = 2


def create(installed: Installed) -> None:
    """For the next two minutes, to contacts that wrote just now."""
    installed.greet(CONTACTS)
    first = (datetime.now(UTC) + AHEAD + timedelta(minutes=1)).replace(second=0, microsecond=0)
    minutes = [first + timedelta(minutes=number) for number in range(RUNS)]
    # Around a full hour, `59,0 8,9`: an hour later there would be more, and it is long deleted then.
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


def delete(installed: Installed) -> None:
    """If a test has not done it."""
    installed.kubectl("delete", "botschedule", NAME, "--ignore-not-found", namespace=TEAM)
