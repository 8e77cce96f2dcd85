"""Tests which watch events wake which objects, and how soon."""

import copy
from typing import Any

import pytest

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine import wakes
from waypost.operator.engine.object_cache import slim
from waypost.operator.engine.wakes import Dependents

from .running import FALSE, TEAM, TRUE, UNKNOWN, cron_job, number, schedule

NOW = 1_800_000_000.0


def seen(manifest: Manifest, **status: Any) -> Manifest:
    """Returns `manifest` as it is after a reconcile."""
    metadata = {**manifest["metadata"], "uid": "u", "generation": 3, "resourceVersion": "7"}
    reconciled = {
        "observedGeneration": 3,
        "conditions": [{"type": ConditionType.READY, "status": TRUE, "reason": Reason.AS_DESIRED}],
    }
    return {**manifest, "metadata": metadata, "status": reconciled | status}


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
def test_an_object_depends_on_what_its_spec_refers_to(manifest: Manifest, expected: set[wakes.Reference]) -> None:
    """References lead to objects in the namespace of the object itself. A spec that is not valid has no references."""
    assert wakes.references(manifest) == expected


@pytest.mark.parametrize(
    ("change", "is_request"),
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
def test_only_what_users_change_wakes_an_object(change: Manifest, is_request: bool) -> None:
    """Only what users change wakes an object.

    If notes of the operator or of other tools did that, the operator's own writes would wake the object.
    """
    before = seen(number())
    after = copy.deepcopy(before)
    after["metadata"].update(change)
    assert (wakes.user_request(before) != wakes.user_request(after)) is is_request


def test_a_written_status_wakes_nothing() -> None:
    """A changed status wakes nothing, because the operator itself writes the status."""
    assert wakes.user_request(seen(number())) == wakes.user_request(seen(number(), failureCount=3))


def summarised(status: ConditionStatus, reason: Reason, *, connected: bool) -> Manifest:
    """Returns a number whose condition `Ready` has the given status and reason."""
    registered = {"type": ConditionType.REGISTERED, "status": TRUE if connected else FALSE, "reason": Reason.CONNECTED}
    return seen(number(), conditions=[{"type": ConditionType.READY, "status": status, "reason": reason}, registered])


@pytest.mark.parametrize(
    ("before", "after", "is_news"),
    [
        (
            summarised(FALSE, Reason.WAITING_FOR_WEBHOOK, connected=True),
            summarised(TRUE, Reason.AS_DESIRED, connected=True),
            False,
        ),
        (
            summarised(UNKNOWN, Reason.RECONCILING, connected=False),
            summarised(FALSE, Reason.WAITING_FOR_WEBHOOK, connected=True),
            True,
        ),
        (summarised(TRUE, Reason.AS_DESIRED, connected=True), summarised(FALSE, Reason.CONFLICT, connected=True), True),
        (
            summarised(FALSE, Reason.NOT_CONNECTED, connected=False),
            summarised(FALSE, Reason.PIN_MISSING, connected=False),
            True,
        ),
        (
            summarised(TRUE, Reason.AS_DESIRED, connected=True),
            summarised(FALSE, Reason.NOT_CONNECTED, connected=False),
            True,
        ),
    ],
)
def test_only_what_schedules_need_of_a_number_wakes_them(before: Manifest, after: Manifest, is_news: bool) -> None:
    """A number wakes its schedules only if a change matters to them, because there may be a thousand of them.

    Schedules need to know whether the number can send and, while it cannot, why.
    """
    assert (wakes.availability(before) != wakes.availability(after)) is is_news


def proven(ready: tuple[ConditionStatus, Reason], **changes: tuple[ConditionStatus, Reason]) -> Manifest:
    """Returns a number whose credentials Meta accepts. The given conditions replace the default ones."""
    found: dict[str, tuple[ConditionStatus, Reason]] = {
        ConditionType.READY: ready,
        ConditionType.CREDENTIALS_VALID: (TRUE, Reason.ACCEPTED),
        ConditionType.TOKEN_VALID: (TRUE, Reason.VALID),
        ConditionType.REGISTERED: (TRUE, Reason.CONNECTED),
    }
    conditions = [
        {"type": type_, "status": status, "reason": reason} for type_, (status, reason) in (found | changes).items()
    ]
    return seen(number(), conditions=conditions)


AS_DESIRED = (TRUE, Reason.AS_DESIRED)


@pytest.mark.parametrize(
    ("manifest", "is_proven"),
    [
        (seen(number()), False),
        (proven(AS_DESIRED), True),
        (proven((FALSE, Reason.CALLBACK_REFUSED)), True),
        (proven(AS_DESIRED, Registered=(FALSE, Reason.PIN_MISSING)), True),
        (proven((TRUE, Reason.SUSPENDED)), True),
        (proven((FALSE, Reason.SUSPENDED)), False),
        (proven((FALSE, Reason.CONFLICT)), False),
        (proven((FALSE, Reason.TOKEN_REVOKED), TokenValid=(FALSE, Reason.TOKEN_REVOKED)), False),
        (proven((FALSE, Reason.NO_ACCESS), Registered=(FALSE, Reason.NO_ACCESS)), False),
        (proven((UNKNOWN, Reason.NOT_LOOKED_AT), Registered=(UNKNOWN, Reason.NOT_LOOKED_AT)), False),
    ],
)
def test_only_a_change_of_its_proof_wakes_others_that_claim_the_same_number(
    manifest: Manifest, is_proven: bool
) -> None:
    """An object wakes others with the same phone number only if Meta's answer about its claim changes.

    The others then check whether the number is theirs.
    """
    assert wakes.claim_state(manifest) is is_proven


def test_a_deleted_or_replaced_number_wakes_its_schedules() -> None:
    """A deleted or replaced number wakes its schedules. They must not send from a number that no longer exists."""
    before = summarised(TRUE, Reason.AS_DESIRED, connected=True)
    for change in ({"deletionTimestamp": "2026-01-01T00:00:00Z"}, {"uid": "another"}):
        after = copy.deepcopy(before)
        after["metadata"].update(change)
        assert wakes.availability(before) != wakes.availability(after)


@pytest.mark.parametrize(
    ("status", "metadata", "expected"),
    [
        ({}, {}, 150.0),  # healthy: half of the interval, because the draw is one half
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
def test_an_object_from_before_the_restart_waits_as_long_as_it_can(
    status: Manifest, metadata: Manifest, expected: float
) -> None:
    """After a restart, only objects with new requests are reconciled at once, because each reconcile asks Meta.

    The others keep their back-off or are spread over time.
    """
    manifest = seen(number(), **status)
    manifest["metadata"].update(metadata)
    assert wakes.first_delay_s(manifest, now=NOW, resync_s=300.0, draw=lambda: 0.5) == expected


def test_an_object_that_was_never_reconciled_is_reconciled_at_once() -> None:
    """An object that was applied while no operator ran is reconciled at once."""
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
def test_a_cron_job_names_its_schedule_by_two_labels(labels: dict[str, str], expected: object) -> None:
    """A CronJob names its schedule by two labels: the namespace and the name.

    The name alone is not enough, because the CronJob is in another namespace than its schedule.
    """
    child = cron_job("child", "news")
    child["metadata"]["labels"] = labels
    assert wakes.schedule_of(child) == expected


def test_dependents_follow_changed_references() -> None:
    """After a number refers to another Secret, only the new Secret wakes it. Nothing wakes a deleted number."""
    dependents, key = Dependents(), ("WhatsAppNumber", TEAM, "support")
    dependents.put(key, [("Secret", TEAM, "old"), ("ConfigMap", TEAM, "bot")])
    dependents.put(key, [("Secret", TEAM, "new"), ("ConfigMap", TEAM, "bot")])
    assert dependents.of(("Secret", TEAM, "old")) == frozenset()
    assert dependents.of(("Secret", TEAM, "new")) == {key}
    dependents.put(key, [])
    assert dependents.of(("ConfigMap", TEAM, "bot")) == frozenset()


def test_a_number_whose_entry_moves_wakes_its_schedules() -> None:
    """If a number's entry moves to another Secret of the registry, the number's schedules are woken.

    Runs that check a token mount this Secret, so their CronJobs change. The short form of a number in the cache
    also says in which Secret the entry is.
    """
    before = slim(seen(number(), registryShard=3))
    assert wakes.availability(before) == wakes.availability(seen(number(), registryShard=3))
    assert wakes.availability(before) != wakes.availability(seen(number(), registryShard=4))
