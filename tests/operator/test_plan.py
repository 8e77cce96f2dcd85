"""Tables of the planned actions and the conditions of a number, for each state that can be observed."""

import dataclasses
from typing import Any

import msgspec
import pytest

from waypost.allowed_plugins import AllowedPlugins
from waypost.cloudapi.graph.apps import OBJECT, AppSubscription, SubscribedField, TokenDetails
from waypost.cloudapi.graph.business_accounts import SubscribedApp
from waypost.cloudapi.graph.errors import GraphRefused, GraphUnreachable
from waypost.cloudapi.graph.numbers import PhoneNumber, WebhookConfiguration
from waypost.cloudapi.graph.proof import appsecret_proof
from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import timestamp
from waypost.operator.api.number_models import NumberSpec
from waypost.operator.cluster.registry_secrets import NoRoom, Published, Use
from waypost.operator.engine.outcome import Outcome
from waypost.operator.number import actions as act
from waypost.operator.number.actions import Action
from waypost.operator.number.claims import Claim
from waypost.operator.number.credentials import Credentials, Unusable
from waypost.operator.number.operator_secrets import NumberSecrets, RefreshedToken, digest
from waypost.operator.number.plan import APP_SECRET_OVERLAP_S, DAY_S, number_of, plan, route_of, secrets_of
from waypost.operator.number.state import FIELDS, NEEDED_SCOPES, Desired, MetaState, Observed, Question, Script
from waypost.operator.number.status import judgement, summary

from .installation import BOT, FALSE, TRUE, UNKNOWN

NOW = 1_800_000_000.0
APP, NUMBER, WABA = "100000000000001", "106540352242922", "102290129340398"
PUBLIC = "https://wa.example.org"
OWN, OF_APP = f"{PUBLIC}/webhooks/team-a/support", f"{PUBLIC}/webhooks/apps/{APP}"
CREDENTIALS = Credentials(appId=APP, appSecret="secret", accessToken="token", pin="123456")
SECRETS = NumberSecrets("v" * 40)
TOKEN = TokenDetails(is_valid=True, app_id=APP, type="SYSTEM_USER", scopes=list(NEEDED_SCOPES))
OURS = AppSubscription(OBJECT, OF_APP, True, tuple(SubscribedField(name) for name in FIELDS))


def desired(**spec: Any) -> Desired:
    """Returns a number as its object declares it."""
    least = {"phoneNumberId": NUMBER, "wabaId": WABA, "credentialsRef": {"name": "meta"}}
    return Desired("team-a", "support", 1, NumberSpec.model_validate(least | spec), PUBLIC)


def phone(**fields: Any) -> PhoneNumber:
    """Returns a number at Meta that delivers to Waypost."""
    callbacks = WebhookConfiguration(phone_number=OWN, application=OF_APP)
    facts: dict[str, Any] = {"id": NUMBER, "status": "CONNECTED", "webhook_configuration": callbacks}
    return PhoneNumber(**facts | fields)


def at_meta(**changes: Any) -> MetaState:
    """Returns the desired state at Meta with the given changes."""
    facts: dict[str, Any] = {"token": TOKEN, "number": phone(), "account": (SubscribedApp(APP),), "app": (OURS,)}
    return MetaState(**facts | changes)


def observed(**changes: Any) -> Observed:
    """Returns the observation of a number that is as desired except for the given changes."""
    found = Observed(
        credentials=CREDENTIALS,
        secret_version="7",
        secrets=SECRETS,
        meta=at_meta(),
        refreshed=changes.get("refreshed"),
        candidate_verify_token="c" * 40,
    )
    return dataclasses.replace(found, **{"published": published(found)} | changes)


def published(found: Observed) -> Published:
    """Returns the registry entries of a number that is as desired."""
    return Published(route_of(desired(), CREDENTIALS, SECRETS), number_of(desired(), found, CREDENTIALS), 0)


def planned(found: Observed, wanted: Desired | None = None) -> list[type[Action]]:
    """Returns the classes of the planned actions."""
    return [type(each) for each in plan(wanted or desired(), found, NOW).actions]


def test_nothing_is_planned_for_a_number_that_is_as_desired() -> None:
    """The plan of a number that is as desired is empty."""
    assert planned(observed()) == []


NEW: dict[str, Any] = {"secrets": None, "published": Published()}
NOWHERE = at_meta(number=phone(webhook_configuration=None), account=(), app=())
EXPIRING = TokenDetails(
    is_valid=True, app_id=APP, type="SYSTEM_USER", scopes=list(NEEDED_SCOPES), expires_at=int(NOW + 10 * DAY_S)
)
ACCEPTED_CONDITIONS: list[dict[str, Any]] = [
    {"type": ConditionType.CREDENTIALS_VALID, "status": TRUE, "reason": Reason.ACCEPTED},
    {"type": ConditionType.TOKEN_VALID, "status": TRUE, "reason": Reason.NEVER_EXPIRES},
    {"type": ConditionType.REGISTERED, "status": TRUE, "reason": Reason.CONNECTED},
]
ACCEPTED: dict[str, Any] = {"token": {"secretResourceVersion": "7"}, "conditions": ACCEPTED_CONDITIONS}
OTHER = Claim("2027-01-01T00:00:00Z", "team-b", "other", "uid", NUMBER, WABA, "meta")
READS_ONLY = TokenDetails(is_valid=True, app_id=APP, type="SYSTEM_USER", scopes=[NEEDED_SCOPES[0]])


def accepted(type_: ConditionType, status: ConditionStatus, reason: Reason) -> dict[str, Any]:
    """Returns the status of an accepted number in which the condition of this type has the given values."""
    changed = {"type": type_, "status": status, "reason": reason, "message": "before"}
    return ACCEPTED | {"conditions": [*(each for each in ACCEPTED_CONDITIONS if each["type"] != type_), changed]}


REFRESHED = RefreshedToken("fresh", digest("token"), "token", NOW - 1)


@pytest.mark.parametrize(
    ("found", "actions"),
    [
        pytest.param(
            observed(**NEW, meta=NOWHERE),
            [act.SaveSecrets, act.Publish, act.AwaitRoute, act.SetAppCallback, act.SubscribeApp, act.SetNumberCallback],
            id="a new number: publish, wait for the webhook, then register callbacks",
        ),
        pytest.param(observed(**NEW, meta=None), [], id="Meta was not asked yet: nothing is published"),
        pytest.param(
            observed(**NEW, meta=at_meta(number=GraphRefused(100, 400))),
            [],
            id="another's number: nothing is published",
        ),
        pytest.param(
            observed(**NEW, meta=at_meta(token=TokenDetails(is_valid=False))),
            [],
            id="an invalid token: nothing is published",
        ),
        pytest.param(
            observed(**NEW, meta=None, status=ACCEPTED),
            [act.SaveSecrets, act.Publish],
            id="entries lost, credentials as accepted: published without asking Meta",
        ),
        pytest.param(
            observed(**NEW, meta=at_meta(token=GraphUnreachable("x")), status=ACCEPTED),
            [act.SaveSecrets, act.Publish],
            id="entries lost while Meta does not answer",
        ),
        pytest.param(
            observed(**NEW, meta=None, status=accepted(ConditionType.REGISTERED, FALSE, Reason.NO_ACCESS)),
            [],
            id="the token is valid, but may not act for this number",
        ),
        pytest.param(
            observed(**NEW, meta=None, status=accepted(ConditionType.REGISTERED, UNKNOWN, Reason.META_UNAVAILABLE)),
            [],
            id="the token is valid, and Meta has not answered about this number",
        ),
        pytest.param(
            observed(yielding=OTHER, **NEW),
            [act.SaveSecrets, act.Publish, act.WithdrawOther],
            id="the number comes from an object that Meta refuses: published here first, then withdrawn there",
        ),
        pytest.param(
            observed(yielding=OTHER, meta=at_meta(number=GraphUnreachable("x"))),
            [],
            id="Meta does not prove the claim on a number that another object loses",
        ),
        pytest.param(
            observed(
                published=Published(number=number_of(desired(phoneNumberId="777777777"), observed(), CREDENTIALS)),
                meta=at_meta(token=GraphUnreachable("x")),
            ),
            [act.Withdraw],
            id="entries of an earlier object of this name, which had another number",
        ),
        pytest.param(
            observed(meta=at_meta(number=phone(status="PENDING"), token=READS_ONLY)),
            [],
            id="a token that may not send registers no number",
        ),
        pytest.param(
            observed(secret_version="8", published=Published(), meta=None, status=ACCEPTED),
            [],
            id="another Secret than was accepted: Meta is asked first",
        ),
        pytest.param(observed(holder=OTHER), [act.Withdraw], id="another object holds the number"),
        pytest.param(
            observed(holder=OTHER, published=Published()), [], id="another object holds it, and nothing is published"
        ),
        pytest.param(
            observed(credentials=Unusable(Reason.SECRET_NOT_OPTED_IN, "", is_withdrawn=True)),
            [act.Withdraw],
            id="opted out",
        ),
        pytest.param(
            observed(credentials=Unusable(Reason.SECRET_MISSING, "")), [], id="no Secret: what is published stays"
        ),
        pytest.param(
            observed(meta=at_meta(number=phone(webhook_configuration=WebhookConfiguration(application=OF_APP)))),
            [act.AwaitRoute, act.SetNumberCallback],
            id="the number's callback is gone",
        ),
        pytest.param(observed(meta=at_meta(account=())), [act.SubscribeApp], id="the app is not subscribed"),
        pytest.param(
            observed(meta=at_meta(account=GraphUnreachable("x"), number=phone(webhook_configuration=None))),
            [],
            id="whether the app is subscribed is not known: no override",
        ),
        pytest.param(
            observed(meta=at_meta(app=())), [act.AwaitRoute, act.SetAppCallback], id="the app has no callback"
        ),
        pytest.param(
            observed(meta=at_meta(app=(AppSubscription(OBJECT, "https://crm.example/x", True, ()),))),
            [],
            id="another system's app callback is left alone",
        ),
        pytest.param(
            observed(meta=at_meta(app=(AppSubscription(OBJECT, "https://old.example" + OF_APP[len(PUBLIC) :]),))),
            [act.AwaitRoute, act.SetAppCallback],
            id="Waypost's app callback at a former address",
        ),
        pytest.param(
            observed(meta=at_meta(app=(AppSubscription(OBJECT, OF_APP, True, OURS.fields[:1]),))),
            [act.AwaitRoute, act.SetAppCallback],
            id="fields are missing",
        ),
        pytest.param(observed(meta=at_meta(app=GraphUnreachable("x"))), [], id="the app could not be asked"),
        pytest.param(observed(meta=at_meta(number=phone(status="PENDING"))), [act.Register], id="not connected"),
        pytest.param(observed(meta=at_meta(number=phone(status="BANNED"))), [], id="banned: a person must act"),
        pytest.param(observed(meta=at_meta(number=phone(status=""))), [], id="no state reported: nothing is assumed"),
        pytest.param(
            observed(meta=at_meta(number=phone(status="PENDING", code_verification_status="NOT_VERIFIED"))),
            [],
            id="not verified by code",
        ),
        pytest.param(
            observed(meta=at_meta(number=phone(status="PENDING")), failed={act.Register: GraphRefused(2, 500)}),
            [],
            id="no action is tried twice in one reconcile",
        ),
        pytest.param(
            observed(
                meta=at_meta(number=phone(status="PENDING")),
                status={"registration": {"attempts": [timestamp(NOW - 100)]}},
            ),
            [],
            id="registered a moment ago",
        ),
        pytest.param(
            observed(
                meta=at_meta(number=phone(status="PENDING")),
                status={"registration": {"attempts": [timestamp(NOW - 3600 * each) for each in range(70, 30, -5)]}},
            ),
            [],
            id="eight registrations in 72 hours",
        ),
        pytest.param(
            observed(
                meta=at_meta(number=phone(status="PENDING")),
                status={"registration": {"refusedCode": 133005, "refusedSecretVersion": "7"}},
            ),
            [],
            id="the PIN was refused",
        ),
        pytest.param(
            observed(
                meta=at_meta(number=phone(status="PENDING")),
                status={"registration": {"refusedCode": 133005, "refusedSecretVersion": "6"}},
            ),
            [act.Register],
            id="the PIN was refused, and the Secret is another",
        ),
        pytest.param(
            observed(
                meta=at_meta(number=phone(status="PENDING")),
                may_retry_refused=True,
                status={"registration": {"refusedCode": 133005, "refusedSecretVersion": "7"}},
            ),
            [act.Register],
            id="the PIN was refused, and a person asks again",
        ),
        pytest.param(
            observed(meta=NOWHERE, failed={act.AwaitRoute: GraphUnreachable("x")}),
            [act.SubscribeApp],
            id="the webhook does not serve the route: no callback is set",
        ),
        pytest.param(observed(meta=at_meta(token=EXPIRING)), [act.RefreshToken], id="the token expires soon"),
        pytest.param(observed(meta=at_meta(token=EXPIRING), may_refresh=False), [], id="refreshing failed a while ago"),
        pytest.param(
            observed(refreshed=REFRESHED, old_token_in_use=False), [act.RevokeToken], id="the old token is used nowhere"
        ),
        pytest.param(observed(refreshed=REFRESHED, old_token_in_use=True), [], id="the old token is still published"),
        pytest.param(
            observed(refreshed=dataclasses.replace(REFRESHED, retire_at=NOW + 60), old_token_in_use=False),
            [],
            id="the old token may still be mounted",
        ),
        pytest.param(
            observed(refreshed=dataclasses.replace(REFRESHED, source=digest("other"))),
            [act.DeleteRefreshedToken],
            id="the Secret has another token than was refreshed",
        ),
    ],
)
def test_the_plan_follows_what_was_found(found: Observed, actions: list[type[Action]]) -> None:
    """The plan has the expected actions for each observed state. Each row is a state and its actions."""
    assert planned(found) == actions


@pytest.mark.parametrize(
    ("scope", "callbacks", "override", "actions"),
    [
        ("App", WebhookConfiguration(application=OF_APP), None, []),
        (
            "App",
            WebhookConfiguration(phone_number=OWN, application=OF_APP),
            None,
            [act.AwaitRoute, act.SetNumberCallback],
        ),
        ("App", WebhookConfiguration(application=OF_APP), "https://x.example/y", [act.SubscribeApp]),
        ("App", WebhookConfiguration(application=OF_APP), OF_APP, []),
        ("Account", WebhookConfiguration(whatsapp_business_account=OF_APP), OF_APP, []),
        ("Account", WebhookConfiguration(application=OF_APP), None, [act.AwaitRoute, act.SetAccountCallback]),
        ("Number", WebhookConfiguration(phone_number=OWN), OF_APP, []),
    ],
)
def test_the_callback_is_planned_for_its_scope(
    scope: str, callbacks: WebhookConfiguration, override: str | None, actions: list[type[Action]]
) -> None:
    """The plan registers the callback at the scope of the spec.

    A narrower callback takes precedence at Meta, so the plan removes it. Waypost's own callback at the account does
    no harm.
    """
    meta = at_meta(
        number=phone(webhook_configuration=callbacks), account=(SubscribedApp(APP, override_callback_uri=override),)
    )
    assert planned(observed(meta=meta), desired(webhook={"scope": scope})) == actions


def test_a_replaced_app_secret_is_kept_for_an_hour() -> None:
    """A replaced app secret is accepted for another hour, because deliveries signed with it may still arrive."""
    found = observed()
    new = CREDENTIALS.model_copy(update={"app_secret": "new"})
    secrets = secrets_of(found, new, NOW)
    assert (secrets.previous_app_secret, secrets.previous_app_secret_until) == ("secret", NOW + APP_SECRET_OVERLAP_S)
    assert route_of(desired(), new, secrets).app_secrets == ("new", "secret")


NEW_SECRET = CREDENTIALS.model_copy(update={"app_secret": "new"})
BOTH_SECRETS = CREDENTIALS.model_copy(update={"app_secret": "new", "previous_app_secret": "secret"})


@pytest.mark.parametrize(
    ("found", "credentials", "token", "secret"),
    [
        pytest.param(observed(), CREDENTIALS, "token", "secret", id="the token in the Secret"),
        pytest.param(observed(refreshed=REFRESHED), CREDENTIALS, "fresh", "secret", id="the refreshed token"),
        pytest.param(observed(), NEW_SECRET, "token", "new", id="a new app secret"),
        pytest.param(
            observed(), BOTH_SECRETS, "token", "new", id="a new app secret while the old one is still accepted"
        ),
    ],
)
def test_workers_get_a_token_with_its_proof_and_no_app_secret(
    found: Observed, credentials: Credentials, token: str, secret: str
) -> None:
    """Workers get a token and its proof, but no app secret. The proof is made with the current app secret."""
    made = number_of(desired(), found, credentials)
    assert (made.access_token, made.app_secret_proof) == (token, appsecret_proof(token, secret))
    assert msgspec.json.encode(made).find(f'"{secret}"'.encode()) == -1


@pytest.mark.parametrize(
    "proof",
    [pytest.param(None, id="published by an operator that made no proofs"), pytest.param("0" * 64, id="another proof")],
)
def test_a_missing_or_wrong_proof_is_replaced(proof: str | None) -> None:
    """An entry with a missing or wrong proof is published again, although nothing else has changed."""
    found = observed()
    assert found.published.number is not None
    number = type(found.published.number)(**_fields(found.published.number, app_secret_proof=proof))
    assert planned(observed(published=Published(found.published.route, number, 0))) == [act.Publish]


@pytest.mark.parametrize(
    ("meta", "actions"),
    [
        pytest.param(at_meta(), [act.SaveSecrets, act.Publish], id="Meta accepted it"),
        pytest.param(at_meta(token=GraphRefused(190, 401)), [], id="a typing error, or not yet changed at Meta"),
        pytest.param(at_meta(number=GraphRefused(100, 400, proof_refused=True)), [], id="its proof is refused"),
        pytest.param(at_meta(token=GraphUnreachable("x")), [], id="Meta does not answer"),
    ],
)
def test_a_proof_with_a_new_app_secret_is_published_only_when_meta_accepted_it(
    meta: MetaState, actions: list[type[Action]]
) -> None:
    """A proof with a new app secret is published only after Meta has accepted that secret.

    Until then the old proof stays in use.
    """
    found = observed(credentials=NEW_SECRET, secret_version="8", status=ACCEPTED, meta=meta)
    assert planned(found) == actions


def test_a_lost_verify_token_is_restored_from_the_registry() -> None:
    """A lost verify token is restored from the registry, because a new one would cost calls to Meta."""
    assert (
        secrets_of(dataclasses.replace(observed(), secrets=None), CREDENTIALS, NOW).verify_token == SECRETS.verify_token
    )


def test_an_unreadable_script_leaves_the_published_one() -> None:
    """If a script cannot be read, the published script is kept, so contacts still get answers."""
    found = observed(script=Script(problem=(Reason.SCRIPT_INVALID, "line 3")))
    before = Published(found.published.route, None)
    assert found.published.number is not None
    with_bot = dataclasses.replace(
        before, number=type(found.published.number)(**_fields(found.published.number, bot_digest="b"))
    )
    assert number_of(desired(), dataclasses.replace(found, published=with_bot), CREDENTIALS).bot_digest == "b"


ALLOWED = AllowedPlugins.read("shop.bot:turn")
ALLOWED_PLUGIN, REFUSED_PLUGIN = {"plugin": "shop.bot:turn"}, {"plugin": "os:_exit"}
SCRIPT_BOT = {"configMapRef": {"name": "bot"}}
MISSING_SCRIPT = Script(problem=(Reason.CONFIG_MAP_MISSING, "x"))


@pytest.mark.parametrize(
    ("bot", "script", "before", "is_published"),
    [
        pytest.param(ALLOWED_PLUGIN, Script(), (None, None), (None, "shop.bot:turn"), id="allowed"),
        pytest.param(ALLOWED_PLUGIN, Script(), ("b", None), (None, "shop.bot:turn"), id="allowed, instead of a script"),
        pytest.param(REFUSED_PLUGIN, Script(), ("b", None), ("b", None), id="the script stays"),
        pytest.param(
            REFUSED_PLUGIN, Script(), (None, "shop.bot:turn"), (None, "shop.bot:turn"), id="the allowed plugin stays"
        ),
        pytest.param(
            REFUSED_PLUGIN, Script(), None, (None, "os:_exit"), id="nothing before: workers keep its messages"
        ),
        pytest.param(
            REFUSED_PLUGIN, Script(), (None, None), (None, "os:_exit"), id="no bot before: workers keep its messages"
        ),
        pytest.param(
            REFUSED_PLUGIN,
            Script(),
            (None, "sys:exit"),
            (None, "os:_exit"),
            id="a plugin that is not allowed does not stay",
        ),
        pytest.param(
            REFUSED_PLUGIN, Script(), (None, "os:_exit"), (None, "os:_exit"), id="no longer allowed: unchanged"
        ),
        pytest.param(
            SCRIPT_BOT, MISSING_SCRIPT, (None, "shop.bot:turn"), (None, "shop.bot:turn"), id="a script that is lost"
        ),
        pytest.param(None, Script(), (None, "shop.bot:turn"), (None, None), id="no bot is desired any more"),
    ],
)
def test_the_bot_that_is_published_is_one_that_can_answer(
    bot: dict[str, Any] | None,
    script: Script,
    before: tuple[str | None, str | None] | None,
    is_published: tuple[str | None, str | None],
) -> None:
    """If a desired bot cannot be used, the last usable bot stays published.

    Without any bot, messages would count as done, although the desired bot should answer them after its repair.
    """
    found = observed(script=script)
    assert found.published.number is not None
    last = before and type(found.published.number)(
        **_fields(found.published.number, bot_digest=before[0], bot_plugin=before[1])
    )
    found = dataclasses.replace(found, published=Published(found.published.route, last, 0))
    wanted = dataclasses.replace(desired(**{"bot": bot} if bot else {}), plugins=ALLOWED)
    made = number_of(wanted, found, CREDENTIALS)
    assert (made.bot_digest, made.bot_plugin) == is_published


FULL = NoRoom(Reason.REGISTRY_FULL, "All Secrets are full.")
OVER = NoRoom(Reason.QUOTA_EXCEEDED, "The quota is used up.")


@pytest.mark.parametrize("refusal", [FULL, OVER], ids=["the registry is full", "the quota is used up"])
def test_a_script_without_room_leaves_the_published_one(refusal: NoRoom) -> None:
    """If the registry has no room for a larger script, the published bot stays.

    A new token is still published, together with the bot that the registry has.
    """
    before = observed()
    assert before.published.number is not None
    with_bot = type(before.published.number)(**_fields(before.published.number, bot_digest="b"))
    found = observed(
        script=Script("a larger script"), no_room=refusal, published=Published(before.published.route, with_bot, 3)
    )
    assert planned(found, desired(**{"bot": SCRIPT_BOT})) == []
    (publish,) = plan(desired(**{"bot": SCRIPT_BOT}), dataclasses.replace(found, refreshed=REFRESHED), NOW).actions[:1]
    assert isinstance(publish, act.Publish)
    assert (publish.number.bot_digest, publish.script) == ("b", None)
    assert publish.number.access_token == "fresh"


def test_a_script_without_room_is_a_condition() -> None:
    """If there is no room for a script, the condition `BotLoaded` is false and says that a person must act.

    The condition `QuotaExceeded` is set only if the quota is the reason.
    """
    wanted = desired(**{"bot": SCRIPT_BOT})
    for refusal, has_quota in ((FULL, False), (OVER, True)):
        found = observed(script=Script("a larger script"), no_room=refusal)
        conditions = {each.condition.type: each for each in judgement.judge(wanted, found, NOW)}
        loaded = conditions[ConditionType.BOT_LOADED]
        assert (loaded.condition.status, loaded.condition.reason, loaded.needs_person) == (FALSE, refusal.reason, True)
        assert (ConditionType.QUOTA_EXCEEDED in conditions) is has_quota


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        pytest.param({"quota": Use(50, 100)}, FALSE, Reason.WITHIN_QUOTA, id="within it"),
        pytest.param({"failed": {act.Publish: OVER}}, TRUE, Reason.REGISTRY_BYTES, id="a new number is too much"),
        pytest.param({"no_room": OVER}, TRUE, Reason.REGISTRY_BYTES, id="a new script is too much"),
    ],
)
def test_a_quota_is_a_condition(changes: dict[str, Any], status: str, reason: Reason) -> None:
    """The condition `QuotaExceeded` is true if the quota prevents a number or a script from being published."""
    (found,) = [
        each.condition
        for each in judgement.judge(desired(), observed(**changes), NOW)
        if each.condition.type == ConditionType.QUOTA_EXCEEDED
    ]
    assert (found.status, found.reason) == (status, reason)


def test_a_namespace_without_a_quota_has_no_condition_about_it() -> None:
    """A number in a namespace without a quota has no condition `QuotaExceeded`.

    Quotas are off unless the platform sets them.
    """
    assert ConditionType.QUOTA_EXCEEDED not in {
        each.condition.type for each in judgement.judge(desired(), observed(), NOW)
    }


def test_a_new_number_without_room_needs_a_person() -> None:
    """If the quota has no room for a new number, `Ready` is false and gives the quota as the reason.

    The outcome is `STALLED`, so the number is not tried again at short intervals.
    """
    found = observed(**NEW, failed={act.Publish: OVER})
    made = summary.summarise(judgement.judge(desired(), found, NOW), found)
    assert made.outcome is Outcome.STALLED
    (ready,) = [each for each in made.conditions if each.type == ConditionType.READY]
    assert (ready.status, ready.reason) == (FALSE, Reason.QUOTA_EXCEEDED)


@pytest.mark.parametrize(
    ("changes", "actions"),
    [
        pytest.param({"shard": None}, [act.Publish], id="the layout of the previous version has it"),
        pytest.param({"is_bot_stored": False}, [act.Publish], id="its bot is lost"),
        pytest.param({}, [], id="nothing is missing"),
    ],
)
def test_what_the_registry_lacks_is_published(changes: dict[str, Any], actions: list[type[Action]]) -> None:
    """Entries of the previous version move to the new layout, and a bot whose Secret was deleted is written again."""
    wanted = desired(**{"bot": SCRIPT_BOT})
    found = observed(script=Script("a script"))
    number = number_of(wanted, found, CREDENTIALS)
    whole = Published(found.published.route, number, 0)
    assert planned(dataclasses.replace(found, published=dataclasses.replace(whole, **changes)), wanted) == actions


def test_a_lost_bot_of_a_broken_script_is_not_published_again_and_again() -> None:
    """If a stored bot is lost and its script cannot be read, nothing is published.

    There is no text to publish, and workers keep the bot that they have.
    """
    found = observed(script=MISSING_SCRIPT)
    assert found.published.number is not None
    number = type(found.published.number)(**_fields(found.published.number, bot_digest="b"))
    lost = Published(found.published.route, number, 0, is_bot_stored=False)
    assert planned(dataclasses.replace(found, published=lost), desired(**{"bot": SCRIPT_BOT})) == []


def test_the_condition_of_a_refused_plugin_says_who_can_allow_it() -> None:
    """The condition of a refused plugin says who can allow it.

    The owner of the number cannot allow it, because this needs a value of the chart.
    """
    wanted = desired(bot=REFUSED_PLUGIN)
    found = summary.summarise(judgement.judge(wanted, observed(), NOW), observed())
    by_type = {each.type: each for each in found.conditions}
    assert (by_type[ConditionType.BOT_LOADED].status, by_type[ConditionType.BOT_LOADED].reason) == (
        FALSE,
        Reason.PLUGIN_NOT_ALLOWED,
    )
    assert (by_type[ConditionType.READY].reason, by_type[ConditionType.STALLED].status) == (
        Reason.PLUGIN_NOT_ALLOWED,
        TRUE,
    )
    for word in ("os:_exit", "people who installed Waypost", "bot.plugins", "WAYPOST_BOT_PLUGINS"):
        assert word in by_type[ConditionType.READY].message


def test_an_allowed_plugin_has_no_condition() -> None:
    """An allowed plugin has no condition `BotLoaded`, because only a worker finds out whether it can be imported."""
    wanted = dataclasses.replace(desired(bot=ALLOWED_PLUGIN), plugins=ALLOWED)
    found = summary.summarise(judgement.judge(wanted, observed(), NOW), observed())
    assert found.outcome == Outcome.READY
    assert [each for each in found.conditions if each.type == ConditionType.BOT_LOADED] == []


def _fields(struct: Any, **changes: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__} | changes


def test_an_executed_part_of_a_plan_is_not_planned_again() -> None:
    """Actions that were executed are not planned again.

    After a new number was saved and published, only the actions at Meta remain in the plan.
    """
    assert planned(observed(meta=NOWHERE)) == [
        act.AwaitRoute,
        act.SetAppCallback,
        act.SubscribeApp,
        act.SetNumberCallback,
    ]


@pytest.mark.parametrize(
    ("found", "ready", "outcome"),
    [
        pytest.param(observed(), (TRUE, Reason.AS_DESIRED), Outcome.READY, id="as desired"),
        pytest.param(
            observed(credentials=Unusable(Reason.SECRET_MISSING, "")),
            (FALSE, Reason.SECRET_MISSING),
            Outcome.STALLED,
            id="no Secret",
        ),
        pytest.param(
            observed(meta=at_meta(token=GraphRefused(190, 401))),
            (FALSE, Reason.APP_SECRET_REFUSED),
            Outcome.STALLED,
            id="a wrong app secret",
        ),
        pytest.param(
            observed(meta=at_meta(token=GraphUnreachable("x"))),
            (UNKNOWN, Reason.META_UNAVAILABLE),
            Outcome.FAILED,
            id="Meta does not answer at the first reconcile",
        ),
        pytest.param(
            observed(meta=at_meta(number=phone(status="PENDING")), failed={act.Register: GraphRefused(2, 500)}),
            (FALSE, Reason.REGISTERING),
            Outcome.FAILED,
            id="registering failed",
        ),
        pytest.param(
            observed(script=Script(problem=(Reason.SCRIPT_INVALID, "x"))),
            (TRUE, Reason.AS_DESIRED),
            Outcome.READY,
            id="no bot is desired",
        ),
        pytest.param(
            observed(failed={act.Publish: GraphUnreachable("x")}),
            (FALSE, Reason.PUBLISH_FAILED),
            Outcome.FAILED,
            id="not published",
        ),
    ],
)
def test_the_summary_follows_what_was_found(found: Observed, ready: tuple[str, str], outcome: Outcome) -> None:
    """The status and reason of `Ready` and the outcome of the reconcile follow from what was observed."""
    shown = summary.summarise(judgement.judge(desired(), found, NOW), found)
    first = shown.conditions[0]
    assert ((first.status, first.reason), shown.outcome) == (ready, outcome)
    stalled = next(each for each in shown.conditions if each.type == ConditionType.STALLED)
    assert (stalled.status == TRUE) == (outcome == Outcome.STALLED)


def test_an_object_whose_number_another_object_holds_says_nothing_about_it() -> None:
    """If another object holds the number, this object's conditions about the number are unknown.

    Nothing may rely on these conditions.
    """
    shown = {each.condition.type: each.condition for each in judgement.judge(desired(), observed(holder=OTHER), NOW)}
    statuses = {type_: condition.status for type_, condition in shown.items()}
    assert statuses == {
        ConditionType.CREDENTIALS_VALID: TRUE,
        ConditionType.TOKEN_VALID: TRUE,
        ConditionType.REGISTERED: UNKNOWN,
        ConditionType.SUBSCRIBED: UNKNOWN,
        ConditionType.WEBHOOK_VERIFIED: UNKNOWN,
    }


LAST = NOW - 3600.0


@pytest.mark.parametrize(
    ("status", "stale", "shown"),
    [
        pytest.param(TRUE, {}, (TRUE, Reason.CONNECTED), id="asked not long ago: the last known condition"),
        pytest.param(TRUE, {Question.ACCOUNT: LAST}, (TRUE, Reason.CONNECTED), id="something else is stale"),
        pytest.param(TRUE, {Question.NUMBER: LAST}, (UNKNOWN, Reason.NOT_LOOKED_AT), id="stale and true"),
        pytest.param(FALSE, {Question.NUMBER: LAST}, (UNKNOWN, Reason.NOT_LOOKED_AT), id="stale and false"),
        pytest.param(UNKNOWN, {Question.NUMBER: LAST}, (UNKNOWN, Reason.CONNECTED), id="unknown before"),
    ],
)
def test_a_condition_that_meta_has_not_confirmed_for_long_is_unknown(
    status: ConditionStatus, stale: dict[Question, float], shown: tuple[str, str]
) -> None:
    """A condition that Meta has not confirmed for a long time is unknown.

    Its message says since when, why, and what the condition was before.
    """
    found = observed(
        meta=at_meta(number=GraphUnreachable("no answer")),
        status=accepted(ConditionType.REGISTERED, status, Reason.CONNECTED),
        stale=stale,
    )
    judged = {each.condition.type: each.condition for each in judgement.judge(desired(), found, NOW)}
    registered = judged[ConditionType.REGISTERED]
    assert (registered.status, registered.reason) == shown
    if registered.reason == Reason.NOT_LOOKED_AT:
        for part in (timestamp(LAST), "no answer", f"{status} ({Reason.CONNECTED})"):
            assert part in registered.message


@pytest.mark.parametrize(
    ("credentials", "actions"),
    [
        pytest.param(CREDENTIALS, [act.Publish], id="the published ones"),
        pytest.param(NEW_SECRET, [], id="others"),
    ],
)
def test_a_number_is_still_published_with_a_new_bot_while_meta_is_away_for_long(
    credentials: Credentials, actions: list[type[Action]]
) -> None:
    """While Meta is away for a long time, a new bot is published if the credentials have not changed.

    If the credentials differ from the published ones, nothing is published.
    """
    status = {
        "token": {"secretResourceVersion": "7"},
        "conditions": [each | {"status": UNKNOWN, "reason": Reason.NOT_LOOKED_AT} for each in ACCEPTED_CONDITIONS],
    }
    found = observed(
        credentials=credentials, meta=at_meta(token=GraphUnreachable("x")), status=status, script=Script(text=BOT)
    )
    wanted = desired(bot={"configMapRef": {"name": "support-bot"}})
    assert planned(found, wanted) == actions
