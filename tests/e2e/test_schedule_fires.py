"""A BotSchedule fires by its CronJob."""

from collections import Counter
from typing import Any

import pytest

from . import planned
from .installed import TEAM, Installed

pytestmark = pytest.mark.timeout(600)


def test_each_planned_minute_sends_its_message_once_and_no_other_does(installed: Installed) -> None:
    """One run for each minute, one message of it for each contact; suspended and deleted, its CronJob is so too."""
    installed.wait(lambda: len(_ended(installed)) == planned.RUNS, what="both runs to have ended", deadline_s=300)
    installed.quiesce()
    got = Counter(str(sent["to"]).lstrip("+") for sent in installed.sent() if sent["text"] == planned.TEXT)
    assert got == dict.fromkeys(planned.CONTACTS, planned.RUNS)

    ended = _ended(installed)
    assert ",".join(each.split(":")[1] for each in ended) == _schedule(installed)["spec"]["schedule"].split()[0]
    installed.wait(
        lambda: _schedule(installed)["status"].get("lastRun", {}).get("finishedAt"), what="the last run told"
    )
    told = _schedule(installed)["status"]["lastRun"]
    assert (told["plannedAt"], told["result"]) == (ended[-1], "Succeeded")
    assert (told["recipients"], told["sent"], told["failed"]) == (len(planned.CONTACTS), len(planned.CONTACTS), 0)

    job = _schedule(installed)["status"]["cronJobName"]
    suspend = ("patch", "botschedule", planned.NAME, "--type=merge", '--patch={"spec":{"suspend":true}}')
    installed.kubectl(*suspend, namespace=TEAM)
    installed.wait(lambda: installed.get("cronjob", job)["spec"]["suspend"], what="the CronJob to be suspended")
    planned.delete(installed)
    assert job not in {each["metadata"]["name"] for each in installed.get("cronjobs")}


def _schedule(installed: Installed) -> Any:
    return installed.get("botschedule", planned.NAME, namespace=TEAM)


def _ended(installed: Installed) -> list[str]:
    """The planned minutes of the runs that ended, in order."""
    uid = _schedule(installed)["metadata"]["uid"]
    rows = installed.query(f"""
        SELECT to_char(planned_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS planned_at FROM schedule_run
        WHERE schedule_uid = '{uid}' AND finished_at IS NOT NULL ORDER BY schedule_run.planned_at
    """)
    return [row["planned_at"] for row in rows]
