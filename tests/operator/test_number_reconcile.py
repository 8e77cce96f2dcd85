"""A number becomes true at the simulated Meta and stays true: registration, callbacks, registry, status."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from waypost.allowed_plugins import AllowedPlugins
from waypost.cloudapi.graph.proof import appsecret_proof
from waypost.operator.api.condition_types import ConditionType, Reason
from waypost.operator.api.number_models import FINALIZER
from waypost.operator.engine.outcome import Outcome
from waypost.operator.number.reconcile import KEPT_FRESH_S

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
    """Credentials and a bot are there, the number is not declared yet."""
    async with installation() as made:
        made.cluster.put(secret())
        made.cluster.put(script())
        yield made


async def test_a_declared_number_becomes_ready(it: Installation) -> None:
    """Callback registered and read back, app subscribed, registry published, and every side says so."""
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


async def test_ready_is_there_from_the_first_second(it: Installation) -> None:
    """Before Meta is asked anything the summary says that it is not known yet."""
    seen = []
    await it.fault(".*", status=500, times=None)
    it.cluster.put(number())
    await it.reconcile()
    seen.append(it.condition(ConditionType.READY))
    assert seen == [(UNKNOWN, Reason.META_UNAVAILABLE)]


async def test_nothing_is_done_twice(it: Installation) -> None:
    """A second reconcile asks and writes nothing, a resync asks and writes nothing."""
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


async def test_the_verify_token_is_long_and_plain(it: Installation) -> None:
    """Letters and digits, at least 32: Meta mangles others."""
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
async def test_the_callback_is_registered_at_the_wanted_scope(
    it: Installation, scope: str, own: bool, account: bool, delivers: str
) -> None:
    """And at no other: a narrower one would take precedence."""
    it.cluster.put(number(webhook={"scope": scope}))
    await it.settle()
    app_url = f"{it.public_url}/webhooks/apps/{APP}"
    own_url = f"{it.public_url}/webhooks/{NAMESPACE}/{NAME}"
    assert it.at_meta["numbers"][NUMBER] == ({APP: own_url} if own else {})
    assert it.at_meta["account"] == {APP: app_url if account else None}
    assert it.status()["webhook"] == {"url": own_url if delivers == "own" else app_url, "scope": scope}


@pytest.mark.parametrize(("before", "after"), [("Number", "App"), ("Account", "App"), ("App", "Number")])
async def test_another_scope_leaves_nothing_of_the_old_one(it: Installation, before: str, after: str) -> None:
    """The spec changes, and what would take precedence is taken away."""
    it.cluster.put(number(webhook={"scope": before}))
    await it.settle()
    it.cluster.put(number(webhook={"scope": after}))
    await it.settle()
    url = it.at_meta["numbers"][NUMBER].get(APP) or it.at_meta["account"][APP] or it.at_meta["app"][0]
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert url == it.status()["webhook"]["url"]


async def test_drift_of_the_callback_is_repaired(it: Installation) -> None:
    """Somebody pointed the number elsewhere by hand: the next resync takes it back."""
    it.cluster.put(number())
    await it.settle()
    wanted = it.at_meta
    it.simulation.world.numbers[NUMBER].callbacks[APP].url = "https://elsewhere.example/hook"
    await it.reconcile(after_s=RESYNC_S)
    assert it.at_meta == wanted


async def test_an_app_that_was_unsubscribed_is_subscribed_again(it: Installation) -> None:
    """Without it nothing arrives."""
    it.cluster.put(number())
    await it.settle()
    it.simulation.world.accounts[WABA].subscribers.clear()
    await it.reconcile(after_s=RESYNC_S)
    assert it.at_meta["account"] == {APP: None}
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)


async def test_another_systems_app_callback_is_left_alone(it: Installation) -> None:
    """A number's own callback does not need the app's; it is told where account events go."""
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


@pytest.mark.parametrize("lost", ["entries", "kept"])
async def test_a_deleted_child_comes_back_as_it_was(it: Installation, lost: str) -> None:
    """The registry's Secrets or the kept verify token were deleted: no new token, no call to Meta."""
    it.cluster.put(number())
    await it.settle()
    before = [each["data"] for each in it.cluster.all("Secret")]
    for each in it.cluster.all("Secret"):
        name = each["metadata"]["name"]
        if name.startswith("waypost-registry" if lost == "entries" else "waypost-number"):
            it.cluster.remove("Secret", "waypost", name)
    it.calls.clear()
    await it.reconcile(after_s=KEPT_FRESH_S)
    assert [each["data"] for each in it.cluster.all("Secret")] == before
    assert it.calls == []


async def test_meta_is_not_asked_again_about_what_it_was_not_told(it: Installation) -> None:
    """A callback is missing and the webhook does not serve its route: one look is all, until it does."""
    it.cluster.put(number())
    await it.settle()
    it.simulation.world.numbers[NUMBER].callbacks.clear()
    it.webhook.is_up = False
    it.calls.clear()
    await it.reconcile(after_s=RESYNC_S)
    assert it.condition(ConditionType.READY) == (FALSE, Reason.WAITING_FOR_WEBHOOK)
    assert it.calls.count(f"GET /{NUMBER}") == 1


async def test_a_changed_bot_is_published_without_asking_meta(it: Installation) -> None:
    """The script is ours alone."""
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
    """The condition names the line; people still get answers."""
    it.cluster.put(number(bot={"configMapRef": {"name": "support-bot"}}))
    await it.settle()
    if text is None:
        it.cluster.remove("ConfigMap", NAMESPACE, "support-bot")
    else:
        it.cluster.put(script(text))
    await it.reconcile()
    assert "Hello!" in str(published(it.cluster)[1][KEY].bot)
    assert (it.condition(ConditionType.READY), it.condition(ConditionType.STALLED)) == ((FALSE, reason), (TRUE, reason))


async def test_a_plugin_that_is_not_allowed_stalls_its_number_until_an_operator_starts_with_another_list(
    it: Installation,
) -> None:
    """The number stays published, so nothing that comes for it is lost; whoever serves it decides what runs."""
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


async def test_a_rotated_app_secret_is_taken_beside_the_old_one(it: Installation) -> None:
    """Deliveries signed with the old one are on their way; after an hour it is no longer accepted."""
    it.cluster.put(number())
    await it.settle()
    await it.world(apps=[{"app_id": APP, "app_secret": "another-app-secret"}])
    it.cluster.put(secret(appSecret="another-app-secret"))
    await it.settle()
    assert published(it.cluster)[0][KEY].app_secrets == ("another-app-secret", SECRET)
    await it.reconcile(after_s=3700)
    assert published(it.cluster)[0][KEY].app_secrets == ("another-app-secret",)


async def test_an_app_that_demands_proofs_gets_one_with_every_call(it: Installation) -> None:
    """Of the operator's own calls, as the app and with the token, and of the workers' later."""
    await it.world(apps=[{"app_id": APP, "require_proof": True}])
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    assert published(it.cluster)[1][KEY].app_secret_proof == appsecret_proof(TOKEN, SECRET)


async def test_a_rotated_app_secret_makes_another_proof_of_the_same_token(it: Installation) -> None:
    """Meta takes no call any more that the old secret proves, even while deliveries signed with it are on their way."""
    it.cluster.put(number())
    await it.settle()
    await it.world(apps=[{"app_id": APP, "app_secret": "another-app-secret"}])
    it.cluster.put(secret(appSecret="another-app-secret", previousAppSecret=SECRET))
    await it.settle()
    made = published(it.cluster)[1][KEY]
    assert (made.access_token, made.app_secret_proof) == (TOKEN, appsecret_proof(TOKEN, "another-app-secret"))


async def test_a_wrong_app_secret_never_reaches_the_webhook(it: Installation) -> None:
    """Meta is asked first; until it is right, the good one stays in use."""
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


async def test_a_verify_token_changed_by_hand_is_taken_beside_the_old_one(it: Installation) -> None:
    """The webhook answers for both while Meta may still ask with the old one."""
    it.cluster.put(number())
    await it.settle()
    (old,) = published(it.cluster)[0][KEY].verify_tokens
    kept = it.cluster.get("Secret", "waypost", f"waypost-number-{NAMESPACE}.{NAME}")
    assert kept is not None
    kept["data"]["verifyToken"] = base64.b64encode(b"n" * 40).decode()
    it.cluster.put(kept)
    await it.reconcile(after_s=KEPT_FRESH_S)
    await it.reconcile()
    assert published(it.cluster)[0][KEY].verify_tokens == ("n" * 40, old)


async def test_new_credentials_right_after_a_verify_token_by_hand_do_not_undo_it(it: Installation) -> None:
    """The operator remembers what it keeps for a while; but what it writes, it has read before."""
    it.cluster.put(number())
    await it.settle()
    kept = it.cluster.get("Secret", "waypost", f"waypost-number-{NAMESPACE}.{NAME}")
    assert kept is not None
    kept["data"]["verifyToken"] = base64.b64encode(b"n" * 40).decode()
    it.cluster.put(kept)
    await it.world(apps=[{"app_id": APP, "app_secret": "another-app-secret"}])
    it.cluster.put(secret(appSecret="another-app-secret"))
    await it.reconcile()
    assert published(it.cluster)[0][KEY].verify_tokens[0] == "n" * 40


async def test_a_secret_that_was_not_opted_in_is_not_used(it: Installation) -> None:
    """Nor is told what is in it."""
    it.cluster.put(secret(labels={}, appSecret=""))
    it.cluster.put(number())
    await it.settle()
    assert it.calls == []
    assert it.condition(ConditionType.CREDENTIALS_VALID) == (FALSE, Reason.SECRET_NOT_OPTED_IN)
    assert "appSecret" not in it.message(ConditionType.CREDENTIALS_VALID)


async def test_taking_the_label_away_takes_the_number_from_the_data_plane(it: Installation) -> None:
    """The owner of the Secret decides."""
    it.cluster.put(number())
    await it.settle()
    it.cluster.put(secret(labels={}))
    await it.settle()
    assert published(it.cluster) == ({}, {})


async def test_a_deleted_secret_stops_changes_not_messages(it: Installation) -> None:
    """A mistake with kubectl must not silence a business."""
    it.cluster.put(number())
    await it.settle()
    before = published(it.cluster)
    it.cluster.remove("Secret", NAMESPACE, "support-meta")
    await it.settle()
    assert published(it.cluster) == before
    assert it.condition(ConditionType.READY) == (FALSE, Reason.SECRET_MISSING)


async def test_a_suspended_number_is_left_as_it_is(it: Installation) -> None:
    """Drift is not repaired, nothing is withdrawn; the summary says why."""
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


async def test_of_two_numbers_with_one_id_the_older_has_it(it: Installation) -> None:
    """The younger says so, publishes nothing, and takes over when the older is gone."""
    it.cluster.put(number("first"))
    it.clock.advance(10)
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


async def test_a_rival_of_another_team_is_not_named(it: Installation) -> None:
    """Names of another namespace are its own business."""
    it.cluster.put(number("theirs", namespace="team-b"))
    it.clock.advance(10)
    it.cluster.put(number())
    await it.settle()
    assert it.condition(ConditionType.READY) == (FALSE, Reason.CONFLICT)
    assert "theirs" not in it.message(ConditionType.READY)
    assert "team-b" not in it.message(ConditionType.READY)


async def test_a_request_by_annotation_looks_at_once_and_is_told(it: Installation) -> None:
    """And only once for each value."""
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


async def test_a_restart_is_no_reason_to_ask_meta(it: Installation) -> None:
    """A healthy number waits for a moment of its own within the resync."""
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


async def test_no_secret_and_no_phone_number_is_told(it: Installation) -> None:
    """Neither in the status nor in an Event; the number shows by its last two digits."""
    it.cluster.put(number())
    await it.settle()
    digits = "".join(each for each in PHONE if each.isdigit())
    (token,) = published(it.cluster)[0][KEY].verify_tokens
    told = f"{it.status()} {it.cluster.events}"
    assert it.status()["phone"]["ending"] == digits[-2:]
    for canary in (TOKEN, SECRET, token, digits, PHONE, digits[-7:]):
        assert canary not in told


async def test_a_number_in_the_namespace_apps_is_refused(it: Installation) -> None:
    """Its route would be an app's."""
    it.cluster.put(secret(namespace="apps"))
    it.cluster.put(number(namespace="apps"))
    await it.reconcile(namespace="apps")
    assert it.condition(ConditionType.READY, namespace="apps") == (FALSE, Reason.NAMESPACE_TAKEN)
    assert it.calls == []


async def test_an_object_written_past_the_schema_is_told_and_can_be_deleted(it: Installation) -> None:
    """Not a traceback every five minutes."""
    broken = number()
    del broken["spec"]["credentialsRef"]
    broken["metadata"]["finalizers"] = [FINALIZER]
    it.cluster.put(broken)
    await it.reconcile()
    assert it.condition(ConditionType.READY) == (FALSE, Reason.INVALID_SPEC)
    it.cluster.remove("WhatsAppNumber", NAMESPACE, NAME)
    await it.reconcile()
    assert it.cluster.get("WhatsAppNumber", NAMESPACE, NAME) is None


async def test_a_spec_that_changes_meanwhile_is_not_told_to_be_done(it: Installation) -> None:
    """The status speaks of the generation that was worked on; the next reconcile does the new one."""
    it.cluster.put(number())
    await it.settle()
    changes = [number(limits={"messagesPerSecond": 10}), number(limits={"messagesPerSecond": 20})]
    it.cluster.put(changes[0])

    class Changing:
        """A cluster in which the user edits the object while its entry is written."""

        def __getattr__(self, name: str) -> Any:
            if name == "write_entry" and len(changes) > 1:
                it.cluster.put(changes.pop())
            return getattr(it.cluster, name)

    it.reconciler = it.operator(Changing())  # type: ignore[arg-type]
    await it.reconcile()
    manifest = it.cluster.get("WhatsAppNumber", NAMESPACE, NAME)
    assert manifest is not None
    assert (manifest["metadata"]["generation"], it.status()["observedGeneration"]) == (3, 2)
    await it.reconcile()
    assert published(it.cluster)[1][KEY].messages_per_second == 20
    assert it.status()["observedGeneration"] == 3


async def test_two_hundred_numbers_at_once_share_what_they_have_in_common(it: Installation) -> None:
    """All become ready, and app and account are set up once, not two hundred times."""
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
