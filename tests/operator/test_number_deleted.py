"""The deletion of a number always succeeds. The number's policy decides what is removed at Meta."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.number.reconcile import SECRETS_FRESH_S

from .installation import (
    APP,
    NAME,
    NAMESPACE,
    NUMBER,
    SECRET,
    TOKEN,
    TRUE,
    WABA,
    Installation,
    installation,
    number,
    published,
    secret,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Yields an installation with credentials. No number exists yet."""
    async with installation() as made:
        made.cluster.put(secret())
        yield made


async def deleted(it: Installation, name: str = NAME, *, after_s: float = 5.0) -> bool:
    """Deletes the number, reconciles once, and returns whether the number is gone."""
    it.cluster.remove("WhatsAppNumber", NAMESPACE, name)
    await it.reconcile(name, after_s=after_s)
    return it.cluster.get("WhatsAppNumber", NAMESPACE, name) is None


async def declared(it: Installation, name: str = NAME, **spec: Any) -> None:
    """Creates a number and reconciles until it is ready."""
    it.cluster.put(number(name, **spec))
    await it.settle(name)


def leftovers(it: Installation) -> list[str]:
    """Returns the names of the operator's Secrets that still contain data."""
    secrets = [each for each in it.cluster.all("Secret") if each["metadata"]["namespace"] == "waypost"]
    return [each["metadata"]["name"] for each in secrets if each.get("data")]


async def test_an_orphaned_number_stays_at_meta(it: Installation) -> None:
    """By default, a deleted number stays registered and subscribed at Meta.

    Deleting an object by mistake must not unsubscribe a business.
    """
    await declared(it)
    at_meta = it.at_meta
    it.calls.clear()
    assert await deleted(it)
    assert (it.at_meta, it.calls) == (at_meta, [])
    assert (published(it.cluster), leftovers(it)) == (({}, {}), [])


async def test_the_policy_delete_removes_the_callback(it: Installation) -> None:
    """The policy `Delete` removes the callback at Meta. The phone number itself stays registered there."""
    await declared(it, deletionPolicy="Delete")
    assert await deleted(it)
    assert (it.at_meta["numbers"][NUMBER], it.at_meta["account"]) == ({}, {})
    assert it.at_meta["states"][NUMBER] == "CONNECTED"
    assert leftovers(it) == []


async def test_the_account_stays_subscribed_for_its_other_numbers(it: Installation) -> None:
    """When one of two numbers is deleted, the account stays subscribed for the other number."""
    phones = [{"phone_number_id": "777777777", "display_phone_number": "+1 555 078 3899"}]
    await it.world(accounts=[{"waba_id": WABA, "numbers": phones}])
    await declared(it, deletionPolicy="Delete")
    await declared(it, "second", phoneNumberId="777777777")
    assert await deleted(it)
    assert it.at_meta["account"] == {APP: None}
    assert set(published(it.cluster)[0]) == {f"{NAMESPACE}.second.json"}
    assert it.condition(ConditionType.READY, "second") == (TRUE, Reason.AS_DESIRED)


async def test_another_systems_callback_is_not_removed(it: Installation) -> None:
    """A deletion keeps a callback of another system, which has taken over the number at Meta."""
    await declared(it, deletionPolicy="Delete")
    it.simulation.world.numbers[NUMBER].callbacks[APP].url = "https://crm.example/hook"
    assert await deleted(it)
    assert it.at_meta["numbers"][NUMBER] == {APP: "https://crm.example/hook"}


async def test_deleted_credentials_are_taken_from_the_registry(it: Installation) -> None:
    """A deletion uses the credentials from the registry if the Secret was deleted.

    `kubectl delete -f` deletes the Secret at the same time.
    """
    await declared(it, deletionPolicy="Delete")
    it.cluster.remove("Secret", NAMESPACE, "support-meta")
    assert await deleted(it)
    assert it.at_meta["numbers"][NUMBER] == {}


async def test_a_deletion_without_credentials_says_what_is_left(it: Installation) -> None:
    """A deletion without any credentials succeeds, and an Event says what is left at Meta.

    Here, the operator's own Secrets have been deleted too.
    """
    await declared(it, deletionPolicy="Delete")
    for each in it.cluster.all("Secret"):
        it.cluster.remove("Secret", each["metadata"]["namespace"], each["metadata"]["name"])
    it.clock.advance(SECRETS_FRESH_S)
    assert await deleted(it)
    assert it.cluster.events[-1][:2] == ("Warning", Reason.LEFT_AT_META)


async def test_a_revoked_token_does_not_block_a_deletion(it: Installation) -> None:
    """A revoked token does not block a deletion. The refusal is final, and an Event says what is left at Meta."""
    await declared(it, deletionPolicy="Delete")
    it.simulation.world.tokens[TOKEN].revoked = True
    assert await deleted(it)
    assert it.cluster.events[-1][:2] == ("Warning", Reason.LEFT_AT_META)
    assert leftovers(it) == []


@pytest.mark.fault("K6")
async def test_a_deletion_waits_for_meta_until_a_deadline(it: Installation) -> None:
    """While Meta fails, a deletion waits only until a deadline.

    An object that cannot be deleted is worse than a leftover at Meta.
    """
    await declared(it, deletionPolicy="Delete")
    await it.fault(".*", status=500, times=None)
    assert not await deleted(it)
    assert published(it.cluster)[0], "the webhook still accepts deliveries while Meta makes them"
    assert await deleted(it, after_s=it.options.finalize_deadline_s)
    assert it.cluster.events[-1][:2] == ("Warning", Reason.LEFT_AT_META)


async def test_a_deletion_asks_meta_again_before_the_deadline(it: Installation) -> None:
    """Before the deadline, a deletion asks Meta again. When Meta answers, everything is removed there."""
    await declared(it, deletionPolicy="Delete")
    await it.fault(".*", status=500, times=1)
    assert not await deleted(it)
    assert await deleted(it, after_s=20.0)
    assert it.at_meta["numbers"][NUMBER] == {}


@pytest.mark.fault("K6")
async def test_the_annotation_abandon_ends_the_wait(it: Installation) -> None:
    """The annotation `waypost.dev/abandon` ends the wait for Meta, and Meta is not asked again."""
    await declared(it, deletionPolicy="Delete")
    await it.fault(".*", status=500, times=None)
    assert not await deleted(it)
    manifest = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    assert manifest is not None
    manifest["metadata"]["annotations"] = {"waypost.dev/abandon": "true"}
    it.cluster.put(manifest)
    assert await deleted(it)


@pytest.mark.fault("K6")
async def test_a_deletion_is_done_by_an_operator_that_starts_later(it: Installation) -> None:
    """An operator that starts later finishes a deletion, because the object is still marked as deleted."""
    await declared(it, deletionPolicy="Delete")
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    it.reconciler = it.operator()
    await it.reconcile(after_s=60.0)
    assert it.cluster.get("WhatsAppNumber", NAMESPACE, NAME) is None
    assert it.at_meta["numbers"][NUMBER] == {}


async def test_deleting_the_younger_claim_changes_nothing_for_the_older(it: Installation) -> None:
    """If the younger of two claims to a number is deleted, nothing changes for the number of the older claim.

    This holds even if the younger claim has the policy `Delete`.
    """
    it.cluster.put(number("first"))
    it.clock.advance(10)
    it.cluster.put(number("second", deletionPolicy="Delete"))
    await it.settle("first")
    await it.settle("second")
    at_meta = it.at_meta
    assert await deleted(it, "second")
    assert it.at_meta == at_meta
    assert set(published(it.cluster)[0]) == {f"{NAMESPACE}.first.json"}


async def test_a_number_that_is_created_again_becomes_ready(it: Installation) -> None:
    """A number that was deleted and is created again becomes ready. No leftover of the old object prevents this."""
    await declared(it, deletionPolicy="Delete")
    assert await deleted(it)
    await declared(it)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert published(it.cluster)[0][f"{NAMESPACE}.{NAME}.json"].app_secrets == (SECRET,)


async def test_a_number_without_an_object_is_swept(it: Installation) -> None:
    """The sweep removes a published number that has no object.

    Here, somebody removed the finalizer of the object by hand while no operator ran.
    """
    await declared(it)
    manifest = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    assert manifest is not None
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    marked = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    assert marked is not None
    await it.cluster.write_metadata(marked, {"finalizers": []})
    assert published(it.cluster)[0]
    assert await it.operator().sweep() == 1
    assert (published(it.cluster), leftovers(it)) == (({}, {}), [])


async def test_a_sweep_leaves_existing_numbers_alone(it: Installation) -> None:
    """A sweep changes nothing in the cluster if all published numbers have an object."""
    await declared(it)
    before = it.cluster.dump()
    assert await it.operator().sweep() == 0
    assert it.cluster.dump() == before
