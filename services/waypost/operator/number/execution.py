"""Executes a plan, one action after the other, and records which actions failed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from waypost.cloudapi.graph import calls
from waypost.cloudapi.graph.calls import Override
from waypost.cloudapi.graph.client import GraphClient
from waypost.cloudapi.graph.errors import GraphError, GraphRefused
from waypost.operator.cluster.interface import Cluster, ClusterRefused
from waypost.operator.cluster.registry_secrets import Registry
from waypost.operator.number import actions as act
from waypost.operator.number.actions import Action
from waypost.operator.number.credentials import Credentials
from waypost.operator.number.meta_view import MetaView, account_key, app_key, as_app, with_token
from waypost.operator.number.operator_secrets import OperatorSecrets, RefreshedToken, digest
from waypost.operator.number.state import FIELDS, Desired, Observed

RETIRE_AFTER_S = 600.0
"""Seconds until a replaced token is revoked. Mounted Secrets take up to two minutes to be updated, and a send may be
under way."""
INVALID_TOKEN = 190
"""Meta's code for a token that is expired or revoked."""


class RouteProbe(Protocol):
    """A client that asks the webhook whether it serves a callback."""

    async def serves(self, path: str, verify_token: str) -> str | None:
        """Returns None if the webhook serves the callback. Otherwise returns a description of what is wrong."""


class NotServed(GraphError):
    """The webhook does not serve the callback yet, so Meta was not asked to verify it. A retry makes sense."""


@dataclass
class Dependencies:
    """The clients and registries that actions use. One instance serves all numbers."""

    cluster: Cluster
    graph: GraphClient
    view: MetaView
    registry: Registry
    secrets: OperatorSecrets
    probe: RouteProbe | None
    clock: Callable[[], float]


@dataclass
class PlanExecution:
    """The execution of one plan for one number."""

    deps: Dependencies
    desired: Desired
    observed: Observed
    versions: Mapping[tuple[str, ...], int]
    """Versions of the state that numbers share at Meta (`MetaView.version`), as they were before Meta was asked."""
    before_register: Callable[[], Awaitable[None]]
    """Function that records a call of `register`. It is called before `register` is."""
    failed: dict[type[Action], Exception] = field(default_factory=dict)
    """Error of each action that failed, because Meta gave an error or the API server refused it."""
    changed_meta: bool = False
    """Whether an action was tried that makes it necessary to ask Meta again."""

    async def run(self, actions: tuple[Action, ...]) -> None:
        """Executes the actions. An action is left out if an action that it needs has failed.

        Raises `ClusterAway` and `ClusterConflict`. After these errors nothing more can be done in this reconcile.
        """
        for action in actions:
            if any(each in self.failed for each in action.needs):
                continue
            self.changed_meta |= action.changes_meta
            try:
                await self._execute(action)
            except (GraphError, ClusterRefused) as error:
                self.failed[type(action)] = error

    async def _execute(self, action: Action) -> None:
        match action:
            case act.SaveSecrets(secrets):
                await self.deps.secrets.save(self.desired.namespace, self.desired.name, secrets)
            case act.Publish(route, number, script):
                await self.deps.registry.write(self.observed.published, route, number, script)
                await self.deps.cluster.refresh_mounts()
            case act.Withdraw() | act.WithdrawOther():
                whose = action if isinstance(action, act.WithdrawOther) else self.desired
                await self.deps.registry.withdraw(whose.namespace, whose.name)
                await self.deps.cluster.refresh_mounts()
            case act.AwaitRoute():
                await self._await_route()
            case act.SetAppCallback(url):
                await self._set_app_callback(url)
            case act.SubscribeApp():
                await self._subscribe(None)
            case act.SetAccountCallback(url):
                await self._subscribe(url)
            case act.SetNumberCallback(url):
                override = Override(url, self._verify_token) if url else None
                await self.deps.graph.override_number_webhook(self._caller, self._phone, override)
            case act.Register():
                await self._register()
            case act.RefreshToken():
                await self._refresh()
            case act.RevokeToken():
                await self._revoke()
            case act.DeleteRefreshedToken():
                await self.deps.secrets.delete_refreshed(self.desired.namespace, self.desired.spec.credentials_ref.name)

    @property
    def _credentials(self) -> Credentials:
        assert isinstance(self.observed.credentials, Credentials)
        return self.observed.credentials

    @property
    def _caller(self) -> calls.Credentials:
        return with_token(self._credentials, self.observed.token or self._credentials.access_token)

    @property
    def _phone(self) -> str:
        return self.desired.spec.phone_number_id

    @property
    def _verify_token(self) -> str:
        """The verify token that is saved and published.

        It always exists, because every action that registers a callback needs `SaveSecrets` and `Publish`.
        """
        if self.observed.secrets is not None:
            return self.observed.secrets.verify_token
        if self.observed.published.route is not None:
            return self.observed.published.route.verify_tokens[0]
        return self.observed.candidate_verify_token

    async def _await_route(self) -> None:
        if self.deps.probe is None:
            return
        path = f"/webhooks/{self.desired.namespace}/{self.desired.name}"
        if (wrong := await self.deps.probe.serves(path, self._verify_token)) is not None:
            raise NotServed(f"{path}: {wrong}")

    async def _set_app_callback(self, url: str) -> None:
        credentials = self._credentials
        key = app_key(credentials)
        async with self.deps.view.lock("change", *key):
            if self._was_changed(key):
                return
            await self.deps.graph.set_app_subscription(
                as_app(credentials),
                credentials.app_id,
                callback_url=url,
                verify_token=self._verify_token,
                fields=FIELDS,
            )
            self.deps.view.changed(key)

    async def _subscribe(self, url: str | None) -> None:
        waba_id = self.desired.spec.waba_id
        key = account_key(self._credentials, waba_id)
        async with self.deps.view.lock("change", *key):
            if self._was_changed(key):
                return
            override = Override(url, self._verify_token) if url else None
            await self.deps.view.spend(
                self._credentials.app_id,
                waba_id,
                lambda: self.deps.graph.subscribe_app(self._caller, waba_id, override),
            )
            self.deps.view.changed(key)

    def _was_changed(self, key: tuple[str, ...]) -> bool:
        """Returns whether another number has changed the shared state `key` since Meta was asked.

        If so, this number does not change the shared state, and Meta is asked again.
        """
        return self.deps.view.version(key) != self.versions.get(key, 0)

    async def _register(self) -> None:
        pin = self._credentials.pin
        assert pin is not None
        await self.before_register()
        await self.deps.graph.register(self._caller, self._phone, pin=pin)

    async def _refresh(self) -> None:
        credentials, old = self._credentials, self.observed.token or self._credentials.access_token
        name = self.desired.spec.credentials_ref.name
        async with self.deps.view.lock("refresh", self.desired.namespace, name):
            # Another number with the same credentials may have refreshed the token while this one waited.
            now = await self.deps.secrets.read_refreshed(self.desired.namespace, name)
            if now is not None and now != self.observed.refreshed:
                return
            issued = await self.deps.graph.refresh_token(credentials.app_id, credentials.app_secret, old)
            if issued.token == old:
                return
            retire_at = self.deps.clock() + RETIRE_AFTER_S
            refreshed = RefreshedToken(issued.token, digest(credentials.access_token), old, retire_at)
            await self.deps.secrets.save_refreshed(self.desired.namespace, name, refreshed)

    async def _revoke(self) -> None:
        refreshed, credentials = self.observed.refreshed, self._credentials
        assert refreshed is not None
        assert refreshed.retired is not None
        try:
            await self.deps.graph.revoke_token(
                credentials.app_id, credentials.app_secret, refreshed.retired, with_token=refreshed.token
            )
        except GraphRefused as error:
            if error.code != INVALID_TOKEN:  # a token that is invalid already needs no revoking
                raise
        name = self.desired.spec.credentials_ref.name
        without_retired = RefreshedToken(refreshed.token, refreshed.source)
        await self.deps.secrets.save_refreshed(self.desired.namespace, name, without_retired)
