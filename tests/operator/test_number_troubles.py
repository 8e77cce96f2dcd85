"""Failures at Meta are reported, repaired, or retried later, and no call is repeated in a loop."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api.conditions import timestamp
from waypost.operator.engine.outcome import Outcome
from waypost.simulator.world.config import SimulatorConfig

from .installation import (
    APP,
    FALSE,
    NAME,
    NAMESPACE,
    NUMBER,
    PHONE,
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
OTHER_PHONE = "+1 555 078 3899"
RESYNC_S = 300.0
DAY_S = 86_400.0


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Yields an installation with credentials that include a PIN. The number does not exist yet."""
    async with installation() as made:
        made.cluster.put(secret(pin="123456"))
        yield made


async def phone(it: Installation, **fields: Any) -> None:
    """Changes the number at Meta."""
    facts = {"phone_number_id": NUMBER, "display_phone_number": PHONE}
    await it.world(accounts=[{"waba_id": WABA, "numbers": [facts | fields]}])


async def test_a_revoked_token_is_reported_and_a_new_one_is_used(it: Installation) -> None:
    """A revoked token is reported with the step that a person must take. A new token in the Secret is then used.

    Until then the entry stays published, because workers pause the number by themselves.
    """
    it.cluster.put(number())
    await it.settle()
    it.simulation.world.tokens[TOKEN].revoked = True
    await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.TOKEN_VALID) == (FALSE, Reason.TOKEN_REVOKED)
    assert (it.condition(ConditionType.READY), it.condition(ConditionType.STALLED)) == (
        (FALSE, Reason.TOKEN_REVOKED),
        (TRUE, Reason.TOKEN_REVOKED),
    )
    assert "System users" in it.message(ConditionType.TOKEN_VALID)
    assert published(it.cluster)[1]
    await it.world(tokens=[{"token": "EAAanother", "app_id": APP}])
    it.cluster.put(secret(accessToken="EAAanother", pin="123456"))
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert published(it.cluster)[1][KEY].access_token == "EAAanother"


@pytest.mark.parametrize(
    ("token", "reason", "word"),
    [
        ({"scopes": ["whatsapp_business_messaging"]}, Reason.MISSING_SCOPE, "whatsapp_business_management"),
        ({"scopes": ["whatsapp_business_management"]}, Reason.MISSING_SCOPE, "whatsapp_business_messaging"),
        ({"wabas": ["999999999"]}, Reason.ACCOUNT_NOT_GRANTED, "Assign assets"),
        ({"expires_at": 1.0}, Reason.TOKEN_EXPIRED, "expired"),
    ],
)
async def test_an_insufficient_token_is_reported_with_the_step(
    it: Installation, token: dict[str, Any], reason: str, word: str
) -> None:
    """An insufficient token is reported with the step that a person must take.

    Nothing is published or registered with such a token.
    """
    await it.world(tokens=[{"token": TOKEN, "app_id": APP} | token])
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.TOKEN_VALID) == (FALSE, reason)
    assert word in it.message(ConditionType.TOKEN_VALID)
    assert it.condition(ConditionType.STALLED)[0] == TRUE
    assert all(call.startswith("GET ") for call in it.calls)


async def test_a_token_of_another_app_is_reported(it: Installation) -> None:
    """A token of another app is reported, because it is a common mistake to confuse two Secrets."""
    await it.world(apps=[{"app_id": "200000000000002", "app_secret": "x"}])
    await it.world(tokens=[{"token": "EAAother", "app_id": "200000000000002"}])
    it.cluster.put(secret(accessToken="EAAother"))
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.TOKEN_VALID) == (FALSE, Reason.TOKEN_OF_OTHER_APP)


async def test_a_number_of_another_business_is_never_published(it: Installation) -> None:
    """A number of another business is never published.

    A tenant receives no messages of a number for which its token has no rights.
    """
    await it.world(
        accounts=[
            {
                "waba_id": "555555555",
                "numbers": [{"phone_number_id": "777777777", "display_phone_number": "+1 555 078 3899"}],
            }
        ]
    )
    await it.world(tokens=[{"token": TOKEN, "app_id": APP, "wabas": [WABA]}])
    it.cluster.put(number(phoneNumberId="777777777"))
    await it.settle()
    assert it.condition(ConditionType.REGISTERED) == (FALSE, Reason.NO_ACCESS)
    assert published(it.cluster) == ({}, {})


async def test_a_claim_that_meta_denied_does_not_block_others(it: Installation) -> None:
    """An object whose access Meta denied does not block other objects with the same phone number.

    Otherwise a user could keep others from using their own number by creating an object first.
    """
    await it.world(tokens=[{"token": "EAAstranger", "app_id": APP, "wabas": ["999999999"]}])
    it.cluster.put(secret(namespace="team-b", accessToken="EAAstranger"))
    it.cluster.put(number("theirs", namespace="team-b"))
    await it.settle("theirs", "team-b")
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert it.condition(ConditionType.REGISTERED, "theirs", "team-b") == (FALSE, Reason.NO_ACCESS)
    assert set(published(it.cluster)[0]) == {KEY}


async def test_a_number_of_another_account_than_declared_is_reported(it: Installation) -> None:
    """A number is reported if its account is not the one in the spec.

    With a wrong account, no delivery would arrive.
    """
    await it.world(accounts=[{"waba_id": "555555555"}])
    it.cluster.put(number(wabaId="555555555"))
    await it.settle()
    assert it.condition(ConditionType.READY) == (FALSE, Reason.WRONG_ACCOUNT)


async def test_meta_is_not_asked_while_the_webhook_is_waited_for(it: Installation) -> None:
    """While the operator waits for the webhook to serve the callback, it makes no calls to Meta.

    It registers the callback within seconds after the webhook serves it.
    """
    it.webhook.is_up = False
    it.cluster.put(number())
    await it.reconcile()
    assert it.condition(ConditionType.WEBHOOK_VERIFIED) == (FALSE, Reason.WAITING_FOR_WEBHOOK)
    assert it.condition(ConditionType.RECONCILING) == (TRUE, Reason.WAITING_FOR_WEBHOOK)
    it.calls.clear()
    before = it.cluster.dump()
    for _ in range(5):
        result = await it.reconcile(after_s=2.0)
    assert (result.outcome, result.requeue_after_s) == (Outcome.WAITING, 2.0)
    assert (it.calls, it.cluster.dump()) == ([], before)
    it.webhook.is_up = True
    await it.reconcile(after_s=2.0)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_a_callback_that_meta_could_not_verify_is_tried_again(it: Installation) -> None:
    """When Meta could not verify a callback, the registration is tried again.

    Meta's error 2200 means that the webhook does not answer Meta yet, although it already answers the operator.
    """
    await it.fault("POST /106540352242922", code=2200, details="HTTP Status Code = 503", times=2)
    it.cluster.put(number())
    await it.reconcile()
    assert it.condition(ConditionType.WEBHOOK_VERIFIED) == (FALSE, Reason.CALLBACK_REFUSED)
    assert it.status()["failureCount"] == 1
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert "failureCount" not in it.status()


async def test_a_failed_attempt_is_not_repeated_before_its_time(it: Installation) -> None:
    """A failed attempt is repeated only after its back-off, which is stored in the status and survives a restart."""
    await it.fault("POST /106540352242922", code=2200, times=None)
    it.cluster.put(number())
    waits: list[float] = []
    for _ in range(6):
        result = await it.reconcile(after_s=(waits[-1] + 1) if waits else 1.0)
        assert result.requeue_after_s is not None
        waits.append(result.requeue_after_s)
    assert waits == sorted(waits)
    assert waits[-1] > 30
    it.calls.clear()
    it.reconciler = it.operator()
    await it.reconcile(after_s=1.0)
    assert it.calls == []


async def test_a_changed_spec_is_tried_at_once(it: Installation) -> None:
    """After a change of the spec, the next attempt does not wait for the back-off.

    The user may have corrected the cause.
    """
    await it.fault("POST /106540352242922", code=2200, times=4)
    it.cluster.put(number())
    for _ in range(4):
        await it.reconcile(after_s=700.0)
    it.cluster.put(number(limits={"messagesPerSecond": 20}))
    await it.reconcile(after_s=0.0)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


@pytest.mark.parametrize(
    "fault", [{"status": 500}, {"code": 2}, {"code": 131016}, {"reset": True}, {"status": 503, "body": "<html>"}]
)
async def test_a_failure_at_meta_leaves_a_healthy_number_ready(it: Installation, fault: dict[str, Any]) -> None:
    """A failure at Meta does not change the last known conditions, so a healthy number stays ready.

    `Reconciling` says that Meta could not be asked. Meta is asked again soon.
    """
    it.cluster.put(number())
    await it.settle()
    await it.fault(".*", times=None, **fault)
    result = await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert it.condition(ConditionType.RECONCILING) == (TRUE, Reason.META_UNAVAILABLE)
    assert result.outcome == Outcome.FAILED
    await it.control.post("/_sim/reset", json={"world": False})
    it.simulation.now = it.clock
    await it.settle()
    assert it.condition(ConditionType.RECONCILING) == (FALSE, Reason.NOT_RECONCILING)


async def test_a_call_that_hangs_ends_at_its_deadline(it: Installation) -> None:
    """A call to Meta that hangs ends at its deadline, and then the reconcile continues and ends."""
    it.graph = it.client(timeout_s=0.2)
    it.reconciler = it.operator()
    await it.fault(".*", delay_s=30, times=None)
    it.cluster.put(number())
    result = await it.reconcile()
    assert result.outcome == Outcome.FAILED
    assert it.condition(ConditionType.READY) == (UNKNOWN, Reason.META_UNAVAILABLE)


async def test_a_condition_turns_unknown_when_meta_has_not_answered_for_long(it: Installation) -> None:
    """A condition turns unknown when Meta has not answered about it for half an hour.

    A restart in between does not make the last answer look newer.
    """
    it.cluster.put(number())
    await it.settle()
    last_answer = timestamp(it.clock())
    await it.fault("subscribed_apps", code=80007, status=400, headers={"retry-after": "3600"}, times=None)
    for _ in range(5):
        await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert it.status()["unansweredSince"] == {"account": last_answer}
    it.reconciler = it.operator()
    for _ in range(2):
        await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.SUBSCRIBED) == (UNKNOWN, Reason.NOT_LOOKED_AT)
    assert last_answer in it.message(ConditionType.SUBSCRIBED)
    assert it.condition(ConditionType.READY) == (UNKNOWN, Reason.NOT_LOOKED_AT)
    assert it.condition(ConditionType.REGISTERED) == (TRUE, Reason.CONNECTED)
    await it.control.post("/_sim/reset", json={"world": False})
    it.simulation.now = it.clock
    for _ in range(15):
        await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert "unansweredSince" not in it.status()


async def test_an_unknown_condition_is_written_once(it: Installation) -> None:
    """While Meta does not answer, an unknown condition is written only once.

    Further attempts do not write it again.
    """
    it.cluster.put(number())
    await it.settle()
    await it.fault(".*", status=500, times=None)
    for _ in range(12):
        await it.reconcile(after_s=RESYNC_S)
    shown = [{key: each[key] for key in ("type", "status", "reason", "message")} for each in it.status()["conditions"]]
    assert {each["status"] for each in shown[1:-2]} == {UNKNOWN}
    await it.reconcile(after_s=RESYNC_S)
    again = [{key: each[key] for key in ("type", "status", "reason", "message")} for each in it.status()["conditions"]]
    assert again == shown
    assert published(it.cluster)[0], "messages keep flowing"


async def test_no_call_is_made_on_an_account_over_its_limit(it: Installation) -> None:
    """After Meta's error 80007, no calls are made on the account for as long as Meta says.

    The number stays ready.
    """
    it.cluster.put(number())
    await it.settle()
    await it.fault("subscribed_apps", code=80007, status=400, headers={"retry-after": "1800"})
    await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    it.calls.clear()
    for _ in range(5):
        await it.reconcile(after_s=RESYNC_S)
    assert not any("subscribed_apps" in call for call in it.calls)
    await it.reconcile(after_s=1000.0)
    assert any("subscribed_apps" in call for call in it.calls)


async def test_a_call_that_is_put_off_changes_no_condition(it: Installation) -> None:
    """If the account's calls are used up for now, the number is reconciled later, and no condition changes."""
    it.reconciler = it.operator(graph_calls_per_hour=40)
    it.cluster.put(number())
    await it.settle()
    before = it.status()
    for _ in range(5):
        await it.reconcile(after_s=RESYNC_S)
    assert it.status() == before


async def test_many_numbers_of_one_account_stay_below_its_limit() -> None:
    """100 numbers become ready and are checked for drift within 200 calls an hour."""
    config = SimulatorConfig(management_calls_per_hour=200, verification_timeout_s=20.0)
    async with installation(config) as it:
        it.cluster.put(secret())
        ids = [str(300_000_000 + each) for each in range(100)]
        phones = [{"phone_number_id": each, "display_phone_number": f"+1 555 {each[-7:]}"} for each in ids]
        await it.world(accounts=[{"waba_id": WABA, "numbers": phones}])
        for each in ids:
            it.cluster.put(number(f"n{each}", phoneNumberId=each))
        for round_ in range(4):
            for each in ids:
                await it.reconcile(f"n{each}", after_s=0.0)
            if round_ == 0:
                assert {it.condition(ConditionType.READY, f"n{each}") for each in ids} == {(TRUE, Reason.AS_DESIRED)}
            it.clock.advance(RESYNC_S)
        assert {it.condition(ConditionType.RECONCILING, f"n{each}")[0] for each in ids} == {FALSE}
        assert it.simulation.hourly_limit.used((APP, WABA)) < 30


async def test_a_number_that_is_not_connected_is_registered_with_the_pin(it: Installation) -> None:
    """A number that is not connected is registered with the PIN.

    The call is made once, and it is recorded before it is made.
    """
    await phone(it, status="PENDING")
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert it.at_meta["states"][NUMBER] == "CONNECTED"
    assert len(it.status()["registration"]["attempts"]) == 1
    assert "123456" not in str(it.status())


async def test_a_connected_number_is_never_registered(it: Installation) -> None:
    """A connected number is never registered again, because Meta counts each call."""
    it.cluster.put(number())
    await it.settle()
    assert not any("register" in call for call in it.calls)


@pytest.mark.parametrize(
    ("fields", "pin", "reason", "word"),
    [
        ({"status": "PENDING"}, "", Reason.PIN_MISSING, "pin"),
        ({"status": "PENDING", "pin": "654321"}, "123456", Reason.PIN_REFUSED, "two-step verification PIN"),
        (
            {"status": "PENDING", "code_verification_status": "NOT_VERIFIED"},
            "123456",
            Reason.NUMBER_NOT_VERIFIED,
            "code",
        ),
        ({"status": "PENDING", "code_verification_status": "EXPIRED"}, "123456", Reason.NUMBER_NOT_VERIFIED, "code"),
        ({"status": "BANNED"}, "123456", "Banned", "review"),
    ],
)
async def test_a_step_that_only_a_person_can_take_is_reported(
    it: Installation, fields: dict[str, Any], pin: str, reason: str, word: str
) -> None:
    """If only a person can take the next step, the message names this step and its page.

    The number is not registered again and again.
    """
    it.cluster.put(secret(pin=pin))
    await phone(it, **fields)
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.REGISTERED) == (FALSE, reason)
    assert word in it.message(ConditionType.REGISTERED)
    assert "https://business.facebook.com/" in it.message(ConditionType.REGISTERED)
    assert it.condition(ConditionType.STALLED) == (TRUE, reason)
    for _ in range(20):
        await it.reconcile(after_s=RESYNC_S)
    assert sum("register" in call for call in it.calls) <= 1


async def test_a_new_pin_in_the_secret_is_tried(it: Installation) -> None:
    """After a person has put a new PIN into the Secret, the registration is tried again."""
    await phone(it, status="PENDING", pin="654321")
    it.cluster.put(number())
    await it.settle()
    it.cluster.put(secret(pin="654321"))
    await it.settle()
    await it.reconcile(after_s=RESYNC_S * 2)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


@pytest.mark.parametrize("code", [131045, 133016])
async def test_a_refused_registration_is_not_repeated(it: Installation, code: int) -> None:
    """A refused registration is not repeated within the next days."""
    await phone(it, status="PENDING")
    await it.fault("register", code=code, times=None)
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.REGISTERED)[0] == FALSE
    for _ in range(50):
        await it.reconcile(after_s=3600.0)
    assert sum("/register" in call for call in it.calls) == 1


async def test_failing_registrations_stay_below_metas_limit(it: Installation) -> None:
    """Failing registrations stay below Meta's limit: Meta locks a number after ten calls in 72 hours."""
    await phone(it, status="PENDING")
    await it.fault("register", status=500, times=None)
    it.cluster.put(number())
    for _ in range(3 * 24 * 2):
        await it.reconcile(after_s=1800.0)
    assert 2 <= sum("/register" in call for call in it.calls) <= 9


async def test_a_missing_payment_method_is_reported(it: Installation) -> None:
    """A missing payment method is reported in `CanSend`, with the step that a person must take.

    The number works within limits, so it is ready.
    """
    await it.world(accounts=[{"waba_id": WABA, "has_payment_method": False}])
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.CAN_SEND) == (TRUE, Reason.PAYMENT_MISSING)
    assert "billing_hub" in it.message(ConditionType.CAN_SEND)


async def test_a_blocked_account_is_reported(it: Installation) -> None:
    """A number in a blocked account is reported as not ready. The operator itself cannot change this."""
    await it.world(accounts=[{"waba_id": WABA, "can_send_message": "BLOCKED"}])
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.CAN_SEND)[0] == FALSE
    assert it.condition(ConditionType.READY)[0] == FALSE


@pytest.mark.parametrize(("days", "warned"), [(13.5, 14), (6.5, 7), (2.5, 3), (0.5, 1)])
async def test_a_warning_comes_before_a_token_expires(it: Installation, days: float, warned: int) -> None:
    """If a token cannot be refreshed, Events are posted 14, 7, 3 and 1 days before the token expires.

    Each of these Events is posted only once.
    """
    await it.world(tokens=[{"token": TOKEN, "app_id": APP, "expires_at": it.clock() + days * DAY_S}])
    await it.fault("oauth/access_token", code=190, times=None)
    it.cluster.put(number())
    await it.settle()
    await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert it.condition(ConditionType.TOKEN_VALID) == (TRUE, Reason.EXPIRES_SOON)
    assert it.status()["token"]["warnedDays"] == warned
    assert [reason for _, reason, _ in it.cluster.events].count(Reason.TOKEN_EXPIRES) == 1


async def test_an_expiring_token_is_refreshed_then_published_then_revoked(it: Installation) -> None:
    """An expiring token is refreshed and the new token is published. Then the old token is revoked.

    The old token is revoked only when no pod can still have it.
    """
    await it.world(tokens=[{"token": TOKEN, "app_id": APP, "expires_at": it.clock() + 10 * DAY_S}])
    it.cluster.put(number())
    await it.settle()
    fresh = published(it.cluster)[1][KEY].access_token
    assert fresh != TOKEN
    assert it.status()["token"]["source"] == "Refreshed"
    assert not it.simulation.world.tokens[TOKEN].revoked
    for _ in range(4):
        await it.reconcile(after_s=RESYNC_S)
    assert it.simulation.world.tokens[TOKEN].revoked
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert published(it.cluster)[1][KEY].access_token == fresh
    assert fresh not in str(it.status())


async def test_a_shared_token_is_revoked_when_both_numbers_have_the_new_one(
    it: Installation,
) -> None:
    """A token that two numbers share is refreshed once, and revoked only when both numbers have the new token.

    An earlier revocation would stop the other number.
    """
    await it.world(
        accounts=[
            {"waba_id": WABA, "numbers": [{"phone_number_id": "777777777", "display_phone_number": "+1 555 078 3899"}]}
        ],
        tokens=[{"token": TOKEN, "app_id": APP, "expires_at": it.clock() + 30 * DAY_S}],
    )
    it.cluster.put(number())
    it.cluster.put(number("second", phoneNumberId="777777777"))
    await it.settle()
    await it.settle("second")
    it.simulation.world.tokens[TOKEN].expires_at = it.clock() + 10 * DAY_S
    for _ in range(6):
        await it.reconcile(after_s=RESYNC_S)
    assert not it.simulation.world.tokens[TOKEN].revoked
    await it.reconcile("second", after_s=RESYNC_S)
    for _ in range(4):
        await it.reconcile(after_s=RESYNC_S)
    assert it.simulation.world.tokens[TOKEN].revoked
    tokens = {each.access_token for each in published(it.cluster)[1].values()}
    assert len(tokens) == 1
    assert sum("/oauth/access_token" in call for call in it.calls) == 1


async def test_a_new_token_in_the_secret_precedes_a_refreshed_one(it: Installation) -> None:
    """A new token in the Secret replaces a refreshed token, because the Secret's owner decides."""
    await it.world(tokens=[{"token": TOKEN, "app_id": APP, "expires_at": it.clock() + 10 * DAY_S}])
    it.cluster.put(number())
    await it.settle()
    await it.world(tokens=[{"token": "EAAanother", "app_id": APP}])
    it.cluster.put(secret(accessToken="EAAanother"))
    await it.settle()
    assert published(it.cluster)[1][KEY].access_token == "EAAanother"
    assert it.status()["token"]["source"] == "Secret"
