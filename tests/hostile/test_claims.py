"""Tests of a hostile tenant who declares the phone number or the account of another tenant.

The hostile tenant gets nothing, and the other tenant loses nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import structlog

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api.schedule_models import ScheduleSpec
from waypost.operator.cluster.interface import Manifest
from waypost.operator.number.holders import YIELD_S
from waypost.operator.schedule.plan import unusable

from ..operator.installation import (
    APP,
    FALSE,
    NAME,
    NAMESPACE,
    NUMBER,
    PHONE,
    SECRET,
    TOKEN,
    TRUE,
    UNKNOWN,
    WABA,
    Installation,
    installation,
    number,
    published,
    secret,
)

pytestmark = pytest.mark.anyio
KEY = f"{NAMESPACE}.{NAME}.json"
RESYNC_S = 300.0
TEAM_B = "team-b"
APP_B, SECRET_B, TOKEN_B = "200000000000002", "canary-app-secret-b", "EAAcanaryAccessTokenB"
WABA_B, NUMBER_B, PHONE_B = "202290129340399", "206540352242923", "+1 555 078 3882"
PARTNER_TOKEN = "EAAcanaryPartnerToken"


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Yields an installation with the credentials of team A.

    At Meta, team B has its own app, its own account and its own number.
    """
    async with installation() as made:
        made.cluster.put(secret())
        await made.world(
            apps=[{"app_id": APP_B, "app_secret": SECRET_B}],
            accounts=[{"waba_id": WABA_B, "numbers": [{"phone_number_id": NUMBER_B, "display_phone_number": PHONE_B}]}],
            tokens=[
                {"token": TOKEN, "app_id": APP, "wabas": [WABA]},
                {"token": TOKEN_B, "app_id": APP_B, "wabas": [WABA_B]},
            ],
        )
        yield made


def secret_b(namespace: str = TEAM_B, **data: str) -> Manifest:
    """Returns the credentials Secret of team B, which has no access to the number of team A."""
    values = {"appId": APP_B, "appSecret": SECRET_B, "accessToken": TOKEN_B} | data
    return secret("support-meta", namespace=namespace, labels=None, **values)


async def partner(it: Installation) -> None:
    """Creates an object of team B for the number of team A, with credentials that Meta accepts for this number.

    An agency has such credentials.
    """
    await it.world(tokens=[{"token": PARTNER_TOKEN, "app_id": APP_B, "wabas": [WABA, WABA_B]}])
    it.cluster.put(secret_b(accessToken=PARTNER_TOKEN))
    it.cluster.put(number("partner", namespace=TEAM_B))


async def ready(it: Installation) -> None:
    """Creates the number of team A and reconciles until it works."""
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


Squat = Callable[[Installation], tuple[str, str]]


def _without_secret(it: Installation) -> tuple[str, str]:
    it.cluster.put(number("squat", namespace=TEAM_B))
    return "squat", TEAM_B


def _not_opted_in(it: Installation) -> tuple[str, str]:
    stored = secret_b()
    stored["metadata"]["labels"] = {}
    it.cluster.put(stored)
    return _without_secret(it)


def _suspended(it: Installation) -> tuple[str, str]:
    it.cluster.put(secret_b())
    it.cluster.put(number("squat", namespace=TEAM_B, suspend=True))
    return "squat", TEAM_B


def _wrong_app_secret(it: Installation) -> tuple[str, str]:
    it.cluster.put(secret_b(appSecret="guessed"))
    return _without_secret(it)


def _namespace_apps(it: Installation) -> tuple[str, str]:
    it.cluster.put(secret_b("apps"))
    it.cluster.put(number("squat", namespace="apps"))
    return "squat", "apps"


def _no_access(it: Installation) -> tuple[str, str]:
    it.cluster.put(secret_b())
    return _without_secret(it)


def _own_namespace(it: Installation) -> tuple[str, str]:
    it.cluster.put(number("squat", credentialsRef={"name": "none"}))
    return "squat", NAMESPACE


SQUATS = [_without_secret, _not_opted_in, _suspended, _wrong_app_secret, _namespace_apps, _no_access, _own_namespace]
squats = pytest.mark.parametrize("squat", SQUATS, ids=lambda each: each.__name__.strip("_"))


@squats
async def test_an_unproven_object_keeps_no_number_from_its_owner(it: Installation, squat: Squat) -> None:
    """A proven object gets its number although another object has the same number and is not proven at Meta.

    This also holds if the unproven object is older.
    """
    name, namespace = squat(it)
    await it.reconcile(name, namespace)
    await ready(it)
    for _ in range(3):
        await it.reconcile(name, namespace, after_s=RESYNC_S)
        await it.reconcile(after_s=5.0)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert it.condition(ConditionType.READY, name, namespace)[0] == FALSE
    assert (set(published(it.cluster)[0]), set(published(it.cluster)[1])) == ({KEY}, {KEY})


@squats
async def test_a_number_that_is_deleted_and_made_again_continues(it: Installation, squat: Squat) -> None:
    """If the object of a number is deleted and created again, the number continues to work.

    This also holds if an unproven object for the same number is older than the new object.
    """
    await ready(it)
    name, namespace = squat(it)
    await it.reconcile(name, namespace)
    at_meta = it.at_meta
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    await it.reconcile()
    await it.reconcile(name, namespace)
    it.cluster.put(number())
    await it.reconcile()
    await it.reconcile(name, namespace)
    await it.reconcile()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert set(published(it.cluster)[0]) == {KEY}
    assert it.at_meta == at_meta


@squats
async def test_a_number_whose_object_was_replaced_stays_published_all_the_time(it: Installation, squat: Squat) -> None:
    """A published number stays published if its object is replaced, even while Meta does not answer."""
    await ready(it)
    before = published(it.cluster)
    name, namespace = squat(it)
    await it.reconcile(name, namespace)
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    marked = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    assert marked is not None
    await it.cluster.write_metadata(marked, {"finalizers": []})
    it.cluster.put(number())
    await it.fault({"app": APP}, status=500, times=2)
    it.reconciler = it.operator()
    for _ in range(4):
        await it.reconcile(name, namespace)
        await it.reconcile()
        assert published(it.cluster) == before
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert published(it.cluster) == before


@pytest.mark.parametrize("squat", SQUATS[:-1], ids=lambda each: each.__name__.strip("_"))
async def test_an_unproven_object_does_not_learn_who_holds_a_number(it: Installation, squat: Squat) -> None:
    """The status of an unproven object does not say which object holds the number. The holder gets no Event."""
    await ready(it)
    it.cluster.events.clear()
    name, namespace = squat(it)
    for _ in range(3):
        await it.reconcile(name, namespace, after_s=RESYNC_S)
    status = it.status(name, namespace)
    assert it.condition(ConditionType.READY, name, namespace)[1] != Reason.CONFLICT
    messages = " ".join(each["message"] for each in status["conditions"])
    assert NAMESPACE not in messages
    assert NAME not in messages.replace("support-meta", "")
    assert Reason.CONFLICT not in [reason for _, reason, _ in it.cluster.events]


async def test_a_number_that_the_token_may_not_read_is_never_published(it: Installation) -> None:
    """A number that the token may not read is never published, not even by a later reconcile or after a restart."""
    it.cluster.put(secret_b())
    it.cluster.put(number("squat", namespace=TEAM_B, wabaId=WABA_B))
    await it.reconcile("squat", TEAM_B)
    assert it.condition(ConditionType.TOKEN_VALID, "squat", TEAM_B)[0] == TRUE
    assert it.condition(ConditionType.REGISTERED, "squat", TEAM_B) == (FALSE, Reason.NO_ACCESS)
    for _ in range(2):
        await it.reconcile("squat", TEAM_B)
        await it.reconcile("squat", TEAM_B, after_s=RESYNC_S)
        it.reconciler = it.operator()
    await it.fault(".*", status=500, times=None)
    await it.reconcile("squat", TEAM_B, after_s=RESYNC_S)
    assert published(it.cluster) == ({}, {})


async def test_a_token_that_may_only_read_changes_nothing_at_meta(it: Installation) -> None:
    """A token without the scope to send can neither register nor hold the number of another team."""
    facts = {"phone_number_id": NUMBER, "display_phone_number": PHONE, "status": "PENDING"}
    await it.world(
        accounts=[{"waba_id": WABA, "numbers": [facts]}],
        tokens=[{"token": "EAAreads", "app_id": APP_B, "wabas": [WABA], "scopes": ["whatsapp_business_management"]}],
    )
    it.cluster.put(secret_b(accessToken="EAAreads", pin="123456"))
    it.cluster.put(number("reads", namespace=TEAM_B))
    for _ in range(3):
        await it.reconcile("reads", TEAM_B, after_s=RESYNC_S)
    assert all(call.startswith("GET ") for call in it.calls)
    assert it.condition(ConditionType.READY, "reads", TEAM_B) == (FALSE, Reason.MISSING_SCOPE)
    assert published(it.cluster) == ({}, {})


async def test_a_thousand_objects_on_a_number_cost_its_holder_no_reads(it: Installation) -> None:
    """When the holder of a number is reconciled, objects that cannot hold the number are not read.

    This saves calls to the API server.
    """
    for index in range(1000):
        it.cluster.put(number(f"squat-{index}", namespace=TEAM_B))
    reads: list[str] = []

    class Counting:
        """A cluster that records which objects are read."""

        def __getattr__(self, name: str) -> Any:
            return getattr(it.cluster, name)

        async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
            reads.append(name)
            return await it.cluster.read(kind, namespace, name)

    it.reconciler = it.operator(Counting())
    await ready(it)
    assert reads == []


async def test_a_hundred_proven_objects_on_a_number_cost_few_reads(it: Installation) -> None:
    """When an object that waits for a number is reconciled, the operator reads the number's holder.

    The operator does not read the other objects that wait for the number.
    """
    await ready(it)
    await it.world(tokens=[{"token": PARTNER_TOKEN, "app_id": APP_B, "wabas": [WABA, WABA_B]}])
    it.cluster.put(secret_b(accessToken=PARTNER_TOKEN))
    reads: list[str] = []

    class Counting:
        """A cluster that records which objects are read."""

        def __getattr__(self, name: str) -> Any:
            return getattr(it.cluster, name)

        async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
            reads.append(name)
            return await it.cluster.read(kind, namespace, name)

    for index in range(100):
        it.cluster.put(number(f"partner-{index}", namespace=TEAM_B))
    it.reconciler = it.operator(Counting())
    for index in range(100):
        await it.reconcile(f"partner-{index}", TEAM_B, after_s=0.0)
        assert it.condition(ConditionType.READY, f"partner-{index}", TEAM_B) == (FALSE, Reason.CONFLICT)
    assert set(reads) == {NAME}
    assert len(reads) <= 100 * 4


async def test_a_second_proven_object_leaves_the_number_with_the_first(it: Installation) -> None:
    """If a second object is proven for a number, nothing changes at Meta.

    When the first object is deleted, the second object takes over the number at once.
    """
    await ready(it)
    at_meta, before = it.at_meta, published(it.cluster)
    await partner(it)
    for _ in range(4):
        await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
        await it.reconcile(after_s=5.0)
    assert it.condition(ConditionType.READY, "partner", TEAM_B) == (FALSE, Reason.CONFLICT)
    assert it.condition(ConditionType.STALLED, "partner", TEAM_B) == (TRUE, Reason.CONFLICT)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert (it.at_meta, published(it.cluster)) == (at_meta, before)
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    await it.reconcile()
    await it.settle("partner", TEAM_B)
    assert it.condition(ConditionType.READY, "partner", TEAM_B) == (TRUE, Reason.AS_DESIRED)
    assert set(published(it.cluster)[0]) == {f"{TEAM_B}.partner.json"}


async def test_an_older_object_that_becomes_proven_later_does_not_displace_the_holder(it: Installation) -> None:
    """An object that is older than the holder of a number, but was proven later, does not get the number.

    This also holds after a restart of the operator.
    """
    it.cluster.put(number("partner", namespace=TEAM_B))
    await it.reconcile("partner", TEAM_B)
    await ready(it)
    await partner(it)
    await it.settle("partner", TEAM_B)
    it.reconciler = it.operator()
    await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
    await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert it.condition(ConditionType.READY, "partner", TEAM_B) == (FALSE, Reason.CONFLICT)
    assert set(published(it.cluster)[0]) == {KEY}


async def test_objects_that_are_proven_at_the_same_time_are_never_both_published(it: Installation) -> None:
    """Of two objects that are proven at the same time, only one is published."""
    await partner(it)
    first = it.cluster.put(number())
    second = it.cluster.get("WhatsAppNumber", TEAM_B, "partner")
    assert second is not None
    it.clock.advance(1.0)

    most = 0

    class Slow:
        """A cluster that saves nothing until Meta has been asked about both objects."""

        def __getattr__(self, name: str) -> Any:
            return getattr(it.cluster, name)

        async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
            while it.calls.count(f"GET /{NUMBER}") < 2:  # noqa: ASYNC110 - no time passes
                await asyncio.sleep(0)
            return await it.cluster.apply(manifest, manager=manager)

        async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
            nonlocal most
            await it.cluster.write_entry(secret, key, content)
            most = max(most, len(published(it.cluster)[0]))

    it.reconciler = it.operator(Slow())
    await asyncio.gather(it.reconciler.reconcile(second), it.reconciler.reconcile(first))
    assert (most, len(published(it.cluster)[0])) == (1, 1)
    for _ in range(3):
        await it.reconcile()
        await it.reconcile("partner", TEAM_B)
    found = {it.condition(ConditionType.READY), it.condition(ConditionType.READY, "partner", TEAM_B)}
    assert found == {(TRUE, Reason.AS_DESIRED), (FALSE, Reason.CONFLICT)}
    assert len(published(it.cluster)[0]) == 1


async def test_a_lost_registry_gives_the_number_to_no_other(it: Installation) -> None:
    """A holder keeps its number if the registry is lost, even if another proven object is reconciled first."""
    await ready(it)
    await partner(it)
    await it.settle("partner", TEAM_B)
    for each in it.cluster.all("Secret"):
        if each["metadata"]["name"].startswith("waypost-registry-"):
            it.cluster.remove("Secret", each["metadata"]["namespace"], each["metadata"]["name"])
    it.reconciler = it.operator()
    await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
    assert published(it.cluster) == ({}, {})
    await it.reconcile(after_s=5.0)
    assert set(published(it.cluster)[0]) == {KEY}


async def test_a_conflict_names_the_other_object_within_a_namespace_only(it: Installation) -> None:
    """The condition of a conflict names the other object only if both objects are in the same namespace.

    The operator's log always names both objects. The holder gets one Event.
    """
    await ready(it)
    it.cluster.put(number("twin"))
    with structlog.testing.capture_logs() as lines:
        await it.settle("twin")
        await it.reconcile("twin", after_s=RESYNC_S)
    assert f"WhatsAppNumber {NAME} " in it.message(ConditionType.READY, "twin")
    logged = [each for each in lines if each["event"] == "two objects claim one phone number"]
    assert [(each["holder"], each["claimant"]) for each in logged] == [(f"{NAMESPACE}/{NAME}", f"{NAMESPACE}/twin")]
    it.cluster.remove("WhatsAppNumber", NAMESPACE, "twin")
    await it.reconcile("twin")

    it.cluster.events.clear()
    await partner(it)
    with structlog.testing.capture_logs() as lines:
        await it.settle("partner", TEAM_B)
        await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
    shown = " ".join(each["message"] for each in it.status("partner", TEAM_B)["conditions"])
    assert "in another namespace" in shown
    assert NAMESPACE not in shown
    assert f"WhatsAppNumber {NAME}" not in shown
    shown_events = [message for _, reason, message in it.cluster.events if reason == Reason.CONFLICT]
    to_holder = [each for each in shown_events if "stays with this object" in each]
    assert len(to_holder) == 1
    assert not any("partner" in each or TEAM_B in each or NAMESPACE in each for each in shown_events)
    logged = [each for each in lines if each["event"] == "two objects claim one phone number"]
    assert [(each["holder"], each["claimant"]) for each in logged] == [(f"{NAMESPACE}/{NAME}", f"{TEAM_B}/partner")]
    assert PARTNER_TOKEN not in str(lines)


async def test_an_object_that_is_made_again_and_again_causes_one_event_an_hour(it: Installation) -> None:
    """If a team creates its object again and again, the holder of the number gets only one Event an hour."""
    await ready(it)
    it.cluster.events.clear()
    for _ in range(20):
        await partner(it)
        await it.reconcile("partner", TEAM_B)
        assert it.condition(ConditionType.READY, "partner", TEAM_B) == (FALSE, Reason.CONFLICT)
        it.cluster.remove("WhatsAppNumber", TEAM_B, "partner")
        await it.reconcile("partner", TEAM_B)
    assert sum("stays with this object" in message for _, _, message in it.cluster.events) == 1


async def test_an_upgrade_gives_a_number_back_to_its_owner(it: Installation) -> None:
    """After an upgrade of the operator, an owner that the previous release withdrew is published again.

    The previous release withdrew an owner if an unproven object was older.
    """
    it.cluster.put(number("squat", namespace=TEAM_B))
    await it.reconcile("squat", TEAM_B)
    owner = it.cluster.put(number())
    conditions = [
        {"type": type_, "status": status, "reason": Reason.CONFLICT, "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for type_, status in ((ConditionType.READY, FALSE), (ConditionType.STALLED, TRUE))
    ]
    await it.cluster.write_status(owner, {"observedGeneration": 1, "conditions": conditions})
    it.reconciler = it.operator()
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert set(published(it.cluster)[0]) == {KEY}


async def test_nothing_relies_on_a_number_that_another_object_holds(it: Installation) -> None:
    """A schedule cannot use a number through an object that does not hold the number.

    Otherwise, the schedule would send messages for the other team.
    """
    await ready(it)
    await partner(it)
    await it.settle("partner", TEAM_B)
    it.simulation.world.tokens[PARTNER_TOKEN].revoked = True
    spec = ScheduleSpec.model_validate(
        {
            "numberRef": {"name": "partner"},
            "schedule": "0 9 * * 1",
            "timeZone": "Europe/Rome",
            "action": {"tokenCheck": {}},
        }
    )
    for _ in range(2):
        assert it.condition(ConditionType.REGISTERED, "partner", TEAM_B)[0] == UNKNOWN
        for is_bound in (False, True):
            found = unusable(spec, it.cluster.get("WhatsAppNumber", TEAM_B, "partner"), is_bound=is_bound)
            assert found is not None
            assert found.reason == Reason.NUMBER_CONFLICT
        await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)


async def _removes_the_secret(it: Installation) -> None:
    it.cluster.remove("Secret", NAMESPACE, "support-meta")


async def _mistypes_the_secret(it: Installation) -> None:
    it.cluster.put(secret(accessToken="EAAmistyped"))


async def _suspends_the_number(it: Installation) -> None:
    it.cluster.put(number(suspend=True))


async def _cannot_reach_meta(it: Installation) -> None:
    await it.fault({"app": APP}, status=500, times=None)


async def _changes_nothing(it: Installation) -> None:
    pass


Change = Callable[[Installation], Awaitable[None]]


@pytest.mark.parametrize(
    "change",
    [_removes_the_secret, _mistypes_the_secret, _suspends_the_number, _cannot_reach_meta],
    ids=lambda each: each.__name__.strip("_"),
)
async def test_a_holder_that_still_works_keeps_the_number(it: Installation, change: Change) -> None:
    """A holder keeps the number while Meta accepts the published credentials.

    This holds even if the holder's Secret is removed or wrong, or if the holder's object is suspended.
    """
    await ready(it)
    before = published(it.cluster)
    await partner(it)
    await change(it)
    for _ in range(30):
        await it.reconcile(after_s=5.0)
        await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
    assert published(it.cluster) == before
    assert it.condition(ConditionType.READY, "partner", TEAM_B) == (FALSE, Reason.CONFLICT)


@pytest.mark.parametrize(
    "change",
    [_changes_nothing, _removes_the_secret, _mistypes_the_secret, _suspends_the_number],
    ids=lambda each: each.__name__.strip("_"),
)
async def test_a_holder_that_meta_refuses_loses_the_number_after_an_hour(it: Installation, change: Change) -> None:
    """A holder that Meta refuses loses the number to a proven object after an hour.

    So a former owner cannot keep the number by suspending its object or breaking its Secret.
    """
    await ready(it)
    await partner(it)
    await it.settle("partner", TEAM_B)
    await change(it)
    it.simulation.world.tokens[TOKEN].revoked = True
    await it.reconcile(after_s=RESYNC_S)
    await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
    assert set(published(it.cluster)[0]) == {KEY}
    await it.reconcile("partner", TEAM_B, after_s=YIELD_S - 60.0)
    assert set(published(it.cluster)[0]) == {KEY}
    await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
    assert set(published(it.cluster)[0]) == {f"{TEAM_B}.partner.json"}
    await it.settle("partner", TEAM_B)
    await it.reconcile(after_s=RESYNC_S)
    await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
    assert it.condition(ConditionType.READY, "partner", TEAM_B) == (TRUE, Reason.AS_DESIRED)
    assert it.condition(ConditionType.READY) == (FALSE, Reason.CONFLICT)
    assert (set(published(it.cluster)[0]), set(published(it.cluster)[1])) == (
        {f"{TEAM_B}.partner.json"},
        {f"{TEAM_B}.partner.json"},
    )


async def test_a_token_replaced_within_the_hour_keeps_the_number(it: Installation) -> None:
    """A holder that replaces its token within the hour keeps the number."""
    await ready(it)
    await partner(it)
    await it.settle("partner", TEAM_B)
    it.simulation.world.tokens[TOKEN].revoked = True
    await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
    await it.world(tokens=[{"token": "EAAanother", "app_id": APP, "wabas": [WABA]}])
    it.cluster.put(secret(accessToken="EAAanother"))
    await it.settle()
    for _ in range(15):
        await it.reconcile("partner", TEAM_B, after_s=RESYNC_S)
        await it.reconcile()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert set(published(it.cluster)[0]) == {KEY}


async def test_requests_of_another_team_do_not_use_up_the_holder_s_calls(it: Installation) -> None:
    """A waiting object can ask for many reconciles, but Meta is asked at most twice with the holder's token."""
    await ready(it)
    await partner(it)
    await it.settle("partner", TEAM_B)
    it.simulation.world.tokens[TOKEN].revoked = True
    before = it.simulation.now()
    it.calls.clear()
    for index in range(100):
        asked = number("partner", namespace=TEAM_B)
        asked["metadata"]["annotations"] = {"waypost.dev/reconcile-requested-at": str(index)}
        it.cluster.put(asked)
        await it.reconcile("partner", TEAM_B, after_s=1.0)
    assert it.simulation.now() - before == 100.0
    assert it.calls.count(f"GET /{NUMBER}") <= 100 + 2


async def test_an_account_that_the_number_does_not_belong_to_is_not_called(it: Installation) -> None:
    """If an object names an account to which its number does not belong, no call is made on this account."""
    it.cluster.put(secret_b())
    it.cluster.put(number("theirs", namespace=TEAM_B, phoneNumberId=NUMBER_B, wabaId=WABA))
    for _ in range(5):
        await it.reconcile("theirs", TEAM_B, after_s=RESYNC_S)
    assert it.condition(ConditionType.SUBSCRIBED, "theirs", TEAM_B) == (FALSE, Reason.WRONG_ACCOUNT)
    assert not any(WABA in call for call in it.calls)


async def test_another_app_does_not_use_up_my_calls_on_an_account(it: Installation) -> None:
    """A number is still repaired at once while Meta blocks another app at the same account."""
    await ready(it)
    second = {"phone_number_id": "777777777", "display_phone_number": "+1 555 078 3899"}
    await it.world(
        accounts=[{"waba_id": WABA, "numbers": [second]}],
        tokens=[{"token": PARTNER_TOKEN, "app_id": APP_B, "wabas": [WABA]}],
    )
    it.cluster.put(secret_b(accessToken=PARTNER_TOKEN))
    it.cluster.put(number("theirs", namespace=TEAM_B, phoneNumberId="777777777"))
    match = {"path": "subscribed_apps", "app": APP_B}
    await it.fault(match, code=80007, status=400, headers={"retry-after": "3600"}, times=None)
    for _ in range(3):
        await it.reconcile("theirs", TEAM_B, after_s=RESYNC_S)
    it.simulation.world.accounts[WABA].subscribers.pop(APP)
    await it.reconcile(after_s=RESYNC_S)
    assert it.at_meta["account"] == {APP: None}
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_another_team_s_object_does_not_keep_my_app_subscribed(it: Installation) -> None:
    """The deletion of a number ends its app's subscription, even if another team's object names the same account."""
    it.cluster.put(number(deletionPolicy="Delete"))
    await it.settle()
    it.cluster.put(number("squat", namespace=TEAM_B, phoneNumberId="999999999"))
    await it.reconcile("squat", TEAM_B)
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    await it.reconcile()
    assert it.at_meta["account"] == {}


async def test_the_deletion_of_a_holder_leaves_the_subscription_to_the_next(it: Installation) -> None:
    """When a holder is deleted, the subscription stays for the object that gets the number next.

    Therefore, no delivery is lost.
    """
    it.cluster.put(number(deletionPolicy="Delete"))
    await it.settle()
    it.cluster.put(number("next"))
    await it.settle("next")
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    await it.reconcile()
    assert it.at_meta["account"] == {APP: None}
    await it.settle("next")
    assert it.condition(ConditionType.READY, "next") == (TRUE, Reason.AS_DESIRED)


async def test_secrets_of_both_teams_stay_out_of_what_they_see(it: Installation) -> None:
    """Conditions and Events of both teams hold no token, secret or phone number."""
    await ready(it)
    await partner(it)
    await it.settle("partner", TEAM_B)
    shown = f"{it.status()} {it.status('partner', TEAM_B)} {it.cluster.events}"
    for canary in (TOKEN, SECRET, PARTNER_TOKEN, SECRET_B, PHONE, "".join(filter(str.isdigit, PHONE))):
        assert canary not in shown
