"""Plans what to do for a number, and in which order, from what is desired and what was observed.

The code has no side effects. A plan contains actions only for differences. Once the plan is executed, the
next plan is therefore empty. A number is not published before Meta has shown that these credentials may act
for it. Otherwise a tenant could name the number of another tenant and receive its messages.
"""

from dataclasses import dataclass
from urllib.parse import urlsplit

from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.errors import GraphError
from waypost.cloudapi.graph.numbers import PhoneNumber, WebhookConfiguration
from waypost.cloudapi.graph.proof import appsecret_proof
from waypost.contracts import registry
from waypost.contracts.bot_files import digest_of
from waypost.operator.number import actions as act
from waypost.operator.number import registration
from waypost.operator.number.actions import Action
from waypost.operator.number.credentials import Credentials, Unusable
from waypost.operator.number.operator_secrets import NumberSecrets
from waypost.operator.number.state import FIELDS, NEEDED_SCOPES, Desired, Observed, app_path, is_transient

DAY_S = 86_400.0
REFRESH_BEFORE_S = 20 * DAY_S
"""Seconds before its expiry at which a token that can be refreshed is refreshed. That is some days before the first
warning, so that a failure can be repeated."""
APP_SECRET_OVERLAP_S = 3600.0
"""Seconds for which deliveries signed with a replaced app secret are accepted, if the Secret does not name the previous
one."""
CONNECTED = frozenset({"CONNECTED", "FLAGGED", "RATE_LIMITED"})
"""States at Meta in which the number is registered, whatever else may be wrong with it."""
REGISTRABLE = frozenset({"PENDING", "DISCONNECTED", "UNVERIFIED"})
"""States at Meta from which `register` connects the number. In all other states that are not in `CONNECTED` (banned,
migrated, deleted, unknown) a person must act."""
LONGEST_CALLBACK = 200
"""Longest callback that Meta accepts for a number, in characters."""


@dataclass(frozen=True)
class Plan:
    """The actions to execute now, in their order, and the time after which to plan again."""

    actions: tuple[Action, ...] = ()
    again_in_s: float | None = None
    """Seconds after which to plan again even if nothing changes; None if there is no such time."""


def plan(desired: Desired, observed: Observed, now: float) -> Plan:
    """Returns the plan for a number: what to do now, and when to plan again."""
    is_published = observed.published.route is not None or observed.published.number is not None
    credentials = observed.credentials
    is_withdrawn = isinstance(credentials, Unusable) and credentials.is_withdrawn
    if observed.holder is not None or is_withdrawn or _is_published_for_other(desired, observed):
        return Plan((act.Withdraw(),) if is_published else ())
    if isinstance(credentials, Unusable):
        # A Secret that is gone or broken stops changes, not messages: what was published is still good.
        return Plan()
    if observed.refreshed is not None and not observed.is_refreshed:
        return Plan((act.DeleteRefreshedToken(),))
    if _refresh_is_due(observed, now):
        # The only action of its plan, because everything after it is planned with the new token.
        return Plan((act.RefreshToken(),))
    waits: list[float] = []
    actions = (
        *_publishing(desired, observed, credentials, now, waits),
        *_taking_over(observed),
        *_registering(observed, credentials, now, waits),
        *_callbacks(desired, observed, credentials),
        *_revoking(observed, now, waits),
    )
    untried = tuple(each for each in actions if type(each) not in observed.failed)
    return Plan(_possible(untried, observed), min(waits, default=None))


def secrets_of(observed: Observed, credentials: Credentials, now: float) -> NumberSecrets:
    """Returns the secrets to save for the number.

    These are the secrets that are already stored, and also the app secret that was in use until now.
    """
    route = observed.published.route
    published_tokens = route.verify_tokens if route else ()
    before = observed.secrets
    if before:
        current = before.verify_token
    else:
        # A lost verify token is taken from what is published: a new one would cost calls to Meta.
        current = published_tokens[0] if published_tokens else observed.candidate_verify_token
    previous = before.previous_verify_token if before else None
    if published_tokens and published_tokens[0] != current:
        previous = published_tokens[0]
    secret, until = _previous_app_secret(observed, credentials, now)
    return NumberSecrets(current, previous, secret, until)


def _previous_app_secret(observed: Observed, credentials: Credentials, now: float) -> tuple[str | None, float]:
    route, before = observed.published.route, observed.secrets
    if route and route.app_secrets and route.app_secrets[0] != credentials.app_secret:
        return route.app_secrets[0], now + APP_SECRET_OVERLAP_S
    has_other = before is not None and before.previous_app_secret not in (None, credentials.app_secret)
    if before and has_other and before.previous_app_secret_until > now:
        return before.previous_app_secret, before.previous_app_secret_until
    return None, 0.0


def route_of(desired: Desired, credentials: Credentials, own: NumberSecrets) -> registry.Route:
    """Returns the registry entry for the webhook."""
    secrets = (credentials.app_secret, credentials.previous_app_secret, own.previous_app_secret)
    tokens = (own.verify_token, own.previous_verify_token)
    return registry.Route(
        namespace=desired.namespace,
        name=desired.name,
        phone_number_id=desired.spec.phone_number_id,
        waba_id=desired.spec.waba_id,
        app_id=credentials.app_id,
        app_secrets=tuple(dict.fromkeys(secret for secret in secrets if secret)),
        verify_tokens=tuple(dict.fromkeys(token for token in tokens if token)),
    )


def number_of(desired: Desired, observed: Observed, credentials: Credentials) -> registry.Number:
    """Returns the registry entry for the workers, without the text of its bot."""
    spec = desired.spec
    on_error = spec.bot.on_error if spec.bot else None
    template = spec.outside_window.template if spec.outside_window else None
    digest, plugin, _ = _bot(desired, observed)
    token = observed.token or credentials.access_token
    return registry.Number(
        namespace=desired.namespace,
        name=desired.name,
        phone_number_id=spec.phone_number_id,
        waba_id=spec.waba_id,
        app_id=credentials.app_id,
        access_token=token,
        # With the current app secret only: deliveries signed with the previous one are accepted, but Meta accepts no
        # call that is proven with it.
        app_secret_proof=appsecret_proof(token, credentials.app_secret),
        bot_digest=digest,
        bot_plugin=plugin,
        messages_per_second=spec.limits.messages_per_second,
        outside_window=registry.Template(name=template.name, language=template.language) if template else None,
        mark_read=spec.bot.mark_read if spec.bot else False,
        typing_indicator=spec.bot.typing_indicator if spec.bot else False,
        on_error=registry.OnError(**on_error.model_dump()) if on_error else None,
    )


def _bot(desired: Desired, observed: Observed) -> tuple[str | None, str | None, str | None]:
    """Returns what to publish: the digest of the script, the plugin, and the text of the script if it is known.

    If the desired bot cannot be used, the bot that is already published stays. If no published bot can answer, a
    plugin that is not allowed is still published. A worker refuses such a plugin and keeps the messages, so that
    they can be replayed. If no bot were published, the messages would count as done.
    """
    text = observed.script.text
    digest = None if text is None else digest_of(text)
    wanted = (digest, desired.spec.bot.plugin if desired.spec.bot else None, text)
    before = observed.published.number
    is_usable = observed.script.problem is None and observed.no_room is None and desired.refused_plugin is None
    if before is None or is_usable:
        return wanted
    has_plugin = before.bot_plugin is not None and before.bot_plugin in desired.plugins
    can_answer = before.bot_digest is not None or has_plugin
    return (before.bot_digest, before.bot_plugin, observed.published.script) if can_answer else wanted


def proof(observed: Observed) -> bool | None:
    """Returns whether Meta has shown in this reconcile that these credentials may act for this number.

    Returns None if Meta was not asked, or could not be asked.
    """
    meta = observed.meta
    if meta is None:
        return None
    if meta.is_proven:
        return True
    token = meta.token
    if isinstance(token, TokenDetails) and not (token.is_valid and set(NEEDED_SCOPES) <= set(token.scopes)):
        return False
    refused = (isinstance(each, GraphError) and not is_transient(each) for each in (meta.token, meta.number))
    return False if any(refused) else None


def is_believed(observed: Observed) -> bool:
    """Returns whether Meta accepts these credentials for this number.

    If Meta was not asked in this reconcile, its last answer about the same credentials counts.
    """
    proven = proof(observed)
    return observed.is_accepted if proven is None else proven


def _is_published_for_other(desired: Desired, observed: Observed) -> bool:
    """Returns whether the entries are about another phone number, which an earlier object of this name had."""
    entries = (observed.published.route, observed.published.number)
    return any(each is not None and each.phone_number_id != desired.spec.phone_number_id for each in entries)


def _publishing(
    desired: Desired, observed: Observed, credentials: Credentials, now: float, waits: list[float]
) -> list[Action]:
    if not is_believed(observed):
        return []
    secrets = secrets_of(observed, credentials, now)
    if secrets.previous_app_secret:
        waits.append(secrets.previous_app_secret_until - now)
    actions: list[Action] = []
    if secrets != observed.secrets:
        actions.append(act.SaveSecrets(secrets))
    route, number = route_of(desired, credentials, secrets), number_of(desired, observed, credentials)
    script, published = _bot(desired, observed)[2], observed.published
    is_complete = published.shard is not None and (published.is_bot_stored or script is None)
    if (route, number) != (published.route, published.number) or not is_complete:
        actions.append(act.Publish(route, number, script))
    return actions


def _taking_over(observed: Observed) -> list[Action]:
    if observed.yielding is None or not is_believed(observed):
        return []
    return [act.WithdrawOther(observed.yielding.namespace, observed.yielding.name)]


def _registering(observed: Observed, credentials: Credentials, now: float, waits: list[float]) -> list[Action]:
    phone = observed.meta.number if observed.meta else None
    if not isinstance(phone, PhoneNumber) or phone.status not in REGISTRABLE or credentials.pin is None:
        return []
    # Credentials that may only read the number do not prove the claim on it.
    if not is_believed(observed):
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
    actions: list[Action] = []
    if _app_callback_differs(desired, observed, credentials.app_id):
        actions.append(act.SetAppCallback(app_url))
    if isinstance(meta.account, tuple):
        ours = next((each for each in meta.account if each.id == credentials.app_id), None)
        override = ours.override_callback_uri if ours else None
        if ours is None or (scope == "App" and override not in (None, app_url)):
            actions.append(act.SubscribeApp())
        if scope == "Account" and override != app_url:
            actions.append(act.SetAccountCallback(app_url))
    wanted = desired.own_url if scope == "Number" else None
    # Meta accepts an override only for an app that is subscribed. If that is not known, it is asked again first.
    may_override = isinstance(meta.account, tuple) and len(desired.own_url) <= LONGEST_CALLBACK
    if may_override and (levels.phone_number or None) != wanted:
        actions.append(act.SetNumberCallback(wanted))
    if any(not isinstance(each, act.SubscribeApp) for each in actions):
        actions.insert(0, act.AwaitRoute(desired.own_url))
    return actions


def _app_callback_differs(desired: Desired, observed: Observed, app_id: str) -> bool:
    """Returns whether to register the app's callback.

    A callback of another system is replaced only if the scope is `App`.
    """
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
    """Returns whether an app's callback belongs to another system.

    A Waypost at any host registers a path that ends in `app_path`. A callback with another ending belongs to
    another system.
    """
    return not urlsplit(callback_url).path.endswith(app_path(app_id))


def _refresh_is_due(observed: Observed, now: float) -> bool:
    details = observed.meta.token if observed.meta else None
    if not isinstance(details, TokenDetails) or not details.is_valid or "SYSTEM_USER" not in details.type:
        return False
    left_s = details.expires_at - now
    may_try = act.RefreshToken not in observed.failed and observed.may_refresh
    return may_try and details.expires_at > 0 and 0 < left_s <= REFRESH_BEFORE_S


def _revoking(observed: Observed, now: float, waits: list[float]) -> list[Action]:
    refreshed = observed.refreshed
    if refreshed is None or refreshed.retired is None or observed.meta is None or not observed.meta.is_proven:
        return []
    if refreshed.retire_at > now:
        waits.append(refreshed.retire_at - now)
        return []
    return [] if observed.old_token_in_use else [act.RevokeToken()]


def _possible(actions: tuple[Action, ...], observed: Observed) -> tuple[Action, ...]:
    """Returns the actions that can still succeed.

    An action cannot succeed if an action that it needs has failed in this reconcile. Earlier failures do not
    count.
    """
    return tuple(each for each in actions if not any(needed in observed.failed for needed in each.needs))
