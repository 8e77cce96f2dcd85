"""Does what a plan says, one action at a time, and tells which did not work."""

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
from waypost.operator.number.observe import MetaView, account_key, app_key, of_app, of_token
from waypost.operator.number.operator_secrets import Access, Keeping, digest
from waypost.operator.number.state import FIELDS, Desired, Observed

RETIRE_AFTER_S = 600.0
"""A replaced token is ended this much later: mounted Secrets take up to two minutes, and a send may be under way."""


class RouteProbe(Protocol):
    """Sees whether the webhook serves a callback."""

    async def serves(self, path: str, verify_token: str) -> str | None:
        """None if it does; else what is wrong."""


class NotServed(GraphError):
    """The webhook does not serve the callback yet, so Meta is not told of it. Tried again soon."""


@dataclass
class Performer:
    """Everything an action may need. One for all numbers."""

    cluster: Cluster
    graph: GraphClient
    view: MetaView
    registry: Registry
    keeping: Keeping
    probe: RouteProbe | None
    clock: Callable[[], float]


@dataclass
class Deed:
    """One plan being done for one number."""

    by: Performer
    desired: Desired
    observed: Observed
    versions: Mapping[tuple[str, ...], int]
    """Of what is shared, from before the look."""
    before_register: Callable[[], Awaitable[None]]
    """Writes the call down before it is made."""
    failed: dict[str, Exception] = field(default_factory=dict)
    moved_meta: bool = False
    """Whether anything was tried after which Meta is to be looked at again."""

    async def do(self, actions: tuple[Action, ...]) -> None:
        """Do what can be done. Failures of Meta and refusals of the API server are kept in `failed`, by action.

        Raises `ClusterAway` and `ClusterConflict`: then nothing more can be done or told.
        """
        for action in actions:
            if any(name in self.failed for name in action.needs):
                continue
            self.moved_meta |= action.moves_meta
            try:
                await self._one(action)
            except (GraphError, ClusterRefused) as error:
                self.failed[action.name] = error

    async def _one(self, action: Action) -> None:
        match action:
            case act.Keep(kept):
                await self.by.keeping.write(self.desired.namespace, self.desired.name, kept)
            case act.Publish(route, number):
                await self.by.registry.write(self.observed.published, route, number)
                await self.by.cluster.refresh_mounts()
            case act.Withdraw():
                await self.by.registry.withdraw(self.desired.namespace, self.desired.name)
                await self.by.cluster.refresh_mounts()
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
                await self.by.graph.override_number_webhook(self._caller, self._phone, override)
            case act.Register():
                await self._register()
            case act.RefreshToken():
                await self._refresh()
            case act.RevokeToken():
                await self._revoke()
            case act.ForgetAccess():
                await self.by.keeping.forget_access(self.desired.namespace, self.desired.spec.credentials_ref.name)

    @property
    def _credentials(self) -> Credentials:
        assert isinstance(self.observed.credentials, Credentials)
        return self.observed.credentials

    @property
    def _caller(self) -> calls.Credentials:
        return of_token(self._credentials, self.observed.token or self._credentials.access_token)

    @property
    def _phone(self) -> str:
        return self.desired.spec.phone_number_id

    @property
    def _verify_token(self) -> str:
        """The one that was kept and published before any callback is set: actions that set one need those two."""
        if self.observed.kept is not None:
            return self.observed.kept.verify_token
        if self.observed.published.route is not None:
            return self.observed.published.route.verify_tokens[0]
        return self.observed.candidate_verify_token

    async def _await_route(self) -> None:
        if self.by.probe is None:
            return
        path = f"/webhooks/{self.desired.namespace}/{self.desired.name}"
        if (wrong := await self.by.probe.serves(path, self._verify_token)) is not None:
            raise NotServed(f"{path}: {wrong}")

    async def _set_app_callback(self, url: str) -> None:
        credentials = self._credentials
        key = app_key(credentials)
        async with self.by.view.lock("change", *key):
            if self._changed_since(key):
                return
            await self.by.graph.set_app_subscription(
                of_app(credentials),
                credentials.app_id,
                callback_url=url,
                verify_token=self._verify_token,
                fields=FIELDS,
            )
            self.by.view.changed(key)

    async def _subscribe(self, url: str | None) -> None:
        waba_id = self.desired.spec.waba_id
        key = account_key(self._credentials, waba_id)
        async with self.by.view.lock("change", *key):
            if self._changed_since(key):
                return
            override = Override(url, self._verify_token) if url else None
            await self.by.view.spend(waba_id, lambda: self.by.graph.subscribe_app(self._caller, waba_id, override))
            self.by.view.changed(key)

    def _changed_since(self, key: tuple[str, ...]) -> bool:
        """Another number changed what is shared since our look: look again before acting."""
        return self.by.view.version(key) != self.versions.get(key, 0)

    async def _register(self) -> None:
        pin = self._credentials.pin
        assert pin is not None
        await self.before_register()
        await self.by.graph.register(self._caller, self._phone, pin=pin)

    async def _refresh(self) -> None:
        credentials, old = self._credentials, self.observed.token or self._credentials.access_token
        name = self.desired.spec.credentials_ref.name
        async with self.by.view.lock("refresh", self.desired.namespace, name):
            now = await self.by.keeping.read_access(self.desired.namespace, name)
            if now is not None and now != self.observed.access:
                return
            issued = await self.by.graph.refresh_token(credentials.app_id, credentials.app_secret, old)
            if issued.token == old:
                return
            access = Access(issued.token, digest(credentials.access_token), old, self.by.clock() + RETIRE_AFTER_S)
            await self.by.keeping.write_access(self.desired.namespace, name, access)

    async def _revoke(self) -> None:
        access, credentials = self.observed.access, self._credentials
        assert access is not None
        assert access.retired is not None
        try:
            await self.by.graph.revoke_token(
                credentials.app_id, credentials.app_secret, access.retired, with_token=access.token
            )
        except GraphRefused as error:
            if error.code != 190:  # it is invalid already, which is what was wanted
                raise
        name = self.desired.spec.credentials_ref.name
        await self.by.keeping.write_access(self.desired.namespace, name, Access(access.token, access.source))
