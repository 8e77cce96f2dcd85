"""Looks at Meta: what numbers have in common is asked once and shared, and no look exceeds the account's budget."""

import asyncio
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from waypost.cloudapi.graph.apps import AppSubscription, TokenDetails
from waypost.cloudapi.graph.business_accounts import SubscribedApp
from waypost.cloudapi.graph.calls import Credentials
from waypost.cloudapi.graph.client import GraphClient
from waypost.cloudapi.graph.errors import GraphError, GraphRefused
from waypost.operator.api.number_models import NumberSpec
from waypost.operator.meta.budget import Budget, BudgetSpent
from waypost.operator.number import credentials as secret
from waypost.operator.number.operator_secrets import digest
from waypost.operator.number.state import AtMeta, Observed

FRESH_S = 2.0
"""An answer this young is shared where a new one would do: numbers that begin together ask together."""
ANEW_S = -1.0
"""As `age_s`: only what is asked now will do."""
KEPT_ANSWERS = 20_000
LIMIT_CODES = frozenset({4, 80007})
LIMITED_S = 300.0
"""Wait after such a refusal that does not say how long."""

Answer = TypeVar("Answer")


def of_app(credentials: secret.Credentials) -> Credentials:
    """To act as the app itself."""
    return Credentials.of_app(credentials.app_id, credentials.app_secret)


def of_token(credentials: secret.Credentials, token: str) -> Credentials:
    """To act with an access token; always with a proof, for an app may demand one and none refuses it."""
    return Credentials.proven(token, credentials.app_secret)


class MetaView:
    """The last answers on tokens, accounts and apps, by which numbers share their looks."""

    def __init__(self, graph: GraphClient, budget: Budget, clock: Callable[[], float]) -> None:
        self._graph = graph
        self._budget = budget
        self._clock = clock
        self._answers: OrderedDict[tuple[str, ...], tuple[float, Any]] = OrderedDict()
        self._versions: dict[tuple[str, ...], int] = {}
        self._locks: weakref.WeakValueDictionary[tuple[str, ...], asyncio.Lock] = weakref.WeakValueDictionary()

    async def look(self, observed: Observed, spec: NumberSpec, *, routine: bool, age_s: float) -> AtMeta:
        """Ask for everything, as far as the answers allow. `age_s`: how old a shared answer may be."""
        found = observed.credentials
        assert isinstance(found, secret.Credentials)
        token = observed.token or found.access_token
        try:
            details = await self._token(found, token, age_s)
        except GraphError as error:
            return AtMeta(token=error)
        if not details.is_valid:
            return AtMeta(token=details)
        who = of_token(found, token)
        try:
            number = await self._graph.phone_number(who, spec.phone_number_id)
        except GraphError as error:
            return AtMeta(token=details, number=error)
        account = await _answer(self.account(found, token, spec.waba_id, routine=routine, age_s=age_s))
        app = await _answer(self._app(found, age_s))
        return AtMeta(token=details, number=number, account=account, app=app)

    async def _token(self, found: secret.Credentials, token: str, age_s: float) -> TokenDetails:
        key = ("token", found.app_id, digest(found.app_secret), digest(token))
        return await self._shared(key, age_s, lambda: self._graph.debug_token(of_app(found), token))

    async def _app(self, found: secret.Credentials, age_s: float) -> tuple[AppSubscription, ...]:
        return await self._shared(
            app_key(found), age_s, lambda: self._graph.app_subscriptions(of_app(found), found.app_id)
        )

    async def account(
        self, found: secret.Credentials, token: str, waba_id: str, *, routine: bool, age_s: float
    ) -> tuple[SubscribedApp, ...]:
        """The apps of an account. Raises `GraphError`."""

        async def ask() -> tuple[SubscribedApp, ...]:
            return await self.spend(
                waba_id, lambda: self._graph.subscribed_apps(of_token(found, token), waba_id), routine=routine
            )

        return await self._shared(account_key(found, waba_id), age_s, ask)

    async def spend(self, waba_id: str, call: Callable[[], Awaitable[Answer]], *, routine: bool = False) -> Answer:
        """Make a call that Meta counts on the account. Raises `BudgetSpent` and the call's `GraphError`."""
        if wait_s := self._budget.take(waba_id, routine=routine):
            raise BudgetSpent(wait_s)
        try:
            return await call()
        except GraphRefused as error:
            if error.code in LIMIT_CODES:
                self._budget.block(waba_id, error.retry_after_s or LIMITED_S)
            raise

    def lock(self, *key: str) -> asyncio.Lock:
        """One at a time changes what is shared."""
        return self._locks.setdefault(key, asyncio.Lock())

    def version(self, key: tuple[str, ...]) -> int:
        """Moves with every change of what is shared, so that nobody acts on a look from before it."""
        return self._versions.get(key, 0)

    def changed(self, key: tuple[str, ...]) -> None:
        """It was changed: the next look asks again."""
        self._versions[key] = self.version(key) + 1
        self._answers.pop(key, None)

    async def _shared(self, key: tuple[str, ...], age_s: float, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        async with self.lock("answer", *key):
            found = self._answers.get(key)
            if found is not None and self._clock() - found[0] <= age_s:
                known: Answer = found[1]
                return known
            version, asked_at = self.version(key), self._clock()
            answer = await ask()
            if self.version(key) == version:
                self._answers[key] = (asked_at, answer)
                self._answers.move_to_end(key)
            if len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
            return answer


def app_key(found: secret.Credentials) -> tuple[str, ...]:
    """Of the app's callback."""
    return ("app", found.app_id, digest(found.app_secret))


def account_key(found: secret.Credentials, waba_id: str) -> tuple[str, ...]:
    """Of the account's apps, as one app sees them."""
    return ("account", waba_id, found.app_id)


async def _answer(asking: Awaitable[Answer]) -> Answer | GraphError:
    try:
        return await asking
    except GraphError as error:
        return error
