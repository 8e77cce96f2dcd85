"""kopf's watches wake the right objects.

The tests use a real kopf operator, an API server in memory, and reconcilers that only record their calls.
"""

import asyncio
import signal
import threading
from pathlib import Path

import kopf
import pytest

from waypost.operator.api.number_models import FINALIZER, RECONCILE_REQUESTED
from waypost.operator.cluster import connection
from waypost.operator.engine import handlers
from waypost.telemetry import metrics

from .apiserver import ApiServer, Fault, Manifest
from .running import RELEASE, TEAM, Fleet, Notes, config_map, cron_job, number, schedule, secret, settled, until

CANARY = "waypost-operator-canary"


def is_ready(api: ApiServer, kind: str, name: str, namespace: str = TEAM) -> bool:
    """Returns whether the object's status belongs to its latest spec."""
    found = api.get(kind, namespace, name) or {}
    return bool(found.get("status", {}).get("observedGeneration") == found.get("metadata", {}).get("generation"))


def writes(api: ApiServer) -> list[str]:
    """Returns all writes that changed something, except the canary's."""
    return [f"{each.verb} {each.kind} {each.name}" for each in api.changes() if each.name != CANARY]


def test_a_new_number_is_reconciled(api: ApiServer, fleet: Fleet) -> None:
    """The watch causes the reconcile of a new number, without a resync. The operator's own writes wake no object."""
    notes = fleet.start()
    api.put(number())
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "a status is written")
    settled(lambda: len(api.requests), for_s=1.5)
    assert notes.reconciled["support"] == 1


@pytest.mark.anyio
async def test_a_signal_to_kopf_stops_the_operator(api: ApiServer, tmp_path: Path) -> None:
    """A signal that kopf handles also sets the operator's own `stop`.

    Otherwise a task of kopf would keep waiting for `stop`, and the process would end some seconds later.
    """
    kubeconfig, registry, stop = api.kubeconfig(tmp_path), kopf.OperatorRegistry(), asyncio.Event()

    @kopf.on.login(registry=registry)
    async def connect(**_: object) -> kopf.ConnectionInfo:
        return await connection.for_kopf(kubeconfig)

    @kopf.on.event("configmaps", registry=registry)
    async def watch(**_: object) -> None:
        """Takes the event and does nothing."""

    watching = asyncio.create_task(handlers.run(registry, namespaces=[TEAM], stop=stop))
    await asyncio.to_thread(until, lambda: api.watching("ConfigMap"), "it watches, so it handles signals, too")
    signal.raise_signal(signal.SIGTERM)
    await watching
    assert stop.is_set()


def test_the_operator_runs_as_a_user_without_a_name(
    api: ApiServer, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator runs as a numeric user that has no name.

    A container's user is in no user database, so asking the system for the user's name is an error.
    """

    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", no_name)
    fleet.start()
    api.put(number())
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "a status is written")


def test_a_spec_that_changes_during_a_reconcile_is_reconciled_again(api: ApiServer, fleet: Fleet) -> None:
    """If a spec changes during a reconcile, the object is reconciled again, so its last status is for the latest spec.

    Two reconciles of one object never overlap.
    """
    changed = threading.Event()

    async def change_spec(manifest: Manifest) -> None:
        if not changed.is_set():
            changed.set()
            new = number(suspend=True)
            await asyncio.to_thread(api.put, new)

    notes = Notes()
    notes.before_status = change_spec
    fleet.start(notes=notes)
    api.put(number())
    until(
        lambda: changed.is_set() and is_ready(api, "WhatsAppNumber", "support"),
        "the status is about the second generation",
    )
    assert notes.generations["support"][-1] == 2


def test_a_deleted_cron_job_wakes_its_schedule(api: ApiServer, fleet: Fleet) -> None:
    """The watch wakes a schedule as soon as its CronJob is deleted."""
    api.put(schedule())
    api.put(cron_job("child", "news"))
    notes = fleet.start()
    until(lambda: is_ready(api, "BotSchedule", "news"), "the schedule is ready")
    before = notes.reconciled["news"]
    api.delete("CronJob", RELEASE, "child")
    until(lambda: notes.reconciled["news"] > before, "the schedule is reconciled")


def test_a_drifted_cron_job_wakes_its_schedule(api: ApiServer, fleet: Fleet) -> None:
    """An edit of a CronJob's spec wakes its schedule at once. A new label on the CronJob does not."""
    api.put(schedule())
    api.put(cron_job("child", "news"))
    notes = fleet.start()
    until(lambda: is_ready(api, "BotSchedule", "news"), "the schedule is ready")
    before = notes.reconciled["news"]
    api.edit("CronJob", RELEASE, "child", lambda each: each["metadata"]["labels"].update(extra="label"))
    settled(lambda: notes.reconciled["news"])
    assert notes.reconciled["news"] == before
    api.edit("CronJob", RELEASE, "child", lambda each: each["spec"].update(schedule="* * * * *"))
    until(lambda: notes.reconciled["news"] > before, "the schedule is reconciled")


def test_a_changed_secret_wakes_only_its_number(api: ApiServer, fleet: Fleet) -> None:
    """A changed Secret wakes its number at once, so a rotated token is used. No other number is reconciled."""
    for name in ("support", "sales"):
        api.put(secret(f"{name}-meta"))
        api.put(number(name))
    notes = fleet.start()
    until(lambda: all(is_ready(api, "WhatsAppNumber", name) for name in ("support", "sales")), "both are ready")
    notes.reconciled.clear()
    api.put(secret("support-meta", value="two"))
    until(lambda: notes.reconciled["support"], "the number is reconciled")
    settled(notes.reconciled.total)
    assert notes.reconciled == {"support": 1}


def test_a_new_secret_wakes_the_number_that_waits_for_it(api: ApiServer, fleet: Fleet) -> None:
    """A new Secret wakes the number that waits for it, because a number may be applied before its Secret."""
    api.put(number())
    notes = fleet.start()
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "it was reconciled")
    before = notes.reconciled["support"]
    api.put(secret("support-meta"))
    until(lambda: notes.reconciled["support"] > before, "the number is reconciled")


def test_nothing_is_listed_or_watched_without_its_selector(api: ApiServer, fleet: Fleet) -> None:
    """All lists and watches have a label selector, so the API server never sends Secrets that did not opt in."""
    fleet.start()
    asked = {kind: {selector for each, selector in api.selectors if each == kind} for kind, _ in api.selectors}
    assert asked["Secret"] == {"waypost.dev/credentials=true"}
    assert asked["ConfigMap"] == {"waypost.dev/watched=true"}
    assert asked["CronJob"] == {"waypost.dev/schedule-name"}


def test_a_changed_bot_wakes_its_number(api: ApiServer, fleet: Fleet) -> None:
    """A changed bot script wakes its number, so that the new script is published at once."""
    api.put(config_map("support-bot"))
    api.put(number())
    notes = fleet.start()
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "it is ready")
    before = notes.reconciled["support"]
    api.put(config_map("support-bot", text="version: 2"))
    until(lambda: notes.reconciled["support"] > before, "the number is reconciled")


def test_the_annotation_asks_for_a_reconcile(api: ApiServer, fleet: Fleet) -> None:
    """The annotation `waypost.dev/reconcile-requested-at` asks for a reconcile.

    `kubectl annotate … waypost.dev/reconcile-requested-at=now` works as with Flux.
    """
    api.put(number())
    notes = fleet.start()
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "it is ready")
    before = notes.reconciled["support"]
    asked = {RECONCILE_REQUESTED: "now"}
    api.edit("WhatsAppNumber", TEAM, "support", lambda each: each["metadata"].update(annotations=asked))
    until(lambda: notes.reconciled["support"] > before, "the number is reconciled")


def test_a_number_deleted_while_the_operator_was_down_is_finalized(api: ApiServer, fleet: Fleet) -> None:
    """A number that was deleted while no operator ran is finalized by the next operator.

    `kubectl delete` waits until then.
    """
    notes = fleet.start()
    api.put(number())
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "it is ready")
    fleet.stop()
    api.delete("WhatsAppNumber", TEAM, "support")
    assert api.get("WhatsAppNumber", TEAM, "support") is not None
    fleet.start(notes=notes)
    until(lambda: api.get("WhatsAppNumber", TEAM, "support") is None, "it is gone")
    assert notes.finalized["support"] == 1


def test_a_deleted_number_is_finalized_once(api: ApiServer, fleet: Fleet) -> None:
    """A deleted number is finalized once, and the operator then makes no further requests for it."""
    notes = fleet.start()
    api.put(number())
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "it is ready")
    api.delete("WhatsAppNumber", TEAM, "support")
    until(lambda: api.get("WhatsAppNumber", TEAM, "support") is None, "it is gone")
    settled(lambda: len(api.requests), for_s=1.5)
    assert notes.finalized["support"] == 1


def test_an_object_that_only_others_hold_is_left_alone(api: ApiServer, fleet: Fleet) -> None:
    """If only another system's finalizer holds a deleted object, the operator does nothing with this object."""
    notes = fleet.start()
    held = number()
    held["metadata"]["finalizers"] = ["other.example.org/keeps"]
    held["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    api.put(held)
    settled(lambda: len(api.requests))
    assert not notes.reconciled
    assert not notes.finalized


def test_two_hundred_numbers_at_once_are_each_reconciled_once(api: ApiServer, fleet: Fleet) -> None:
    """Two hundred new numbers are each reconciled exactly once, with a limited number of reconciles at a time."""
    notes = fleet.start()
    names = [f"number-{index}" for index in range(200)]
    for name in names:
        api.put(number(name))
    until(lambda: all(is_ready(api, "WhatsAppNumber", name) for name in names), "all are ready")
    settled(lambda: len(api.requests), for_s=1.5)
    assert notes.reconciled.total() == 200
    assert notes.most_at_once <= 24


def test_nothing_is_written_while_nothing_happens(api: ApiServer, fleet: Fleet) -> None:
    """While all objects are as desired, resyncs only read. Only the canary writes."""
    for index in range(10):
        api.put(number(f"number-{index}"))
        api.put(schedule(f"schedule-{index}", f"number-{index}"))
    notes = fleet.start(resync_s=0.6)
    until(lambda: all(is_ready(api, "BotSchedule", f"schedule-{index}") for index in range(10)), "all are ready")
    settled(lambda: len(writes(api)))
    before, rounds = writes(api), dict(notes.reconciled)
    until(lambda: all(notes.reconciled[name] >= count + 3 for name, count in rounds.items()), "three more rounds")
    assert writes(api) == before


def test_a_restart_does_not_reconcile_everything_at_once(api: ApiServer, fleet: Fleet) -> None:
    """After a restart, objects that changed while no operator ran are reconciled at once.

    The reconciles of all other healthy objects are spread over the resync interval.
    """
    names = [f"number-{index}" for index in range(50)]
    for name in names:
        api.put(secret(f"{name}-meta"))
        api.put(number(name))
    fleet.start()
    until(lambda: all(is_ready(api, "WhatsAppNumber", name) for name in names), "all are ready")
    fleet.stop()
    api.edit("WhatsAppNumber", TEAM, "number-7", lambda each: each["spec"].update(suspend=True))
    notes = fleet.start(resync_s=1_000_000)
    until(lambda: is_ready(api, "WhatsAppNumber", "number-7"), "the changed one is ready")
    settled(notes.reconciled.total)
    assert notes.reconciled == {"number-7": 1}


def test_what_happened_in_a_gap_of_the_watch_is_found(api: ApiServer, fleet: Fleet) -> None:
    """After the error 410 for an old watch, all objects are listed, and only the changed ones are reconciled."""
    for name in ("support", "sales", "press"):
        api.put(secret(f"{name}-meta"))
        api.put(number(name))
    notes = fleet.start()
    until(lambda: all(is_ready(api, "WhatsAppNumber", name) for name in ("support", "sales", "press")), "ready")
    notes.reconciled.clear()

    def change_both() -> None:
        api.store(number("support", suspend=True))
        api.store(secret("sales-meta", value="two"))

    api.end_streams(change_both)
    until(lambda: notes.reconciled["support"] and notes.reconciled["sales"], "both changes are found")
    settled(notes.reconciled.total)
    assert notes.reconciled["press"] == 0


def test_a_defect_in_one_reconcile_leaves_the_others_alone(api: ApiServer, fleet: Fleet) -> None:
    """A defect in the reconcile of one object does not affect other objects.

    The defect is counted, and the object is tried again.
    """
    notes = Notes()
    failures = metrics.reconcile_errors_total.labels(kind="WhatsAppNumber", error="RuntimeError")
    before = failures._value.get()
    notes.fails = lambda name: name == "broken" and notes.reconciled["broken"] < 3
    fleet.start(notes=notes)
    api.put(number("broken"))
    api.put(number("fine"))
    until(lambda: is_ready(api, "WhatsAppNumber", "fine"), "the other one is ready")
    until(lambda: is_ready(api, "WhatsAppNumber", "broken"), "it recovers by itself")
    assert failures._value.get() == before + 2


@pytest.mark.parametrize("status", [500, 409])
def test_refused_writes_and_reads_are_repeated(api: ApiServer, fleet: Fleet, status: int) -> None:
    """Refused reads and writes are repeated, so the object becomes ready without a further event."""
    fleet.start()
    api.faults += [
        Fault(lambda verb, kind, _: (verb, kind) == ("update", "WhatsAppNumber"), status, 2),
        Fault(lambda verb, kind, _: (verb, kind) == ("get", "WhatsAppNumber"), 500, 1),
    ]
    api.put(number())
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "it is ready in the end")


def test_a_number_that_becomes_ready_wakes_its_schedules(api: ApiServer, fleet: Fleet) -> None:
    """A number that becomes ready wakes its schedules, because a schedule may be applied before its number."""
    notes = fleet.start()
    api.put(schedule())
    until(lambda: is_ready(api, "BotSchedule", "news"), "it was reconciled")
    before = notes.reconciled["news"]
    api.put(number())
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "the number is ready")
    until(lambda: notes.reconciled["news"] > before, "the schedule is reconciled")


def test_a_deleted_number_wakes_the_one_that_claims_the_same_phone_number(api: ApiServer, fleet: Fleet) -> None:
    """When the older of two claims to a phone number is deleted, the younger claim takes over at once."""
    for name in ("older", "younger"):
        api.put(number(name, phoneNumberId="106540352242922"))
    notes = fleet.start()
    until(lambda: all(is_ready(api, "WhatsAppNumber", name) for name in ("older", "younger")), "both were reconciled")
    before = notes.reconciled["younger"]
    api.delete("WhatsAppNumber", TEAM, "older")
    until(lambda: notes.reconciled["younger"] > before, "the younger is reconciled")


def test_a_number_that_meta_refuses_wakes_the_one_that_claims_the_same_phone_number(
    api: ApiServer, fleet: Fleet
) -> None:
    """If a number is proven or refused at Meta, the other objects with the same phone number are woken.

    Other changes of the number do not wake them.
    """
    for name in ("first", "second"):
        api.put(number(name, phoneNumberId="106540352242922"))
    notes = fleet.start()
    until(lambda: all(is_ready(api, "WhatsAppNumber", name) for name in ("first", "second")), "both were reconciled")
    before = notes.reconciled["second"]

    def report(status: str) -> None:
        types = ("CredentialsValid", "TokenValid", "Registered")
        conditions = [{"type": each, "status": status, "reason": "Seen"} for each in types]
        api.edit("WhatsAppNumber", TEAM, "first", lambda each: each["status"].update(conditions=conditions))

    report("Unknown")
    settled(lambda: notes.reconciled["second"])
    assert notes.reconciled["second"] == before
    report("True")
    until(lambda: notes.reconciled["second"] > before, "it is reconciled when the first one is proven")
    settled(lambda: notes.reconciled["second"])
    proven = notes.reconciled["second"]
    report("False")
    until(lambda: notes.reconciled["second"] > proven, "it is reconciled when Meta refuses the first one")


def test_in_namespaced_mode_other_namespaces_are_left_alone(api: ApiServer, fleet: Fleet) -> None:
    """In namespaced mode, objects in other namespaces are neither watched nor changed.

    No request covers the whole cluster.
    """
    notes = fleet.start(namespaces=(TEAM,))
    for namespace in ("team-b", RELEASE, TEAM):
        api.put(number(f"in-{namespace}", namespace=namespace))
    until(lambda: is_ready(api, "WhatsAppNumber", f"in-{TEAM}"), "the team's number is ready")
    settled(notes.reconciled.total)
    assert set(notes.reconciled) == {f"in-{TEAM}"}


def test_kopf_writes_nothing_to_objects(api: ApiServer, fleet: Fleet) -> None:
    """kopf adds no copy of the spec as an annotation, no second finalizer, and no status of its own."""
    fleet.start()
    api.put(number())
    until(lambda: is_ready(api, "WhatsAppNumber", "support"), "it is ready")
    settled(lambda: len(api.requests))
    found = api.get("WhatsAppNumber", TEAM, "support") or {}
    assert "annotations" not in found["metadata"]
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert set(found["status"]) == {"observedGeneration", "conditions"}


def test_conditions_are_counted_as_a_metric(api: ApiServer, fleet: Fleet) -> None:
    """The gauge of conditions follows the objects, and also counts down when an object is deleted."""
    ready = metrics.condition.labels(kind="WhatsAppNumber", type="Ready", status="True")
    before = ready._value.get()
    fleet.start()
    api.put(number("one"))
    api.put(number("two"))
    until(lambda: ready._value.get() == before + 2, "both are counted")
    api.delete("WhatsAppNumber", TEAM, "two")
    until(lambda: ready._value.get() == before + 1, "the deleted one is not counted any more")
    api.delete("WhatsAppNumber", TEAM, "one")
    until(lambda: ready._value.get() == before, "nor the other")
