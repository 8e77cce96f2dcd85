"""A deleted number goes: what is at Meta stays or goes as its policy says, and nothing can hold it back for long."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from waypost.operator.api.condition_types import ConditionType, Reason

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
    """Credentials are there; nothing is declared yet."""
    async with installation() as made:
        made.cluster.put(secret())
        yield made


async def deleted(it: Installation, name: str = NAME, *, after_s: float = 5.0) -> bool:
    """Delete and reconcile once; whether it is gone."""
    it.cluster.remove("WhatsAppNumber", NAMESPACE, name)
    await it.reconcile(name, after_s=after_s)
    return it.cluster.get("WhatsAppNumber", NAMESPACE, name) is None


async def declared(it: Installation, name: str = NAME, **spec: Any) -> None:
    """A number that is ready."""
    it.cluster.put(number(name, **spec))
    await it.settle(name)


def leftovers(it: Installation) -> list[str]:
    """Secrets of the operator that still hold anything."""
    ours = [each for each in it.cluster.all("Secret") if each["metadata"]["namespace"] == "waypost"]
    return [each["metadata"]["name"] for each in ours if each.get("data")]


async def test_an_orphaned_number_stays_at_meta(it: Installation) -> None:
    """The default: deleting an object by mistake must not unsubscribe a business."""
    await declared(it)
    at_meta = it.at_meta
    it.calls.clear()
    assert await deleted(it)
    assert (it.at_meta, it.calls) == (at_meta, [])
    assert (published(it.cluster), leftovers(it)) == (({}, {}), [])


async def test_a_number_to_be_deleted_takes_its_callback_with_it(it: Installation) -> None:
    """And nothing more: it stays registered."""
    await declared(it, deletionPolicy="Delete")
    assert await deleted(it)
    assert (it.at_meta["numbers"][NUMBER], it.at_meta["account"]) == ({}, {})
    assert it.at_meta["states"][NUMBER] == "CONNECTED"
    assert leftovers(it) == []


async def test_the_account_stays_subscribed_for_its_other_numbers(it: Installation) -> None:
    """One of two goes."""
    phones = [{"phone_number_id": "777777777", "display_phone_number": "+1 555 078 3899"}]
    await it.world(accounts=[{"waba_id": WABA, "numbers": phones}])
    await declared(it, deletionPolicy="Delete")
    await declared(it, "second", phoneNumberId="777777777")
    assert await deleted(it)
    assert it.at_meta["account"] == {APP: None}
    assert set(published(it.cluster)[0]) == {f"{NAMESPACE}.second.json"}
    assert it.condition(ConditionType.READY, "second") == (TRUE, Reason.AS_DESIRED)


async def test_another_systems_callback_is_not_taken_away(it: Installation) -> None:
    """Somebody took the number over at Meta."""
    await declared(it, deletionPolicy="Delete")
    it.simulation.world.numbers[NUMBER].callbacks[APP].url = "https://crm.example/hook"
    assert await deleted(it)
    assert it.at_meta["numbers"][NUMBER] == {APP: "https://crm.example/hook"}


async def test_credentials_that_went_first_are_found_where_they_were_published(it: Installation) -> None:
    """`kubectl delete -f` deletes the Secret in the same breath."""
    await declared(it, deletionPolicy="Delete")
    it.cluster.remove("Secret", NAMESPACE, "support-meta")
    assert await deleted(it)
    assert it.at_meta["numbers"][NUMBER] == {}


async def test_without_any_credentials_it_goes_and_tells_what_is_left(it: Installation) -> None:
    """The operator's own Secrets are gone too."""
    await declared(it, deletionPolicy="Delete")
    for each in it.cluster.all("Secret"):
        it.cluster.remove("Secret", each["metadata"]["namespace"], each["metadata"]["name"])
    assert await deleted(it)
    assert it.cluster.events[-1][:2] == ("Warning", Reason.LEFT_AT_META)


async def test_a_revoked_token_holds_nothing_back(it: Installation) -> None:
    """A refusal is final; the Event tells what is left."""
    await declared(it, deletionPolicy="Delete")
    it.simulation.world.tokens[TOKEN].revoked = True
    assert await deleted(it)
    assert it.cluster.events[-1][:2] == ("Warning", Reason.LEFT_AT_META)
    assert leftovers(it) == []


async def test_a_meta_that_is_away_is_waited_for_until_a_deadline(it: Installation) -> None:
    """An object that cannot go is worse than a leftover at Meta."""
    await declared(it, deletionPolicy="Delete")
    await it.fault(".*", status=500, times=None)
    assert not await deleted(it)
    assert published(it.cluster)[0], "deliveries are still taken in while Meta makes them"
    assert await deleted(it, after_s=it.options.finalize_deadline_s)
    assert it.cluster.events[-1][:2] == ("Warning", Reason.LEFT_AT_META)


async def test_a_meta_that_comes_back_is_asked_again(it: Installation) -> None:
    """Before the deadline nothing is left behind."""
    await declared(it, deletionPolicy="Delete")
    await it.fault(".*", status=500, times=1)
    assert not await deleted(it)
    assert await deleted(it, after_s=20.0)
    assert it.at_meta["numbers"][NUMBER] == {}


async def test_the_annotation_abandon_ends_the_waiting(it: Installation) -> None:
    """For whoever cannot wait: Meta is not asked."""
    await declared(it, deletionPolicy="Delete")
    await it.fault(".*", status=500, times=None)
    assert not await deleted(it)
    manifest = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    assert manifest is not None
    manifest["metadata"]["annotations"] = {"waypost.dev/abandon": "true"}
    it.cluster.put(manifest)
    assert await deleted(it)


async def test_a_number_deleted_while_the_operator_was_down_goes_when_it_is_back(it: Installation) -> None:
    """Level-based: the mark is there, whoever comes sees it."""
    await declared(it, deletionPolicy="Delete")
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    it.reconciler = it.operator()
    await it.reconcile(after_s=60.0)
    assert it.cluster.get("WhatsAppNumber", NAMESPACE, NAME) is None
    assert it.at_meta["numbers"][NUMBER] == {}


async def test_a_loser_of_a_conflict_takes_nothing_with_it(it: Installation) -> None:
    """Its deletion is not the winner's."""
    it.cluster.put(number("first"))
    it.clock.advance(10)
    it.cluster.put(number("second", deletionPolicy="Delete"))
    await it.settle("first")
    await it.settle("second")
    at_meta = it.at_meta
    assert await deleted(it, "second")
    assert it.at_meta == at_meta
    assert set(published(it.cluster)[0]) == {f"{NAMESPACE}.first.json"}


async def test_a_number_made_anew_is_ready_again(it: Installation) -> None:
    """Nothing of the old one is in its way."""
    await declared(it, deletionPolicy="Delete")
    assert await deleted(it)
    await declared(it)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert published(it.cluster)[0][f"{NAMESPACE}.{NAME}.json"].app_secrets == (SECRET,)


async def test_what_outlived_its_number_is_swept(it: Installation) -> None:
    """Its finalizer was taken off by hand while no operator was there."""
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


async def test_a_sweep_leaves_what_is_there(it: Installation) -> None:
    """And what was just made, or cannot be looked at."""
    await declared(it)
    before = it.cluster.dump()
    assert await it.operator().sweep() == 0
    assert it.cluster.dump() == before
