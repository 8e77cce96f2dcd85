"""Finalizes a deleted number: removes its callback at Meta, its registry entries and its secrets.

The callback is removed only if the number's `deletionPolicy` is `Delete`. In that case Meta is asked with the
credentials that still exist. A deletion always ends. A refusal by Meta is final. If Meta does not answer, the
deletion waits until a deadline. The annotation `waypost.dev/abandon: "true"` ends this wait at once. An Event
says what could not be removed.
"""

from dataclasses import dataclass

from waypost.cloudapi.graph import calls
from waypost.cloudapi.graph.errors import GraphError
from waypost.cloudapi.graph.numbers import WebhookConfiguration
from waypost.contracts.condition_types import Reason
from waypost.contracts.registry import Number, Route
from waypost.operator.api.conditions import seconds
from waypost.operator.api.number_models import ABANDON, FINALIZER, Metadata, NumberSpec
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.number import credentials as secret
from waypost.operator.number.claims import Claim, Claims
from waypost.operator.number.execution import Dependencies
from waypost.operator.number.holders import Holders
from waypost.operator.number.operator_secrets import digest
from waypost.operator.number.plan import is_foreign
from waypost.operator.number.state import is_transient
from waypost.operator.options import OperatorOptions

RETRY_S = 15.0
STILL_REGISTERED = "The number was deleted here, but its callback is still registered at Meta"
REMOVE_IT = "Remove the callback in the App dashboard if nothing else uses it."


@dataclass(frozen=True)
class _MetaAccess:
    """Credentials with which Meta can still be asked about a deleted number."""

    token: calls.Credentials
    app_id: str


class Finalizer:
    """Finalizes the numbers of one operator."""

    def __init__(self, deps: Dependencies, claims: Claims, holders: Holders, options: OperatorOptions) -> None:
        self._deps = deps
        self._claims = claims
        self._holders = holders
        self._options = options

    async def finalize(self, manifest: Manifest, metadata: Metadata, spec: NumberSpec, mine: Claim) -> Result:
        """Removes everything that belongs to the number. Raises `ClusterError`.

        When the object's finalizer is removed, the outcome is `READY`.
        """
        if FINALIZER not in metadata.finalizers:
            return Result(None, Outcome.READY)
        leftover = None
        leaves_meta = spec.deletion_policy == "Delete" and metadata.annotations.get(ABANDON) != "true"
        # If another object holds the phone number, what is registered at Meta belongs to that object.
        if leaves_meta and await self._holders.holder(mine, manifest) is None:
            try:
                leftover = await self._leave_meta(metadata, spec, mine)
            except GraphError as error:
                deadline = (seconds(metadata.deletion_timestamp) or 0.0) + self._options.finalize_deadline_s
                if is_transient(error) and self._deps.clock() < deadline:
                    return Result(RETRY_S, Outcome.WAITING)
                leftover = f"{STILL_REGISTERED} ({error}). {REMOVE_IT}"
        await self._deps.registry.withdraw(metadata.namespace, metadata.name)
        await self._deps.secrets.delete(metadata.namespace, metadata.name)
        if not self._claims.others(mine, credentials=mine.credentials):
            await self._deps.secrets.delete_refreshed(metadata.namespace, mine.credentials)
        if leftover is not None:
            await self._deps.cluster.emit(manifest, type="Warning", reason=Reason.LEFT_AT_META, message=leftover)
        finalizers = [each for each in metadata.finalizers if each != FINALIZER]
        await self._deps.cluster.write_metadata(manifest, {"finalizers": finalizers})
        await self._deps.cluster.refresh_mounts()
        return Result(None, Outcome.READY)

    async def _leave_meta(self, metadata: Metadata, spec: NumberSpec, mine: Claim) -> str | None:
        """Removes the callbacks that this operator registered. Raises `GraphError`.

        If there are no credentials to ask Meta with, returns a sentence that says what remains. Otherwise returns
        None.
        """
        access = await self._access(metadata, spec)
        if access is None:
            return f"{STILL_REGISTERED}, because its credentials are gone. {REMOVE_IT}"
        graph, base = self._deps.graph, self._options.public_url.rstrip("/")
        number = await graph.phone_number(access.token, spec.phone_number_id)
        levels = number.webhook_configuration or WebhookConfiguration()
        if levels.phone_number == f"{base}/webhooks/{metadata.namespace}/{metadata.name}":
            await graph.override_number_webhook(access.token, spec.phone_number_id, None)
        if await self._is_subscription_needed(mine, access.app_id):
            return None
        view, app_id = self._deps.view, access.app_id
        apps = await view.spend(app_id, spec.waba_id, lambda: graph.subscribed_apps(access.token, spec.waba_id))
        subscribed = next((each for each in apps if each.id == access.app_id), None)
        if subscribed is None:
            return None
        override, app_callback = subscribed.override_callback_uri, levels.application or ""
        if (override or app_callback) and is_foreign(override or app_callback, access.app_id):
            return None
        await view.spend(app_id, spec.waba_id, lambda: graph.unsubscribe_app(access.token, spec.waba_id))
        view.changed(("account", spec.waba_id, app_id))
        return None

    async def _is_subscription_needed(self, mine: Claim, app_id: str) -> bool:
        """Returns whether another number needs the app's subscription to the account.

        Such a number is published with the same app, or it belongs to the object that gets the phone number next. An
        unproven object that only names the account does not count.
        """
        for other in self._claims.others(mine, account=mine.waba_id):
            published = await self._deps.registry.read(other.namespace, other.name)
            if published.route is not None and published.route.app_id == app_id:
                return True
        return await self._holders.is_waited_for(mine)

    async def _access(self, metadata: Metadata, spec: NumberSpec) -> _MetaAccess | None:
        """Returns credentials from the Secret, or None if there are no credentials that may be used.

        If the Secret was deleted before the number, the credentials come from the registry entries.
        """
        name = spec.credentials_ref.name
        stored = await self._deps.cluster.secret(metadata.namespace, name)
        found = secret.read(stored, metadata.namespace, name)
        if isinstance(found, secret.Credentials):
            refreshed = await self._deps.secrets.read_refreshed(metadata.namespace, name)
            token = found.access_token
            if refreshed is not None and refreshed.source == digest(found.access_token):
                token = refreshed.token
            return _access_with(found.app_id, found.app_secret, token)
        if found.is_withdrawn:
            return None
        published = await self._deps.registry.read(metadata.namespace, metadata.name)
        return _published_access(published.route, published.number)


def _published_access(route: Route | None, number: Number | None) -> _MetaAccess | None:
    if route is None or number is None or not route.app_secrets:
        return None
    return _access_with(route.app_id, route.app_secrets[0], number.access_token)


def _access_with(app_id: str, app_secret: str, token: str) -> _MetaAccess:
    return _MetaAccess(calls.Credentials.proven(token, app_secret), app_id)
