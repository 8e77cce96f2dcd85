"""What is planned is a function of what is wanted and what was found: tables of both."""

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
from waypost.operator.api.condition_types import ConditionType, Reason
from waypost.operator.api.conditions import timestamp
from waypost.operator.api.number_models import NumberSpec
from waypost.operator.cluster.registry_secrets import Published
from waypost.operator.engine.outcome import Outcome
from waypost.operator.number.credentials import Credentials, Unusable
from waypost.operator.number.operator_secrets import Access, Kept, digest
from waypost.operator.number.plan import APP_SECRET_OVERLAP_S, DAY_S, plan
from waypost.operator.number.plan import kept as kept_of
from waypost.operator.number.plan import number as number_of
from waypost.operator.number.plan import route as route_of
from waypost.operator.number.state import FIELDS, NEEDED_SCOPES, AtMeta, Desired, Observed, Script
from waypost.operator.number.status import judgement, summary

from .installation import FALSE, TRUE, UNKNOWN

NOW = 1_800_000_000.0
APP, NUMBER, WABA = "100000000000001", "106540352242922", "102290129340398"
PUBLIC = "https://wa.example.org"
OWN, OF_APP = f"{PUBLIC}/webhooks/team-a/support", f"{PUBLIC}/webhooks/apps/{APP}"
CREDENTIALS = Credentials(appId=APP, appSecret="secret", accessToken="token", pin="123456")  # type: ignore[call-arg]
KEPT = Kept("v" * 40)
TOKEN = TokenDetails(is_valid=True, app_id=APP, type="SYSTEM_USER", scopes=list(NEEDED_SCOPES))
OURS = AppSubscription(OBJECT, OF_APP, True, tuple(SubscribedField(name) for name in FIELDS))


def desired(**spec: Any) -> Desired:
    """A number as declared."""
    least = {"phoneNumberId": NUMBER, "wabaId": WABA, "credentialsRef": {"name": "meta"}}
    return Desired("team-a", "support", 1, NumberSpec.model_validate(least | spec), PUBLIC)


def phone(**fields: Any) -> PhoneNumber:
    """A number at Meta whose callback is ours."""
    callbacks = WebhookConfiguration(phone_number=OWN, application=OF_APP)
    return PhoneNumber(**{"id": NUMBER, "status": "CONNECTED", "webhook_configuration": callbacks} | fields)


def at_meta(**changes: Any) -> AtMeta:
    """Everything at Meta as desired."""
    facts = {"token": TOKEN, "number": phone(), "account": (SubscribedApp(APP),), "app": (OURS,)}
    return AtMeta(**facts | changes)


def observed(**changes: Any) -> Observed:
    """Everything as desired, unless changed; what is published fits to what is kept."""
    found = Observed(
        credentials=CREDENTIALS,
        secret_version="7",
        kept=KEPT,
        meta=at_meta(),
        access=changes.get("access"),
        candidate_verify_token="c" * 40,
    )
    return dataclasses.replace(found, **{"published": published(found)} | changes)


def published(found: Observed) -> Published:
    """What the data plane knows."""
    return Published(route_of(desired(), CREDENTIALS, KEPT), number_of(desired(), found, CREDENTIALS))


def names(found: Observed, wanted: Desired | None = None) -> list[str]:
    """The plan, by name."""
    return [each.name for each in plan(wanted or desired(), found, NOW).actions]


def test_what_is_as_desired_needs_nothing() -> None:
    """The plan of a healthy number is empty."""
    assert names(observed()) == []


NEW: dict[str, Any] = {"kept": None, "published": Published()}
NOWHERE = at_meta(number=phone(webhook_configuration=None), account=(), app=())
EXPIRING = TokenDetails(
    is_valid=True, app_id=APP, type="SYSTEM_USER", scopes=list(NEEDED_SCOPES), expires_at=int(NOW + 10 * DAY_S)
)
ACCEPTED = {
    "token": {"secretResourceVersion": "7"},
    "conditions": [
        {"type": ConditionType.CREDENTIALS_VALID, "status": TRUE, "reason": Reason.ACCEPTED},
        {"type": ConditionType.TOKEN_VALID, "status": TRUE, "reason": Reason.NEVER_EXPIRES},
    ],
}
ACCESS = Access("fresh", digest("token"), "token", NOW - 1)


@pytest.mark.parametrize(
    ("found", "actions"),
    [
        pytest.param(
            observed(**NEW, meta=NOWHERE),
            ["Keep", "Publish", "AwaitRoute", "SetAppCallback", "SubscribeApp", "SetNumberCallback"],
            id="a new number: publish, wait for the webhook, then register",
        ),
        pytest.param(observed(**NEW, meta=None), [], id="not looked at Meta yet: nothing is published"),
        pytest.param(
            observed(**NEW, meta=at_meta(number=GraphRefused(100, 400))), [], id="not our number: nothing is published"
        ),
        pytest.param(
            observed(**NEW, meta=at_meta(token=TokenDetails(is_valid=False))),
            [],
            id="a bad token: nothing is published",
        ),
        pytest.param(
            observed(**NEW, meta=None, status=ACCEPTED),
            ["Keep", "Publish"],
            id="children lost, credentials as accepted: published without asking Meta",
        ),
        pytest.param(
            observed(**NEW, meta=at_meta(token=GraphUnreachable("x")), status=ACCEPTED),
            ["Keep", "Publish"],
            id="children lost while Meta is away",
        ),
        pytest.param(
            observed(secret_version="8", published=Published(), meta=None, status=ACCEPTED),
            [],
            id="another Secret than was accepted: Meta first",
        ),
        pytest.param(observed(rival="x"), ["Withdraw"], id="a rival that is older"),
        pytest.param(observed(rival="x", published=Published()), [], id="a rival, and nothing is published"),
        pytest.param(
            observed(credentials=Unusable(Reason.SECRET_NOT_OPTED_IN, "", is_withdrawn=True)),
            ["Withdraw"],
            id="opted out",
        ),
        pytest.param(
            observed(credentials=Unusable(Reason.SECRET_MISSING, "")), [], id="no Secret: what is published stays"
        ),
        pytest.param(
            observed(meta=at_meta(number=phone(webhook_configuration=WebhookConfiguration(application=OF_APP)))),
            ["AwaitRoute", "SetNumberCallback"],
            id="the number's callback is gone",
        ),
        pytest.param(observed(meta=at_meta(account=())), ["SubscribeApp"], id="the app is not subscribed"),
        pytest.param(
            observed(meta=at_meta(account=GraphUnreachable("x"), number=phone(webhook_configuration=None))),
            [],
            id="whether the app is subscribed is not known: no override",
        ),
        pytest.param(observed(meta=at_meta(app=())), ["AwaitRoute", "SetAppCallback"], id="the app has no callback"),
        pytest.param(
            observed(meta=at_meta(app=(AppSubscription(OBJECT, "https://crm.example/x", True, ()),))),
            [],
            id="another system's app callback is left alone",
        ),
        pytest.param(
            observed(meta=at_meta(app=(AppSubscription(OBJECT, "https://old.example" + OF_APP[len(PUBLIC) :]),))),
            ["AwaitRoute", "SetAppCallback"],
            id="our app callback at an address we had before",
        ),
        pytest.param(
            observed(meta=at_meta(app=(AppSubscription(OBJECT, OF_APP, True, OURS.fields[:1]),))),
            ["AwaitRoute", "SetAppCallback"],
            id="fields are missing",
        ),
        pytest.param(observed(meta=at_meta(app=GraphUnreachable("x"))), [], id="the app could not be asked"),
        pytest.param(observed(meta=at_meta(number=phone(status="PENDING"))), ["Register"], id="not connected"),
        pytest.param(observed(meta=at_meta(number=phone(status="BANNED"))), [], id="banned is a person's matter"),
        pytest.param(observed(meta=at_meta(number=phone(status=""))), [], id="no state told: nothing is assumed"),
        pytest.param(
            observed(meta=at_meta(number=phone(status="PENDING", code_verification_status="NOT_VERIFIED"))),
            [],
            id="not verified by code",
        ),
        pytest.param(
            observed(meta=at_meta(number=phone(status="PENDING")), failed={"Register": GraphRefused(2, 500)}),
            [],
            id="nothing is tried twice in one reconcile",
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
            ["Register"],
            id="the PIN was refused, and the Secret is another",
        ),
        pytest.param(
            observed(
                meta=at_meta(number=phone(status="PENDING")),
                may_retry_refused=True,
                status={"registration": {"refusedCode": 133005, "refusedSecretVersion": "7"}},
            ),
            ["Register"],
            id="the PIN was refused, and a person asks again",
        ),
        pytest.param(
            observed(meta=NOWHERE, failed={"AwaitRoute": GraphUnreachable("x")}),
            ["SubscribeApp"],
            id="the webhook does not serve the route: no callback is set",
        ),
        pytest.param(observed(meta=at_meta(token=EXPIRING)), ["RefreshToken"], id="the token lapses soon"),
        pytest.param(observed(meta=at_meta(token=EXPIRING), may_refresh=False), [], id="refreshing failed a while ago"),
        pytest.param(
            observed(access=ACCESS, old_token_in_use=False), ["RevokeToken"], id="the old token is used nowhere"
        ),
        pytest.param(observed(access=ACCESS, old_token_in_use=True), [], id="the old token is still published"),
        pytest.param(
            observed(access=dataclasses.replace(ACCESS, retire_at=NOW + 60), old_token_in_use=False),
            [],
            id="the old token may still be mounted",
        ),
        pytest.param(
            observed(access=dataclasses.replace(ACCESS, source=digest("other"))),
            ["ForgetAccess"],
            id="the Secret has another token than was refreshed",
        ),
    ],
)
def test_the_plan_follows_what_was_found(found: Observed, actions: list[str]) -> None:
    """Each row: what was found, and what is to be done."""
    assert names(found) == actions


@pytest.mark.parametrize(
    ("scope", "callbacks", "override", "actions"),
    [
        ("App", WebhookConfiguration(application=OF_APP), None, []),
        ("App", WebhookConfiguration(phone_number=OWN, application=OF_APP), None, ["AwaitRoute", "SetNumberCallback"]),
        ("App", WebhookConfiguration(application=OF_APP), "https://x.example/y", ["SubscribeApp"]),
        ("App", WebhookConfiguration(application=OF_APP), OF_APP, []),
        ("Account", WebhookConfiguration(whatsapp_business_account=OF_APP), OF_APP, []),
        ("Account", WebhookConfiguration(application=OF_APP), None, ["AwaitRoute", "SetAccountCallback"]),
        ("Number", WebhookConfiguration(phone_number=OWN), OF_APP, []),
    ],
)
def test_the_callback_is_planned_for_its_scope(
    scope: str, callbacks: WebhookConfiguration, override: str | None, actions: list[str]
) -> None:
    """A narrower callback takes precedence at Meta, so it must go; one of ours at the account harms nobody."""
    meta = at_meta(
        number=phone(webhook_configuration=callbacks), account=(SubscribedApp(APP, override_callback_uri=override),)
    )
    assert names(observed(meta=meta), desired(webhook={"scope": scope})) == actions


def test_a_replaced_app_secret_is_kept_for_an_hour() -> None:
    """Deliveries that it signed are on their way."""
    found = observed()
    new = CREDENTIALS.model_copy(update={"app_secret": "new"})
    keeping = kept_of(found, new, NOW)
    assert (keeping.previous_app_secret, keeping.previous_app_secret_until) == ("secret", NOW + APP_SECRET_OVERLAP_S)
    assert route_of(desired(), new, keeping).app_secrets == ("new", "secret")


NEW_SECRET = CREDENTIALS.model_copy(update={"app_secret": "new"})
BOTH_SECRETS = CREDENTIALS.model_copy(update={"app_secret": "new", "previous_app_secret": "secret"})


@pytest.mark.parametrize(
    ("found", "credentials", "token", "secret"),
    [
        pytest.param(observed(), CREDENTIALS, "token", "secret", id="of the token in the Secret"),
        pytest.param(observed(access=ACCESS), CREDENTIALS, "fresh", "secret", id="of what it was refreshed to"),
        pytest.param(observed(), NEW_SECRET, "token", "new", id="by a new app secret"),
        pytest.param(observed(), BOTH_SECRETS, "token", "new", id="by the new one while the old is still accepted"),
    ],
)
def test_workers_get_the_proof_of_the_very_token_that_they_get(
    found: Observed, credentials: Credentials, token: str, secret: str
) -> None:
    """And no app secret."""
    made = number_of(desired(), found, credentials)
    assert (made.access_token, made.app_secret_proof) == (token, appsecret_proof(token, secret))
    assert msgspec.json.encode(made).find(f'"{secret}"'.encode()) == -1


@pytest.mark.parametrize(
    "proof", [pytest.param(None, id="published by an operator that made none"), pytest.param("0" * 64, id="another")]
)
def test_a_proof_that_is_not_as_wanted_is_published(proof: str | None) -> None:
    """Nothing else has changed."""
    found = observed()
    assert found.published.number is not None
    number = type(found.published.number)(**_fields(found.published.number, app_secret_proof=proof))
    assert names(observed(published=Published(found.published.route, number))) == ["Publish"]


@pytest.mark.parametrize(
    ("meta", "actions"),
    [
        pytest.param(at_meta(), ["Keep", "Publish"], id="Meta took it"),
        pytest.param(at_meta(token=GraphRefused(190, 401)), [], id="a typing error, or not yet changed at Meta"),
        pytest.param(at_meta(number=GraphRefused(100, 400, proof_refused=True)), [], id="its proof is refused"),
        pytest.param(at_meta(token=GraphUnreachable("x")), [], id="Meta is away"),
    ],
)
def test_a_proof_by_a_new_app_secret_is_published_only_when_meta_took_it(meta: AtMeta, actions: list[str]) -> None:
    """Until then the old one goes on."""
    found = observed(credentials=NEW_SECRET, secret_version="8", status=ACCEPTED, meta=meta)
    assert names(found) == actions


def test_a_lost_verify_token_is_found_where_it_was_published() -> None:
    """A new one would need a round to Meta."""
    assert kept_of(dataclasses.replace(observed(), kept=None), CREDENTIALS, NOW).verify_token == KEPT.verify_token


def test_a_bot_that_cannot_be_read_stays_as_it_was_published() -> None:
    """People still get answers."""
    found = observed(script=Script(problem=(Reason.SCRIPT_INVALID, "line 3")))
    before = Published(found.published.route, None)
    assert found.published.number is not None
    with_bot = dataclasses.replace(
        before, number=type(found.published.number)(**_fields(found.published.number, bot="b"))
    )
    assert number_of(desired(), dataclasses.replace(found, published=with_bot), CREDENTIALS).bot == "b"


LIST = AllowedPlugins.read("shop.bot:turn")
OURS_PLUGIN, THEIRS_PLUGIN = {"plugin": "shop.bot:turn"}, {"plugin": "os:_exit"}
A_SCRIPT = {"configMapRef": {"name": "bot"}}
LOST = Script(problem=(Reason.CONFIG_MAP_MISSING, "x"))


@pytest.mark.parametrize(
    ("bot", "script", "before", "is_published"),
    [
        pytest.param(OURS_PLUGIN, Script(), (None, None), (None, "shop.bot:turn"), id="allowed"),
        pytest.param(OURS_PLUGIN, Script(), ("b", None), (None, "shop.bot:turn"), id="allowed, in place of a script"),
        pytest.param(THEIRS_PLUGIN, Script(), ("b", None), ("b", None), id="the script goes on"),
        pytest.param(
            THEIRS_PLUGIN, Script(), (None, "shop.bot:turn"), (None, "shop.bot:turn"), id="the allowed plugin goes on"
        ),
        pytest.param(
            THEIRS_PLUGIN, Script(), None, (None, "os:_exit"), id="nothing before: workers keep what is for it"
        ),
        pytest.param(
            THEIRS_PLUGIN, Script(), (None, None), (None, "os:_exit"), id="no bot before: workers keep what is for it"
        ),
        pytest.param(
            THEIRS_PLUGIN, Script(), (None, "sys:exit"), (None, "os:_exit"), id="one that may not run does not go on"
        ),
        pytest.param(
            THEIRS_PLUGIN, Script(), (None, "os:_exit"), (None, "os:_exit"), id="no longer allowed: as it was"
        ),
        pytest.param(A_SCRIPT, LOST, (None, "shop.bot:turn"), (None, "shop.bot:turn"), id="a script that is lost"),
        pytest.param(None, Script(), (None, "shop.bot:turn"), (None, None), id="no bot is wanted any more"),
    ],
)
def test_the_bot_that_is_published_is_one_that_can_answer(
    bot: dict[str, Any] | None,
    script: Script,
    before: tuple[str | None, str | None] | None,
    is_published: tuple[str | None, str | None],
) -> None:
    """Without any, a worker would be done with messages that somebody is to answer once the bot is in order."""
    found = observed(script=script)
    assert found.published.number is not None
    last = before and type(found.published.number)(
        **_fields(found.published.number, bot=before[0], bot_plugin=before[1])
    )
    found = dataclasses.replace(found, published=Published(found.published.route, last))
    wanted = dataclasses.replace(desired(**{"bot": bot} if bot else {}), plugins=LIST)
    made = number_of(wanted, found, CREDENTIALS)
    assert (made.bot, made.bot_plugin) == is_published


def test_a_plugin_that_is_not_allowed_is_told_with_who_can_allow_it() -> None:
    """The number's owner cannot: it takes a value of the chart."""
    wanted = desired(bot=THEIRS_PLUGIN)
    told = summary.summarise(judgement.judge(wanted, observed(), NOW), observed())
    by_type = {each.type: each for each in told.conditions}
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


def test_a_plugin_that_is_allowed_is_nobodys_trouble() -> None:
    """Whether it can be imported only a worker knows."""
    wanted = dataclasses.replace(desired(bot=OURS_PLUGIN), plugins=LIST)
    told = summary.summarise(judgement.judge(wanted, observed(), NOW), observed())
    assert told.outcome == Outcome.READY
    assert [each for each in told.conditions if each.type == ConditionType.BOT_LOADED] == []


def _fields(struct: Any, **changes: Any) -> dict[str, Any]:
    return {name: getattr(struct, name) for name in struct.__struct_fields__} | changes


def test_a_plan_that_was_done_is_not_made_again() -> None:
    """After Keep and Publish of a new number only Meta's part is left."""
    assert names(observed(meta=NOWHERE)) == ["AwaitRoute", "SetAppCallback", "SubscribeApp", "SetNumberCallback"]


@pytest.mark.parametrize(
    ("found", Outcome.READY, "outcome"),
    [
        pytest.param(observed(), (TRUE, Reason.AS_DESIRED), Outcome.READY, id="as desired"),
        pytest.param(observed(rival="x"), (FALSE, Reason.CONFLICT), Outcome.STALLED, id="a rival"),
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
            id="Meta is away at the first look",
        ),
        pytest.param(
            observed(meta=at_meta(number=phone(status="PENDING")), failed={"Register": GraphRefused(2, 500)}),
            (FALSE, Reason.REGISTERING),
            Outcome.FAILED,
            id="registering failed",
        ),
        pytest.param(
            observed(script=Script(problem=(Reason.SCRIPT_INVALID, "x"))),
            (TRUE, Reason.AS_DESIRED),
            Outcome.READY,
            id="no bot is wanted",
        ),
        pytest.param(
            observed(failed={"Publish": GraphUnreachable("x")}),
            (FALSE, Reason.PUBLISH_FAILED),
            Outcome.FAILED,
            id="not published",
        ),
    ],
)
def test_the_summary_follows_what_was_found(found: Observed, ready: tuple[str, str], outcome: Outcome) -> None:
    """One line for a person, and how the reconcile ended."""
    told = summary.summarise(judgement.judge(desired(), found, NOW), found)
    first = told.conditions[0]
    assert ((first.status, first.reason), told.outcome) == (ready, outcome)
    stalled = next(each for each in told.conditions if each.type == ConditionType.STALLED)
    assert (stalled.status == TRUE) == (outcome == Outcome.STALLED)
