"""Lets go of a deleted number: what was registered at Meta (if it is to go), what the data plane knows, what was kept.

It never hangs. Meta is asked only where `deletionPolicy` is Delete, with what credentials there still are; a refusal is
final, and a Meta that does not answer is waited for until a deadline. The annotation `waypost.dev/abandon: "true"` ends
the waiting at once. What could not be taken away is told in an Event.
"""

from dataclasses import dataclass

from waypost.cloudapi.graph import calls
from waypost.cloudapi.graph.errors import GraphError
from waypost.cloudapi.graph.numbers import WebhookConfiguration
from waypost.contracts.registry import Number, Route
from waypost.operator.api.condition_types import Reason
from waypost.operator.api.conditions import seconds
from waypost.operator.api.number_models import ABANDON, FINALIZER, Metadata, NumberSpec
from waypost.operator.cluster.interface import Manifest
from waypost.operator.engine.outcome import Outcome, Result
from waypost.operator.number import credentials as secret
from waypost.operator.number.claims import Claim, Claims
from waypost.operator.number.execution import Performer
from waypost.operator.number.operator_secrets import digest
from waypost.operator.number.plan import is_foreign
from waypost.operator.number.state import passes
from waypost.operator.options import OperatorOptions

RETRY_S = 15.0
STILL_REGISTERED = "The number was deleted here, but its callback is still registered at Meta"
REMOVE_IT = "Remove the callback in the App dashboard if nothing else uses it."


@dataclass(frozen=True)
class _Ours:
    """How Meta can still be spoken to on behalf of the number."""

    token: calls.Credentials
    app: calls.Credentials
    app_id: str


class Finalizer:
    """Of all numbers of one operator."""

    def __init__(self, performer: Performer, claims: Claims, options: OperatorOptions) -> None:
        self._by = performer
        self._claims = claims
        self._options = options

    async def finalize(self, manifest: Manifest, metadata: Metadata, spec: NumberSpec, mine: Claim) -> Result:
        """Let go; `ready` once the finalizer is off. Raises `ClusterError`."""
        if FINALIZER not in metadata.finalizers:
            return Result(None, Outcome.READY)
        left = None
        is_to_leave = spec.deletion_policy == "Delete" and metadata.annotations.get(ABANDON) != "true"
        if is_to_leave and await self._claims.rival(mine) is None:
            try:
                left = await self._leave_meta(metadata, spec, mine)
            except GraphError as error:
                deadline = (seconds(metadata.deletion_timestamp) or 0.0) + self._options.finalize_deadline_s
                if passes(error) and self._by.clock() < deadline:
                    return Result(RETRY_S, Outcome.WAITING)
                left = f"{STILL_REGISTERED} ({error}). {REMOVE_IT}"
        await self._by.registry.withdraw(metadata.namespace, metadata.name)
        await self._by.keeping.forget(metadata.namespace, metadata.name)
        if not self._claims.others(mine, credentials=mine.credentials):
            await self._by.keeping.forget_access(metadata.namespace, mine.credentials)
        if left is not None:
            await self._by.cluster.emit(manifest, type="Warning", reason=Reason.LEFT_AT_META, message=left)
        finalizers = [each for each in metadata.finalizers if each != FINALIZER]
        await self._by.cluster.write_metadata(manifest, {"finalizers": finalizers})
        await self._by.cluster.refresh_mounts()
        return Result(None, Outcome.READY)

    async def _leave_meta(self, metadata: Metadata, spec: NumberSpec, mine: Claim) -> str | None:
        """Take our callbacks away, and nobody else's. Raises `GraphError`; returns why it was not tried at all."""
        ours = await self._ours(metadata, spec)
        if ours is None:
            return f"{STILL_REGISTERED}, because its credentials are gone. {REMOVE_IT}"
        graph, base = self._by.graph, self._options.public_url.rstrip("/")
        number = await graph.phone_number(ours.token, spec.phone_number_id)
        levels = number.webhook_configuration or WebhookConfiguration()
        if levels.phone_number == f"{base}/webhooks/{metadata.namespace}/{metadata.name}":
            await graph.override_number_webhook(ours.token, spec.phone_number_id, None)
        others = self._claims.others(mine, account=spec.waba_id)
        if others:
            return None
        view = self._by.view
        apps = await view.spend(spec.waba_id, lambda: graph.subscribed_apps(ours.token, spec.waba_id))
        subscribed = next((each for each in apps if each.id == ours.app_id), None)
        if subscribed is None:
            return None
        override, app_callback = subscribed.override_callback_uri, levels.application or ""
        if (override or app_callback) and is_foreign(override or app_callback, ours.app_id):
            return None
        await view.spend(spec.waba_id, lambda: graph.unsubscribe_app(ours.token, spec.waba_id))
        view.changed(("account", spec.waba_id, ours.app_id))
        return None

    async def _ours(self, metadata: Metadata, spec: NumberSpec) -> _Ours | None:
        """From the Secret, or, if that went first, from what was published."""
        name = spec.credentials_ref.name
        stored = await self._by.cluster.secret(metadata.namespace, name)
        found = secret.read(stored, metadata.namespace, name)
        if isinstance(found, secret.Credentials):
            access = await self._by.keeping.read_access(metadata.namespace, name)
            fits = access is not None and access.source == digest(found.access_token)
            return _ours(found.app_id, found.app_secret, access.token if access and fits else found.access_token)
        if found.is_withdrawn:
            return None
        published = await self._by.registry.read(metadata.namespace, metadata.name)
        return _published(published.route, published.number)


def _published(route: Route | None, number: Number | None) -> _Ours | None:
    if route is None or number is None or not route.app_secrets:
        return None
    return _ours(route.app_id, route.app_secrets[0], number.access_token)


def _ours(app_id: str, app_secret: str, token: str) -> _Ours:
    return _Ours(calls.Credentials.proven(token, app_secret), calls.Credentials.of_app(app_id, app_secret), app_id)
