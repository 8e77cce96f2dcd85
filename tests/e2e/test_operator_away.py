"""Tests of what happens while no operator runs: numbers are deleted, and the planned times of schedules pass."""

import secrets
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from .installed import TEAM, Installed

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555130{number:04}" for number in range(4)]
KINDS = "whatsappnumbers.waypost.dev"


@pytest.mark.fault("K6")
def test_numbers_deleted_without_an_operator_are_removed_when_it_returns_and_others_keep_answering(
    installed: Installed,
) -> None:
    """Numbers that are deleted while no operator runs are kept by their finalizer until an operator runs again.

    The same is true for a namespace that is deleted with its number. Other numbers keep answering. When the operator
    runs again, it cleans up at Meta as each number's `deletionPolicy` says.
    """
    with installed.team("team-away") as team, installed.team("team-gone") as gone:
        leaving = installed.another(team, "leaving", 300)
        staying = installed.another(team, "staying", 301)
        lost = installed.another(gone, "lost", 302)
        for number, policy in ((leaving, "Delete"), (staying, "Orphan"), (lost, "Orphan")):
            number.declare(deletionPolicy=policy)
        assert {_callback(leaving), _callback(staying)} <= _callbacks(installed)
        installed.scale("operator", 0)
        try:
            installed.kubectl("delete", KINDS, "--all", "--wait=false", namespace=team)
            installed.kubectl("delete", "namespace", gone, "--wait=false")
            installed.converse(CONTACTS)
            assert _names(installed, team) == {"leaving", "staying"}
            assert _names(installed, gone) == {"lost"}
        finally:
            installed.scale("operator", 1)
        installed.wait(lambda: not _names(installed, team), what="both numbers to be gone")
        installed.wait_for_deletions()
        assert _callback(leaving) not in _callbacks(installed)
        assert _callback(staying) in _callbacks(installed)
        installed.wait(
            lambda: _published(leaving) | _published(staying) == {None}, what="webhook and workers to lose both entries"
        )


@pytest.mark.slow
@pytest.mark.fault("K5")
def test_a_schedule_runs_once_at_its_time_while_no_operator_runs(installed: Installed) -> None:
    """A planned minute that passes without an operator sends its message once, by the plan that was applied last.

    A change that is made in that time applies when the operator is back. It then reports the run in the status.
    """
    installed.greet(CONTACTS)
    text = f"without an operator, {secrets.token_hex(4)}"
    planned = (datetime.now(UTC) + timedelta(minutes=2)).replace(second=0, microsecond=0)
    spec = {
        "numberRef": {"name": "ledger"},
        "schedule": f"{planned.minute} {planned.hour} * * *",
        "timeZone": "Etc/UTC",
        "action": {"message": {"text": text, "audience": {"contacts": [f"+{each}" for each in CONTACTS]}}},
    }
    metadata = {"name": "unattended", "namespace": TEAM}
    schedule = {"apiVersion": "waypost.dev/v1alpha1", "kind": "BotSchedule", "metadata": metadata, "spec": spec}
    installed.apply(schedule)
    try:
        installed.wait(lambda: _is_ready(installed), what="the schedule to be ready")
        job = _status(installed)["cronJobName"]
        installed.scale("operator", 0)
        try:
            assert datetime.now(UTC) < planned, "the machine is too slow for this test: the minute has begun"
            # In Kolkata this hour and minute is hours away, so the change must not stop or repeat the run.
            installed.apply({**schedule, "spec": {**spec, "timeZone": "Asia/Kolkata"}})
            installed.wait(lambda: set(_sent(installed, text)) == set(CONTACTS), what="the message to be sent")
            assert "lastRun" not in _status(installed)
            assert installed.get("cronjob", job)["spec"]["timeZone"] == "Etc/UTC"
        finally:
            installed.scale("operator", 1)
        installed.wait(lambda: _status(installed).get("lastRun", {}).get("finishedAt"), what="the run to be reported")
        assert installed.get("cronjob", job)["spec"]["timeZone"] == "Asia/Kolkata"
        last_run = _status(installed)["lastRun"]
        assert (last_run["plannedAt"], last_run["sent"]) == (f"{planned:%Y-%m-%dT%H:%M:%SZ}", len(CONTACTS))
        installed.quiesce()
        assert _sent(installed, text) == dict.fromkeys(CONTACTS, 1)
    finally:
        installed.kubectl("delete", "botschedule", "unattended", "--wait=false", namespace=TEAM)


def _status(installed: Installed) -> dict[str, Any]:
    found: dict[str, Any] = installed.get("botschedule", "unattended", namespace=TEAM).get("status", {})
    return found


def _is_ready(installed: Installed) -> bool:
    return installed.is_ready("unattended", namespace=TEAM, kind_="botschedule")


def _sent(installed: Installed, text: str) -> Counter[str]:
    return Counter(str(sent["to"]).lstrip("+") for sent in installed.sent() if sent["text"] == text)


def _names(installed: Installed, team: str) -> set[str]:
    return {each["metadata"]["name"] for each in installed.get(KINDS, namespace=team)}


def _callback(number: Installed) -> str:
    return f"/webhooks/{number.identity.namespace}/{number.identity.name}"


def _callbacks(installed: Installed) -> set[str]:
    """Returns the paths of all callbacks that Meta would deliver to."""
    return {urlsplit(each["callback_url"]).path for each in installed.meta("GET", "subscriptions")}


def _published(number: Installed) -> set[object]:
    return {None if each is None else "there" for each in (*number.published("webhook"), *number.published("worker"))}
