"""A BotSchedule sends its messages with a CronJob."""

from collections import Counter
from typing import Any

import pytest

from . import planned
from .installed import TEAM, Installed

pytestmark = pytest.mark.timeout(600)


def test_each_planned_minute_sends_its_message_once_and_no_other_does(installed: Installed) -> None:
    """Each planned minute has one run, which sends one message to each contact.

    If the schedule is suspended, its CronJob is suspended too. If the schedule is deleted, its CronJob is deleted.
    """
    planned.wait(installed)
    installed.quiesce()
    got = Counter(str(sent["to"]).lstrip("+") for sent in installed.sent() if sent["text"] == planned.TEXT)
    assert got == dict.fromkeys(planned.CONTACTS, planned.RUNS)

    ended = planned.ended(installed)
    assert ",".join(each.split(":")[1] for each in ended) == planned.schedule(installed)["spec"]["schedule"].split()[0]
    installed.wait(lambda: _last_run(installed, ended[-1]), what="the last run to be in the status")
    last_run = _last_run(installed, ended[-1])
    assert last_run["result"] == "Succeeded"
    assert (last_run["recipients"], last_run["sent"], last_run["failed"]) == (
        len(planned.CONTACTS),
        len(planned.CONTACTS),
        0,
    )

    job = planned.schedule(installed)["status"]["cronJobName"]
    suspend = ("patch", "botschedule", planned.NAME, "--type=merge", '--patch={"spec":{"suspend":true}}')
    installed.kubectl(*suspend, namespace=TEAM)
    installed.wait(lambda: installed.get("cronjob", job)["spec"]["suspend"], what="the CronJob to be suspended")
    planned.delete(installed)
    assert job not in {each["metadata"]["name"] for each in installed.get("cronjobs")}


def _last_run(installed: Installed, planned_at: str) -> dict[str, Any]:
    """Returns `status.lastRun` if the planned run is the last one and has ended, else an empty dict."""
    last: dict[str, Any] = planned.schedule(installed)["status"].get("lastRun", {})
    return last if last.get("plannedAt") == planned_at and "finishedAt" in last else {}
