"""Asks Meta about numbers without exceeding any app's call budget at an account.

Numbers that have an account or an app in common share the answers about it.
"""

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
from waypost.contracts.registry import Number, Route
from waypost.operator.api.number_models import NumberSpec
from waypost.operator.meta.budget import Budget, BudgetSpent, pair_of
from waypost.operator.number import credentials as secret
from waypost.operator.number.operator_secrets import digest
from waypost.operator.number.state import MetaState, Observed, account_of, is_transient

FRESH_S = 2.0
"""Seconds for which an answer is shared even where a new answer is wanted, so that numbers that are created together
share it."""
NO_CACHE = -1.0
"""Value of `max_age_s` with which no cached answer is used."""
CACHED_ANSWERS = 20_000
LIMIT_CODES = frozenset({4, 80007})
"""Meta's error codes that say that the app or the account has reached its rate limit."""
LIMITED_S = 300.0
"""Seconds to wait after such an error if Meta does not say how long."""

Answer = TypeVar("Answer")


def as_app(credentials: secret.Credentials) -> Credentials:
    """Returns the credentials for calls in the name of the app itself."""
    return Credentials.of_app(credentials.app_id, credentials.app_secret)


def with_token(credentials: secret.Credentials, token: str) -> Credentials:
    """Returns the credentials for calls with an access token. They include a proof.

    Some apps demand this proof, and no app refuses it.
    """
    return Credentials.proven(token, credentials.app_secret)


class MetaView:
    """Asks Meta and caches the last answers about tokens, accounts and apps, so that numbers share these answers."""

    def __init__(self, graph: GraphClient, budget: Budget, clock: Callable[[], float]) -> None:
        self._graph = graph
        self._budget = budget
        self._clock = clock
        self._answers: OrderedDict[tuple[str, ...], tuple[float, Any]] = OrderedDict()
        self._versions: dict[tuple[str, ...], int] = {}
        self._locks: weakref.WeakValueDictionary[tuple[str, ...], asyncio.Lock] = weakref.WeakValueDictionary()

    async def observe(
        self, observed: Observed, spec: NumberSpec, *, routine: bool, max_age_s: float, only_proof: bool
    ) -> MetaState:
        """Asks Meta about token, number, account and app, in this order. Returns the answers.

        If the token or the number turns out to be unusable, the remaining questions are left out. A shared answer may
        be `max_age_s` seconds old. `routine` says that no problem of the number is known. A routine call may be put
        off to spare the budget. With `only_proof`, Meta is asked only about token and number. Their answers show
        whether these credentials may act for the number.
        """
        found = observed.credentials
        assert isinstance(found, secret.Credentials)
        token = observed.token or found.access_token
        try:
            details = await self._token(found, token, max_age_s)
        except GraphError as error:
            return MetaState(token=error)
        if not details.is_valid:
            return MetaState(token=details)
        caller = with_token(found, token)
        try:
            number = await self._graph.phone_number(caller, spec.phone_number_id)
        except GraphError as error:
            return MetaState(token=details, number=error)
        # No call is made on an account that the number does not belong to: it is another's.
        if only_proof or account_of(number) not in (None, spec.waba_id):
            return MetaState(token=details, number=number)
        account = await _answer(self._account(found, token, spec.waba_id, routine=routine, max_age_s=max_age_s))
        app = await _answer(self._app(found, max_age_s))
        return MetaState(token=details, number=number, account=account, app=app)

    async def still_accepts(self, route: Route, number: Number, *, max_age_s: float) -> bool | None:
        """Returns whether Meta lets the published credentials of a number act for that number.

        Returns None if Meta cannot be asked.
        """
        caller = Credentials.proven(number.access_token, route.app_secrets[0])
        key = ("published", number.phone_number_id, digest(number.access_token), digest(route.app_secrets[0]))

        async def ask() -> bool:
            try:
                await self._graph.phone_number(caller, number.phone_number_id)
            except GraphRefused as error:
                if is_transient(error):
                    raise
                return False
            return True

        try:
            return await self._shared(key, max_age_s, ask)
        except GraphError:
            return None

    async def _token(self, found: secret.Credentials, token: str, max_age_s: float) -> TokenDetails:
        key = ("token", found.app_id, digest(found.app_secret), digest(token))
        return await self._shared(key, max_age_s, lambda: self._graph.debug_token(as_app(found), token))

    async def _app(self, found: secret.Credentials, max_age_s: float) -> tuple[AppSubscription, ...]:
        return await self._shared(
            app_key(found), max_age_s, lambda: self._graph.app_subscriptions(as_app(found), found.app_id)
        )

    async def _account(
        self, found: secret.Credentials, token: str, waba_id: str, *, routine: bool, max_age_s: float
    ) -> tuple[SubscribedApp, ...]:
        async def ask() -> tuple[SubscribedApp, ...]:
            return await self.spend(
                found.app_id,
                waba_id,
                lambda: self._graph.subscribed_apps(with_token(found, token), waba_id),
                routine=routine,
            )

        return await self._shared(account_key(found, waba_id), max_age_s, ask)

    async def spend(
        self, app_id: str, waba_id: str, call: Callable[[], Awaitable[Answer]], *, routine: bool = False
    ) -> Answer:
        """Takes a call from the budget of the app at the account, and makes the call.

        Meta counts such a call for both the app and the account. Raises `BudgetSpent` if the budget is used up, or
        the `GraphError` of the call.
        """
        pair = pair_of(app_id, waba_id)
        if wait_s := self._budget.take(pair, routine=routine):
            raise BudgetSpent(wait_s)
        try:
            return await call()
        except GraphRefused as error:
            if error.code in LIMIT_CODES:
                self._budget.block(pair, error.retry_after_s or LIMITED_S)
            raise

    def lock(self, *key: str) -> asyncio.Lock:
        """Returns the lock of a shared state at Meta. Only one number at a time changes that state."""
        return self._locks.setdefault(key, asyncio.Lock())

    def version(self, key: tuple[str, ...]) -> int:
        """Returns how often a shared state at Meta was changed.

        The count shows whether an answer is older than a change.
        """
        return self._versions.get(key, 0)

    def changed(self, key: tuple[str, ...]) -> None:
        """Records that a shared state at Meta was changed, so that Meta is asked again."""
        self._versions[key] = self.version(key) + 1
        self._answers.pop(key, None)

    async def _shared(self, key: tuple[str, ...], max_age_s: float, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        async with self.lock("answer", *key):
            found = self._answers.get(key)
            if found is not None and self._clock() - found[0] <= max_age_s:
                cached: Answer = found[1]
                return cached
            version, asked_at = self.version(key), self._clock()
            answer = await ask()
            if self.version(key) == version:
                self._answers[key] = (asked_at, answer)
                self._answers.move_to_end(key)
            if len(self._answers) > CACHED_ANSWERS:
                self._answers.popitem(last=False)
            return answer


def app_key(found: secret.Credentials) -> tuple[str, ...]:
    """Returns the key for the callback of an app. Numbers share this state."""
    return ("app", found.app_id, digest(found.app_secret))


def account_key(found: secret.Credentials, waba_id: str) -> tuple[str, ...]:
    """Returns the key for the subscription of an app to an account.

    Numbers with the same app and account share this state. Each app has its own state.
    """
    return ("account", waba_id, found.app_id)


async def _answer(asking: Awaitable[Answer]) -> Answer | GraphError:
    try:
        return await asking
    except GraphError as error:
        return error
