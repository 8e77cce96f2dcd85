"""What an event means, as tables."""

import copy
from typing import Any

import pytest

from waypost.operator.api.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine import wakes
from waypost.operator.engine.wakes import Dependents

from .running import FALSE, TEAM, TRUE, UNKNOWN, cron_job, number, schedule

NOW = 1_800_000_000.0


def seen(manifest: Manifest, **status: Any) -> Manifest:
    """As it is after a reconcile."""
    metadata = {**manifest["metadata"], "uid": "u", "generation": 3, "resourceVersion": "7"}
    told = {
        "observedGeneration": 3,
        "conditions": [{"type": ConditionType.READY, "status": TRUE, "reason": Reason.AS_DESIRED}],
    }
    return {**manifest, "metadata": metadata, "status": told | status}


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        (
            number(phoneNumberId="42"),
            {("Secret", TEAM, "support-meta"), ("ConfigMap", TEAM, "support-bot"), ("phoneNumberId", "", "42")},
        ),
        (schedule(), {("WhatsAppNumber", TEAM, "support")}),
        ({"kind": "WhatsAppNumber", "metadata": {"namespace": TEAM}}, set()),
        (
            {"kind": "WhatsAppNumber", "metadata": {"namespace": TEAM}, "spec": {"bot": None, "credentialsRef": 1}},
            set(),
        ),
    ],
)
def test_what_an_object_depends_on(manifest: Manifest, expected: set[wakes.Reference]) -> None:
    """Always in its own namespace, and nothing where the spec makes no sense."""
    assert wakes.references(manifest) == expected


@pytest.mark.parametrize(
    ("change", "is_wish"),
    [
        ({"generation": 4}, True),
        ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, True),
        ({"annotations": {"waypost.dev/reconcile-requested-at": "now"}}, True),
        ({"uid": "another"}, True),
        ({"annotations": {"example.org/other": "x"}}, False),
        ({"labels": {"a": "b"}}, False),
        ({"resourceVersion": "8"}, False),
        ({"finalizers": ["waypost.dev/number"]}, False),
    ],
)
def test_which_changes_of_an_object_are_a_reason(change: Manifest, is_wish: bool) -> None:
    """What a user wants is; what we or others note on it is not, or our own writes would wake us."""
    before = seen(number())
    after = copy.deepcopy(before)
    after["metadata"].update(change)
    assert (wakes.wish(before) != wakes.wish(after)) is is_wish


def test_a_status_is_no_reason() -> None:
    """We write it."""
    assert wakes.wish(seen(number())) == wakes.wish(seen(number(), failureCount=3))


def told(status: ConditionStatus, reason: Reason, *, connected: bool) -> Manifest:
    """A number with such a summary."""
    registered = {"type": ConditionType.REGISTERED, "status": TRUE if connected else FALSE, "reason": Reason.CONNECTED}
    return seen(number(), conditions=[{"type": ConditionType.READY, "status": status, "reason": reason}, registered])


@pytest.mark.parametrize(
    ("before", "after", "is_news"),
    [
        (told(FALSE, Reason.WAITING_FOR_WEBHOOK, connected=True), told(TRUE, Reason.AS_DESIRED, connected=True), False),
        (
            told(UNKNOWN, Reason.RECONCILING, connected=False),
            told(FALSE, Reason.WAITING_FOR_WEBHOOK, connected=True),
            True,
        ),
        (told(TRUE, Reason.AS_DESIRED, connected=True), told(FALSE, Reason.CONFLICT, connected=True), True),
        (told(FALSE, Reason.NOT_CONNECTED, connected=False), told(FALSE, Reason.PIN_MISSING, connected=False), True),
        (told(TRUE, Reason.AS_DESIRED, connected=True), told(FALSE, Reason.NOT_CONNECTED, connected=False), True),
    ],
)
def test_which_changes_of_a_number_concern_its_schedules(before: Manifest, after: Manifest, is_news: bool) -> None:
    """Whether it can be sent from, and while it cannot, why; a thousand schedules are not looked at for less."""
    assert (wakes.offer(before) != wakes.offer(after)) is is_news


def test_a_number_that_goes_or_is_another_concerns_its_schedules() -> None:
    """They must not send from what is gone."""
    before = told(TRUE, Reason.AS_DESIRED, connected=True)
    for change in ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, {"uid": "another"}):
        after = copy.deepcopy(before)
        after["metadata"].update(change)
        assert wakes.offer(before) != wakes.offer(after)


@pytest.mark.parametrize(
    ("status", "metadata", "expected"),
    [
        ({}, {}, 150.0),  # well: half of the interval, for the draw is one half
        ({"observedGeneration": 2}, {}, 0.0),
        ({}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}, 0.0),
        ({}, {"annotations": {"waypost.dev/reconcile-requested-at": "now"}}, 0.0),
        (
            {"lastHandledReconcileAt": "now"},
            {"annotations": {"waypost.dev/reconcile-requested-at": "now"}},
            150.0,
        ),
        ({"conditions": [{"type": ConditionType.READY, "status": FALSE}]}, {}, 15.0),
        ({"conditions": []}, {}, 15.0),
        ({"nextAttemptTime": "2027-01-15T08:01:40Z"}, {}, 100.0),  # NOW + 100 s
        ({"nextAttemptTime": "2027-01-15T10:00:00Z"}, {}, 300.0),  # never later than a resync
        ({"nextAttemptTime": "2020-01-01T00:00:00Z"}, {}, 150.0),
    ],
)
def test_when_an_object_that_was_there_before_is_looked_at_first(
    status: Manifest, metadata: Manifest, expected: float
) -> None:
    """A restart asks Meta of what needs it at once, and of the rest over time."""
    manifest = seen(number(), **status)
    manifest["metadata"].update(metadata)
    assert wakes.first_delay_s(manifest, now=NOW, resync_s=300.0, draw=lambda: 0.5) == expected


def test_one_that_nobody_has_seen_to_is_looked_at_at_once() -> None:
    """It was applied while no operator ran."""
    manifest = number()
    manifest["metadata"]["generation"] = 1
    assert wakes.first_delay_s(manifest, now=NOW, resync_s=300.0, draw=lambda: 0.5) == 0.0


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"waypost.dev/schedule-namespace": TEAM, "waypost.dev/schedule-name": "news"}, ("BotSchedule", TEAM, "news")),
        ({"waypost.dev/schedule-name": "news"}, None),
        ({}, None),
    ],
)
def test_whose_a_cron_job_is(labels: dict[str, str], expected: object) -> None:
    """By both labels, for it lives in another namespace than its schedule."""
    child = cron_job("child", "news")
    child["metadata"]["labels"] = labels
    assert wakes.owner(child) == expected


def test_dependents_follow_what_is_referred_to() -> None:
    """A number that takes another Secret is woken by the new one only; one that is gone, by none."""
    dependents, key = Dependents(), ("WhatsAppNumber", TEAM, "support")
    dependents.put(key, [("Secret", TEAM, "old"), ("ConfigMap", TEAM, "bot")])
    dependents.put(key, [("Secret", TEAM, "new"), ("ConfigMap", TEAM, "bot")])
    assert dependents.of(("Secret", TEAM, "old")) == frozenset()
    assert dependents.of(("Secret", TEAM, "new")) == {key}
    dependents.put(key, [])
    assert dependents.of(("ConfigMap", TEAM, "bot")) == frozenset()
