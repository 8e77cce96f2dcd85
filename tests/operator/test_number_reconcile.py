"""A number is set up at the simulated Meta and kept as desired.

The tests cover registration, callbacks, registry and status.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from waypost.allowed_plugins import AllowedPlugins
from waypost.cloudapi.graph.proof import appsecret_proof
from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api.conditions import timestamp
from waypost.operator.api.number_models import FINALIZER
from waypost.operator.engine.outcome import Outcome
from waypost.operator.number.reconcile import SECRETS_FRESH_S

from .installation import (
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
    script,
    secret,
)

pytestmark = pytest.mark.anyio
KEY = f"{NAMESPACE}.{NAME}.json"
RESYNC_S = 300.0


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Yields an installation with credentials and a bot. The number does not exist yet."""
    async with installation() as made:
        made.cluster.put(secret())
        made.cluster.put(script())
        yield made


async def test_a_declared_number_becomes_ready(it: Installation) -> None:
    """A declared number becomes ready, and each condition says so.

    The number's callback is registered, its app is subscribed, and the registry is written.
    """
    it.cluster.put(number(bot={"configMapRef": {"name": "support-bot"}}))
    result = await it.settle()
    assert (result.outcome, it.condition(ConditionType.READY)) == (Outcome.READY, (TRUE, Reason.AS_DESIRED))
    assert {each["status"] for each in it.status()["conditions"][1:-2]} == {"True"}
    assert it.at_meta["numbers"][NUMBER] == {APP: f"{it.public_url}/webhooks/{NAMESPACE}/{NAME}"}
    assert it.at_meta["account"] == {APP: None}
    assert it.at_meta["app"][0] == f"{it.public_url}/webhooks/apps/{APP}"
    routes, numbers = published(it.cluster)
    assert routes[KEY].app_secrets == (SECRET,)
    assert numbers[KEY].access_token == TOKEN
    assert "Hello!" in str(numbers[KEY].bot)


async def test_ready_is_unknown_before_meta_has_answered(it: Installation) -> None:
    """After the first reconcile, the condition `Ready` exists and is unknown, even if Meta fails."""
    await it.fault(".*", status=500, times=None)
    it.cluster.put(number())
    await it.reconcile()
    assert it.condition(ConditionType.READY) == (UNKNOWN, Reason.META_UNAVAILABLE)


async def test_a_number_that_is_as_desired_causes_no_writes(it: Installation) -> None:
    """For a number that is as desired, a second reconcile neither asks Meta nor writes.

    A resync asks Meta and writes nothing.
    """
    it.cluster.put(number())
    await it.settle()
    before, at_meta = it.cluster.dump(), it.at_meta
    it.calls.clear()
    await it.reconcile()
    assert it.calls == []
    await it.reconcile(after_s=RESYNC_S)
    assert it.calls
    assert all(call.startswith("GET ") for call in it.calls)
    assert (it.cluster.dump(), it.at_meta) == (before, at_meta)


@pytest.mark.fault("X3")
async def test_the_verify_token_is_long_and_plain(it: Installation) -> None:
    """The verify token has at least 32 characters, all letters and digits, because Meta changes other characters."""
    it.cluster.put(number())
    await it.settle()
    (token,) = published(it.cluster)[0][KEY].verify_tokens
    assert len(token) >= 32
    assert token.isalnum()
    assert token.isascii()


@pytest.mark.parametrize(
    ("scope", "own", "account", "delivers"),
    [("Number", True, False, "own"), ("Account", False, True, "app"), ("App", False, False, "app")],
)
async def test_the_callback_is_registered_at_its_scope_only(
    it: Installation, scope: str, own: bool, account: bool, delivers: str
) -> None:
    """The callback is registered only at its own scope, because a narrower callback would take precedence."""
    it.cluster.put(number(webhook={"scope": scope}))
    await it.settle()
    app_url = f"{it.public_url}/webhooks/apps/{APP}"
    own_url = f"{it.public_url}/webhooks/{NAMESPACE}/{NAME}"
    assert it.at_meta["numbers"][NUMBER] == ({APP: own_url} if own else {})
    assert it.at_meta["account"] == {APP: app_url if account else None}
    assert it.status()["webhook"] == {"url": own_url if delivers == "own" else app_url, "scope": scope}


@pytest.mark.parametrize(("before", "after"), [("Number", "App"), ("Account", "App"), ("App", "Number")])
async def test_another_scope_leaves_nothing_of_the_old_one(it: Installation, before: str, after: str) -> None:
    """When the scope in the spec changes, a narrower callback of the old scope is removed."""
    it.cluster.put(number(webhook={"scope": before}))
    await it.settle()
    it.cluster.put(number(webhook={"scope": after}))
    await it.settle()
    url = it.at_meta["numbers"][NUMBER].get(APP) or it.at_meta["account"][APP] or it.at_meta["app"][0]
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert url == it.status()["webhook"]["url"]


async def test_drift_of_the_callback_is_repaired(it: Installation) -> None:
    """If a person has replaced the callback by hand, the next resync restores our callback."""
    it.cluster.put(number())
    await it.settle()
    wanted = it.at_meta
    it.simulation.world.numbers[NUMBER].callbacks[APP].url = "https://elsewhere.example/hook"
    await it.reconcile(after_s=RESYNC_S)
    assert it.at_meta == wanted


async def test_an_app_that_was_unsubscribed_is_subscribed_again(it: Installation) -> None:
    """An app that was unsubscribed from the account is subscribed again, because otherwise no message arrives."""
    it.cluster.put(number())
    await it.settle()
    it.simulation.world.accounts[WABA].subscribers.clear()
    await it.reconcile(after_s=RESYNC_S)
    assert it.at_meta["account"] == {APP: None}
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_another_systems_app_callback_is_left_alone(it: Installation) -> None:
    """An app callback of another system is kept, because a number's own callback does not need the app callback.

    A condition says where account events go.
    """
    await it.world(
        apps=[
            {
                "app_id": APP,
                "app_secret": SECRET,
                "subscription": {
                    "url": "https://crm.example/hook",
                    "verify_token": "t",
                    "fields": {"messages": "v26.0"},
                },
            }
        ]
    )
    it.cluster.put(number())
    await it.settle()
    assert it.at_meta["app"][0] == "https://crm.example/hook"
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert it.condition(ConditionType.WEBHOOK_VERIFIED) == (TRUE, Reason.APP_CALLBACK_ELSEWHERE)


@pytest.mark.parametrize("prefix", ["waypost-registry", "waypost-number"])
async def test_a_deleted_secret_of_the_operator_is_restored(it: Installation, prefix: str) -> None:
    """If the operator's Secret with the registry or with the verify token was deleted, it is restored.

    The same verify token is published again, and Meta is not asked.
    """
    it.cluster.put(number())
    await it.settle()
    before = [each["data"] for each in it.cluster.all("Secret")]
    for each in it.cluster.all("Secret"):
        name = each["metadata"]["name"]
        if name.startswith(prefix):
            it.cluster.remove("Secret", "waypost", name)
    it.calls.clear()
    await it.reconcile(after_s=SECRETS_FRESH_S)
    assert [each["data"] for each in it.cluster.all("Secret")] == before
    assert it.calls == []


async def test_meta_is_asked_once_while_the_webhook_does_not_serve_the_callback(it: Installation) -> None:
    """While the webhook does not serve the callback, Meta is asked only once.

    No callback is registered before the webhook serves it, so nothing changes at Meta.
    """
    it.cluster.put(number())
    await it.settle()
    it.simulation.world.numbers[NUMBER].callbacks.clear()
    it.webhook.is_up = False
    it.calls.clear()
    await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.READY) == (FALSE, Reason.WAITING_FOR_WEBHOOK)
    assert it.calls.count(f"GET /{NUMBER}") == 1


async def test_a_changed_bot_is_published_without_asking_meta(it: Installation) -> None:
    """A changed bot script is published without a call to Meta, because Meta does not know the script."""
    it.cluster.put(number(bot={"configMapRef": {"name": "support-bot"}}))
    await it.settle()
    it.calls.clear()
    it.cluster.put(script(script()["data"]["bot.yaml"].replace("Hello!", "Good day!")))
    await it.reconcile()
    assert "Good day!" in str(published(it.cluster)[1][KEY].bot)
    assert it.calls == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [("version: 1\n", Reason.SCRIPT_INVALID), (None, Reason.CONFIG_MAP_MISSING), ("", Reason.SCRIPT_INVALID)],
)
async def test_a_broken_bot_leaves_the_last_good_one(it: Installation, text: str | None, reason: str) -> None:
    """When a bot script is broken or missing, the last good script stays published, so contacts still get answers.

    The condition says what is wrong.
    """
    it.cluster.put(number(bot={"configMapRef": {"name": "support-bot"}}))
    await it.settle()
    if text is None:
        it.cluster.remove("ConfigMap", NAMESPACE, "support-bot")
    else:
        it.cluster.put(script(text))
    await it.reconcile()
    assert "Hello!" in str(published(it.cluster)[1][KEY].bot)
    assert (it.condition(ConditionType.READY), it.condition(ConditionType.STALLED)) == ((FALSE, reason), (TRUE, reason))


async def test_a_refused_plugin_stalls_its_number_until_the_platform_allows_it(
    it: Installation,
) -> None:
    """A number with a refused plugin is stalled until the platform team allows the plugin.

    The number stays published, so its messages are stored. The workers do not run the plugin.
    """
    it.cluster.put(number(bot={"plugin": "shop_bot:turn"}))
    await it.settle()
    assert (it.condition(ConditionType.BOT_LOADED), it.condition(ConditionType.READY)) == (
        (FALSE, Reason.PLUGIN_NOT_ALLOWED),
        (FALSE, Reason.PLUGIN_NOT_ALLOWED),
    )
    assert published(it.cluster)[1][KEY].bot_plugin == "shop_bot:turn"
    it.reconciler = it.operator(plugins=AllowedPlugins.read("shop_bot:turn"))
    await it.settle()
    assert (it.condition(ConditionType.BOT_LOADED), it.condition(ConditionType.READY)) == (
        ("", ""),
        (TRUE, Reason.AS_DESIRED),
    )


@pytest.mark.fault("X2")
async def test_a_rotated_app_secret_is_accepted_beside_the_old_one(it: Installation) -> None:
    """After a rotation, both the new and the old app secret are accepted for an hour.

    Deliveries that were signed with the old app secret may still arrive.
    """
    it.cluster.put(number())
    await it.settle()
    await it.world(apps=[{"app_id": APP, "app_secret": "another-app-secret"}])
    it.cluster.put(secret(appSecret="another-app-secret"))
    await it.settle()
    assert published(it.cluster)[0][KEY].app_secrets == ("another-app-secret", SECRET)
    await it.reconcile(after_s=3700)
    assert published(it.cluster)[0][KEY].app_secrets == ("another-app-secret",)


async def test_an_app_that_demands_proofs_gets_one_with_every_call(it: Installation) -> None:
    """If an app demands proofs, every call has one.

    The operator proves the calls that it makes as the app and those with the token. It also publishes a proof for
    the workers.
    """
    await it.world(apps=[{"app_id": APP, "require_proof": True}])
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert published(it.cluster)[1][KEY].app_secret_proof == appsecret_proof(TOKEN, SECRET)


async def test_a_rotated_app_secret_changes_the_proof_of_the_same_token(it: Installation) -> None:
    """A rotated app secret changes the proof, although the token is the same.

    Meta accepts no proof with the old secret, even while Waypost still accepts deliveries signed with it.
    """
    it.cluster.put(number())
    await it.settle()
    await it.world(apps=[{"app_id": APP, "app_secret": "another-app-secret"}])
    it.cluster.put(secret(appSecret="another-app-secret", previousAppSecret=SECRET))
    await it.settle()
    made = published(it.cluster)[1][KEY]
    assert (made.access_token, made.app_secret_proof) == (TOKEN, appsecret_proof(TOKEN, "another-app-secret"))


async def test_a_wrong_app_secret_never_reaches_the_webhook(it: Installation) -> None:
    """A wrong app secret is never published, because Meta is asked first. The last valid app secret stays in use."""
    it.cluster.put(number())
    await it.settle()
    it.cluster.put(secret(appSecret="a-typing-error"))
    await it.settle()
    assert published(it.cluster)[0][KEY].app_secrets == (SECRET,)
    assert published(it.cluster)[1][KEY].app_secret_proof == appsecret_proof(TOKEN, SECRET)
    assert it.condition(ConditionType.CREDENTIALS_VALID) == (FALSE, Reason.APP_SECRET_REFUSED)
    it.cluster.put(secret())
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_a_verify_token_changed_by_hand_is_accepted_beside_the_old_one(it: Installation) -> None:
    """When a person changes the verify token by hand, the old token is also accepted.

    Meta may still verify with the old token.
    """
    it.cluster.put(number())
    await it.settle()
    (old,) = published(it.cluster)[0][KEY].verify_tokens
    stored = it.cluster.get("Secret", "waypost", f"waypost-number-{NAMESPACE}.{NAME}")
    assert stored is not None
    stored["data"]["verifyToken"] = base64.b64encode(b"n" * 40).decode()
    it.cluster.put(stored)
    await it.reconcile(after_s=SECRETS_FRESH_S)
    await it.reconcile()
    assert published(it.cluster)[0][KEY].verify_tokens == ("n" * 40, old)


async def test_new_credentials_do_not_undo_a_verify_token_changed_by_hand(it: Installation) -> None:
    """New credentials do not undo a verify token that a person changed by hand.

    The operator caches its own Secret, but reads it again before each write.
    """
    it.cluster.put(number())
    await it.settle()
    stored = it.cluster.get("Secret", "waypost", f"waypost-number-{NAMESPACE}.{NAME}")
    assert stored is not None
    stored["data"]["verifyToken"] = base64.b64encode(b"n" * 40).decode()
    it.cluster.put(stored)
    await it.world(apps=[{"app_id": APP, "app_secret": "another-app-secret"}])
    it.cluster.put(secret(appSecret="another-app-secret"))
    await it.reconcile()
    assert published(it.cluster)[0][KEY].verify_tokens[0] == "n" * 40


@pytest.mark.fault("X6")
async def test_a_secret_that_was_not_opted_in_is_not_used(it: Installation) -> None:
    """A Secret without the opt-in label is not used, and its content is not mentioned."""
    it.cluster.put(secret(labels={}, appSecret=""))
    it.cluster.put(number())
    await it.settle()
    assert it.calls == []
    assert it.condition(ConditionType.CREDENTIALS_VALID) == (FALSE, Reason.SECRET_NOT_OPTED_IN)
    assert "appSecret" not in it.message(ConditionType.CREDENTIALS_VALID)


async def test_removing_the_label_withdraws_the_number(it: Installation) -> None:
    """When the owner of a Secret removes the opt-in label, the number's entries are withdrawn."""
    it.cluster.put(number())
    await it.settle()
    it.cluster.put(secret(labels={}))
    await it.settle()
    assert published(it.cluster) == ({}, {})


async def test_a_deleted_secret_stops_changes_not_messages(it: Installation) -> None:
    """When the Secret is deleted, the number stays published and `Ready` is false.

    A mistake with kubectl must not stop a business from answering.
    """
    it.cluster.put(number())
    await it.settle()
    before = published(it.cluster)
    it.cluster.remove("Secret", NAMESPACE, "support-meta")
    await it.settle()
    assert published(it.cluster) == before
    assert it.condition(ConditionType.READY) == (FALSE, Reason.SECRET_MISSING)


async def test_a_suspended_number_is_left_as_it_is(it: Installation) -> None:
    """For a suspended number, drift is not repaired and nothing is withdrawn. The condition `Ready` says why."""
    it.cluster.put(number())
    await it.settle()
    it.cluster.put(number(suspend=True))
    it.simulation.world.accounts[WABA].subscribers.clear()
    it.calls.clear()
    await it.reconcile(after_s=RESYNC_S)
    assert it.calls == []
    assert published(it.cluster)[0]
    assert it.condition(ConditionType.READY) == (TRUE, Reason.SUSPENDED)
    it.cluster.put(number())
    await it.settle()
    assert it.at_meta["account"] == {APP: None}


async def test_a_suspended_number_says_when_meta_was_last_asked(it: Installation) -> None:
    """The status of a suspended number says when Meta was last asked, because its conditions are old."""
    it.cluster.put(number())
    await it.settle()
    last = timestamp(it.clock())
    it.cluster.put(number(suspend=True))
    for _ in range(4):
        await it.reconcile(after_s=RESYNC_S)
    it.reconciler = it.operator()
    before = it.cluster.dump()
    await it.reconcile(after_s=RESYNC_S)
    assert it.status()["unansweredSince"] == dict.fromkeys(("token", "number", "account", "app"), last)
    assert it.cluster.dump() == before
    it.cluster.put(number())
    await it.settle()
    assert "unansweredSince" not in it.status()


async def test_a_number_that_is_suspended_from_birth_is_not_ready(it: Installation) -> None:
    """A number that is created suspended is not ready, because it neither receives nor sends."""
    it.cluster.put(number(suspend=True))
    await it.reconcile()
    assert it.condition(ConditionType.READY) == (FALSE, Reason.SUSPENDED)
    assert "spec.suspend" in it.message(ConditionType.READY)
    assert it.condition(ConditionType.STALLED) == (FALSE, Reason.NOT_STALLED)
    assert (it.calls, published(it.cluster)) == ([], ({}, {}))
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_the_first_of_two_objects_with_one_phone_number_has_it(it: Installation) -> None:
    """If two objects have the same phone number, only the first object is published.

    A condition of the second object names this conflict. When the first object is gone, the second takes over.
    """
    it.cluster.put(number("first"))
    await it.settle("first")
    it.cluster.put(number("second"))
    await it.settle("second")
    await it.settle("first")
    assert it.condition(ConditionType.READY, "first") == (TRUE, Reason.AS_DESIRED)
    assert it.condition(ConditionType.READY, "second") == (FALSE, Reason.CONFLICT)
    assert "first" in it.message(ConditionType.READY, "second")
    assert set(published(it.cluster)[0]) == {f"{NAMESPACE}.first.json"}
    it.cluster.remove("WhatsAppNumber", NAMESPACE, "first")
    await it.reconcile("first")
    await it.settle("second")
    assert it.condition(ConditionType.READY, "second") == (TRUE, Reason.AS_DESIRED)
    assert set(published(it.cluster)[0]) == {f"{NAMESPACE}.second.json"}


async def test_a_number_of_another_team_is_not_named(it: Installation) -> None:
    """The message about a conflict does not name an object of another namespace.

    Users of one namespace must not learn names from another.
    """
    it.cluster.put(secret(namespace="team-b"))
    it.cluster.put(number("theirs", namespace="team-b"))
    await it.settle("theirs", "team-b")
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.READY) == (FALSE, Reason.CONFLICT)
    assert "theirs" not in it.message(ConditionType.READY)
    assert "team-b" not in it.message(ConditionType.READY)


async def test_a_request_by_annotation_is_done_at_once_and_confirmed(it: Installation) -> None:
    """Each value of the annotation causes one reconcile at once, and the status confirms the value."""
    it.cluster.put(number())
    await it.settle()
    it.calls.clear()
    asked = number()
    asked["metadata"]["annotations"] = {"waypost.dev/reconcile-requested-at": "now"}
    it.cluster.put(asked)
    await it.reconcile()
    assert it.calls
    assert it.status()["lastHandledReconcileAt"] == "now"
    it.calls.clear()
    await it.reconcile()
    assert it.calls == []


async def test_a_restart_does_not_ask_meta_at_once(it: Installation) -> None:
    """After a restart, each healthy number waits for its own time within the resync interval before Meta is asked."""
    it.cluster.put(number())
    await it.settle()
    it.calls.clear()
    it.reconciler = it.operator()
    result = await it.reconcile(after_s=0.0)
    assert it.calls == []
    assert result.requeue_after_s is not None
    assert 0 < result.requeue_after_s <= RESYNC_S
    await it.reconcile(after_s=result.requeue_after_s + 1)
    assert it.calls


async def test_status_and_events_hold_no_secret_and_no_phone_number(it: Installation) -> None:
    """Status and Events contain no secret, and only the last two digits of the phone number."""
    it.cluster.put(number())
    await it.settle()
    digits = "".join(each for each in PHONE if each.isdigit())
    (token,) = published(it.cluster)[0][KEY].verify_tokens
    shown = f"{it.status()} {it.cluster.events}"
    assert it.status()["phone"]["ending"] == digits[-2:]
    for canary in (TOKEN, SECRET, token, digits, PHONE, digits[-7:]):
        assert canary not in shown


async def test_a_number_in_the_namespace_apps_is_refused(it: Installation) -> None:
    """A number in the namespace `apps` is refused, because its callback would have the same address as an app's."""
    it.cluster.put(secret(namespace="apps"))
    it.cluster.put(number(namespace="apps"))
    await it.reconcile(namespace="apps")
    assert it.condition(ConditionType.READY, namespace="apps") == (FALSE, Reason.NAMESPACE_TAKEN)
    assert it.calls == []


async def test_an_invalid_object_is_reported_and_can_be_deleted(it: Installation) -> None:
    """An invalid object, which an older CRD may have accepted, is reported and can be deleted.

    It must not cause a traceback every five minutes.
    """
    broken = number()
    del broken["spec"]["credentialsRef"]
    broken["metadata"]["finalizers"] = [FINALIZER]
    it.cluster.put(broken)
    await it.reconcile()
    assert it.condition(ConditionType.READY) == (FALSE, Reason.INVALID_SPEC)
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    await it.reconcile()
    assert it.cluster.get("WhatsAppNumber", NAMESPACE, NAME) is None


async def test_a_spec_that_changes_during_a_reconcile_is_done_by_the_next_one(it: Installation) -> None:
    """A change of the spec during a reconcile is applied by the next reconcile.

    `observedGeneration` in the status is the generation that was reconciled.
    """
    it.cluster.put(number())
    await it.settle()
    changes = [number(limits={"messagesPerSecond": 10}), number(limits={"messagesPerSecond": 20})]
    it.cluster.put(changes[0])

    class Changing:
        """A cluster in which a user edits the number while its registry entry is written."""

        def __getattr__(self, name: str) -> Any:
            if name == "write_entry" and len(changes) > 1:
                it.cluster.put(changes.pop())
            return getattr(it.cluster, name)

    it.reconciler = it.operator(Changing())
    await it.reconcile()
    manifest = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    assert manifest is not None
    assert (manifest["metadata"]["generation"], it.status()["observedGeneration"]) == (3, 2)
    await it.reconcile()
    assert published(it.cluster)[1][KEY].messages_per_second == 20
    assert it.status()["observedGeneration"] == 3


async def test_two_hundred_numbers_set_up_their_app_and_account_once(it: Installation) -> None:
    """Two hundred numbers that are reconciled at once become ready, and set up their app and account only once."""
    ids = [str(400_000_000 + each) for each in range(200)]
    phones = [{"phone_number_id": each, "display_phone_number": f"+1 555 {each[-7:]}"} for each in ids]
    await it.world(accounts=[{"waba_id": WABA, "numbers": phones}])
    manifests = [it.cluster.put(number(f"n{each}", phoneNumberId=each)) for each in ids]
    it.clock.advance(1.0)
    await asyncio.gather(*(it.reconciler.reconcile(each) for each in manifests))
    for each in ids:
        await it.settle(f"n{each}")
    assert {it.condition(ConditionType.READY, f"n{each}") for each in ids} == {(TRUE, Reason.AS_DESIRED)}
    assert it.calls.count(f"POST /{APP}/subscriptions") == 1
    assert it.calls.count(f"POST /{WABA}/subscribed_apps") == 1
    assert len(published(it.cluster)[0]) == 200
