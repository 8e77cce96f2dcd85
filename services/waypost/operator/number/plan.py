"""From what is wanted and what was found to what is to be done, in order. Pure.

A plan holds only what differs: planned again after it was done, it is empty. Nothing is published of a number before
Meta has shown that these credentials may act for it, or a tenant could name another's number and receive for it.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.errors import GraphError
from waypost.cloudapi.graph.numbers import PhoneNumber, WebhookConfiguration
from waypost.cloudapi.graph.proof import appsecret_proof
from waypost.contracts import registry
from waypost.operator.number import actions as act
from waypost.operator.number import registration
from waypost.operator.number.actions import Action
from waypost.operator.number.credentials import Credentials, Unusable
from waypost.operator.number.operator_secrets import Kept
from waypost.operator.number.state import FIELDS, Desired, Observed, app_path, passes

DAY_S = 86_400.0
REFRESH_BEFORE_S = 20 * DAY_S
"""A token that can be refreshed is, this long before its end: before the first warning, with days left for failures."""
APP_SECRET_OVERLAP_S = 3600.0
"""Deliveries signed with a replaced app secret are taken this long, if the Secret does not name the previous one."""
CONNECTED = frozenset({"CONNECTED", "FLAGGED", "RATE_LIMITED"})
"""States in which the number is registered, whatever else is the matter."""
REGISTRABLE = frozenset({"PENDING", "DISCONNECTED", "UNVERIFIED"})
"""States that `register` ends. Others (banned, migrated, deleted, unknown) are a person's matter."""
LONGEST_CALLBACK = 200


@dataclass(frozen=True)
class Plan:
    """`again_in_s`: something is due then even if nothing changes."""

    actions: tuple[Action, ...] = ()
    again_in_s: float | None = None


def plan(desired: Desired, observed: Observed, now: float) -> Plan:
    """What to do now."""
    is_published = observed.published.route is not None or observed.published.number is not None
    credentials = observed.credentials
    if observed.rival or (isinstance(credentials, Unusable) and credentials.is_withdrawn):
        return Plan((act.Withdraw(),) if is_published else ())
    if isinstance(credentials, Unusable):
        # A Secret that is gone or broken stops changes, not messages: what was published is still good.
        return Plan()
    if observed.access is not None and not observed.is_refreshed:
        return Plan((act.ForgetAccess(),))
    if _refresh_is_due(observed, now):
        # Alone: everything after it is planned with the new token.
        return Plan((act.RefreshToken(),))
    waits: list[float] = []
    steps = [
        *_publishing(desired, observed, credentials, now, waits),
        *_registering(observed, credentials, now, waits),
        *_callbacks(desired, observed, credentials),
        *_revoking(observed, now, waits),
    ]
    todo = tuple(step for step in steps if step.name not in observed.failed)
    return Plan(_possible(todo, observed), min(waits, default=None))


def kept(observed: Observed, credentials: Credentials, now: float) -> Kept:
    """What is to be kept of the number: the tokens there are, and whatever was in use until now."""
    route = observed.published.route
    of_route = route.verify_tokens if route else ()
    before = observed.kept
    current = before.verify_token if before else (of_route[0] if of_route else observed.candidate_verify_token)
    previous = before.previous_verify_token if before else None
    if of_route and of_route[0] != current:
        previous = of_route[0]
    secret, until = _previous_secret(observed, credentials, now)
    return Kept(current, previous, secret, until)


def _previous_secret(observed: Observed, credentials: Credentials, now: float) -> tuple[str | None, float]:
    route, before = observed.published.route, observed.kept
    if route and route.app_secrets and route.app_secrets[0] != credentials.app_secret:
        return route.app_secrets[0], now + APP_SECRET_OVERLAP_S
    known = before is not None and before.previous_app_secret not in (None, credentials.app_secret)
    if before and known and before.previous_app_secret_until > now:
        return before.previous_app_secret, before.previous_app_secret_until
    return None, 0.0


def route(desired: Desired, credentials: Credentials, kept_: Kept) -> registry.Route:
    """What the webhook is to know."""
    secrets = (credentials.app_secret, credentials.previous_app_secret, kept_.previous_app_secret)
    tokens = (kept_.verify_token, kept_.previous_verify_token)
    return registry.Route(
        namespace=desired.namespace,
        name=desired.name,
        phone_number_id=desired.spec.phone_number_id,
        waba_id=desired.spec.waba_id,
        app_id=credentials.app_id,
        app_secrets=tuple(dict.fromkeys(secret for secret in secrets if secret)),
        verify_tokens=tuple(dict.fromkeys(token for token in tokens if token)),
    )


def number(desired: Desired, observed: Observed, credentials: Credentials) -> registry.Number:
    """What a worker is to know. A bot that cannot be used now stays as it was."""
    spec = desired.spec
    template = spec.outside_window.template if spec.outside_window else None
    script, plugin = _bot(desired, observed)
    token = observed.token or credentials.access_token
    return registry.Number(
        namespace=desired.namespace,
        name=desired.name,
        phone_number_id=spec.phone_number_id,
        waba_id=spec.waba_id,
        app_id=credentials.app_id,
        access_token=token,
        # By the current app secret alone: a previous one still signs deliveries on their way, but proves no call.
        app_secret_proof=appsecret_proof(token, credentials.app_secret),
        bot=script,
        bot_plugin=plugin,
        messages_per_second=spec.limits.messages_per_second,
        outside_window=registry.Template(name=template.name, language=template.language) if template else None,
        mark_read=spec.bot.mark_read if spec.bot else False,
        typing_indicator=spec.bot.typing_indicator if spec.bot else False,
    )


def _bot(desired: Desired, observed: Observed) -> tuple[str | None, str | None]:
    """Script and plugin. A plugin that is not allowed is published where nothing else can answer: a worker refuses it
    and keeps the messages to be replayed, whereas without any bot they would be done with.
    """
    wanted = (observed.script.text, desired.spec.bot.plugin if desired.spec.bot else None)
    before = observed.published.number
    if before is None or (observed.script.problem is None and desired.refused_plugin is None):
        return wanted
    answers = before.bot is not None or (before.bot_plugin is not None and before.bot_plugin in desired.plugins)
    return (before.bot, before.bot_plugin) if answers else wanted


def is_believed(observed: Observed) -> bool:
    """Whether Meta accepted these credentials for this number: this time, or last time and they are the same."""
    meta = observed.meta
    if meta is not None:
        if meta.is_proven:
            return True
        if isinstance(meta.token, TokenDetails) and not meta.token.is_valid:
            return False
        if any(isinstance(each, GraphError) and not passes(each) for each in (meta.token, meta.number)):
            return False
    return observed.is_accepted


def _publishing(
    desired: Desired, observed: Observed, credentials: Credentials, now: float, waits: list[float]
) -> list[Action]:
    if not is_believed(observed):
        return []
    keeping = kept(observed, credentials, now)
    if keeping.previous_app_secret:
        waits.append(keeping.previous_app_secret_until - now)
    steps: list[Action] = []
    if keeping != observed.kept:
        steps.append(act.Keep(keeping))
    wanted = (route(desired, credentials, keeping), number(desired, observed, credentials))
    if wanted != (observed.published.route, observed.published.number):
        steps.append(act.Publish(*wanted))
    return steps


def _registering(observed: Observed, credentials: Credentials, now: float, waits: list[float]) -> list[Action]:
    phone = observed.meta.number if observed.meta else None
    if not isinstance(phone, PhoneNumber) or phone.status not in REGISTRABLE or credentials.pin is None:
        return []
    if phone.code_verification_status not in ("VERIFIED", ""):
        return []
    calls = registration.read(observed.status)
    if calls.is_refused(observed.secret_version) and not observed.may_retry_refused:
        return []
    if wait_s := calls.wait_s(now):
        waits.append(wait_s)
        return []
    return [act.Register()]


def _callbacks(desired: Desired, observed: Observed, credentials: Credentials) -> list[Action]:
    meta = observed.meta
    if meta is None or not isinstance(meta.number, PhoneNumber) or not meta.is_proven:
        return []
    scope, app_url = desired.spec.webhook.scope, desired.app_url(credentials.app_id)
    levels = meta.number.webhook_configuration or WebhookConfiguration()
    steps: list[Action] = []
    if _app_callback_differs(desired, observed, credentials.app_id):
        steps.append(act.SetAppCallback(app_url))
    if isinstance(meta.account, tuple):
        ours = next((each for each in meta.account if each.id == credentials.app_id), None)
        override = ours.override_callback_uri if ours else None
        if ours is None or (scope == "App" and override not in (None, app_url)):
            steps.append(act.SubscribeApp())
        if scope == "Account" and override != app_url:
            steps.append(act.SetAccountCallback(app_url))
    wanted = desired.own_url if scope == "Number" else None
    # Meta takes an override only for an app that is subscribed, so what is not known of that must be known first.
    may_override = isinstance(meta.account, tuple) and len(desired.own_url) <= LONGEST_CALLBACK
    if may_override and (levels.phone_number or None) != wanted:
        steps.append(act.SetNumberCallback(wanted))
    if any(not isinstance(step, act.SubscribeApp) for step in steps):
        steps.insert(0, act.AwaitRoute(desired.own_url))
    return steps


def _app_callback_differs(desired: Desired, observed: Observed, app_id: str) -> bool:
    """The app's callback is taken over only at scope App: elsewhere it may be another system's."""
    assert observed.meta is not None
    if not isinstance(observed.meta.app, tuple):
        return False
    found = observed.meta.app_subscription
    if found is None:
        return True
    if desired.spec.webhook.scope != "App" and is_foreign(found.callback_url, app_id):
        return False
    missing = set(FIELDS) - {each.name for each in found.fields}
    return found.callback_url != desired.app_url(app_id) or bool(missing) or not found.active


def is_foreign(callback_url: str, app_id: str) -> bool:
    """Whether an app's callback is not one that this project ever registers, at whatever host."""
    return not urlsplit(callback_url).path.endswith(app_path(app_id))


def _refresh_is_due(observed: Observed, now: float) -> bool:
    details = observed.meta.token if observed.meta else None
    if not isinstance(details, TokenDetails) or not details.is_valid or "SYSTEM_USER" not in details.type:
        return False
    left_s = details.expires_at - now
    waiting = "RefreshToken" not in observed.failed and observed.may_refresh
    return waiting and details.expires_at > 0 and 0 < left_s <= REFRESH_BEFORE_S


def _revoking(observed: Observed, now: float, waits: list[float]) -> list[Action]:
    access = observed.access
    if access is None or access.retired is None or observed.meta is None or not observed.meta.is_proven:
        return []
    if access.retire_at > now:
        waits.append(access.retire_at - now)
        return []
    return [] if observed.old_token_in_use else [act.RevokeToken()]


def _possible(steps: tuple[Action, ...], observed: Observed) -> tuple[Action, ...]:
    """Without those that cannot work because one that they need has failed in this reconcile."""
    return tuple(step for step in steps if not any(name in observed.failed for name in step.needs))
