"""Stores the operator's own secrets: verify tokens, and the access tokens that it refreshed.

These secrets are kept in Secrets of the release namespace, which no tenant can read or write. A verify token
belongs to a number. A refreshed access token belongs to a credentials Secret, because several numbers can
share that Secret.
"""

import asyncio
import base64
import hashlib
import secrets
import string
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from waypost.operator.api.conditions import seconds, timestamp
from waypost.operator.cluster.interface import Cluster, Stored
from waypost.operator.cluster.registry_shards import LABELS

MANAGER = "waypost-operator"
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class NumberSecrets:
    """Secrets that the operator stores for one number."""

    verify_token: str = field(repr=False)
    previous_verify_token: str | None = field(default=None, repr=False)
    previous_app_secret: str | None = field(default=None, repr=False)
    """The app secret that was used before the present one. Deliveries that are signed with it may still arrive."""
    previous_app_secret_until: float = 0.0
    """Time from which the previous app secret is no longer accepted, in seconds since 1970."""


@dataclass(frozen=True)
class RefreshedToken:
    """An access token that the operator obtained in place of the one in a credentials Secret."""

    token: str = field(repr=False)
    source: str
    """`digest` of the token that was refreshed. If the credentials Secret holds another token now, the token in the
    Secret is used."""
    retired: str | None = field(default=None, repr=False)
    """The token that this one replaced; None once it has been revoked."""
    retire_at: float = 0.0
    """Earliest time at which `retired` is revoked, in seconds since 1970: mounted Secrets take up to two minutes to
    reach every pod."""


def new_verify_token() -> str:
    """Returns a random verify token of letters and digits only. Meta changes other characters on the way."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(40))


def digest(token: str) -> str:
    """Returns a hash of a token. With the hash, a token can be recognised without being stored."""
    return hashlib.sha256(token.encode()).hexdigest()


def number_secret_name(namespace: str, name: str) -> str:
    """Returns the name of the Secret with a number's verify token."""
    return f"waypost-number-{namespace}.{name}"


def refreshed_secret_name(namespace: str, credentials: str) -> str:
    """Returns the name of the Secret with the refreshed token of a credentials Secret."""
    return f"waypost-access-{namespace}.{credentials}"


class OperatorSecrets:
    """Reads and writes the Secrets with verify tokens and refreshed tokens.

    A Secret that was read or written less than `fresh_s` seconds ago is not read again. The reasons are that a
    number is reconciled several times until its webhook serves it, and that most numbers have no refreshed token.
    Only the operator writes these Secrets, unless a person edits one by hand. With `bypass_cache`, such an edit
    is seen at once.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, *, fresh_s: float = 0.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._fresh_s = fresh_s
        self._clock = clock
        self._cache: OrderedDict[str, tuple[float, dict[str, str]]] = OrderedDict()
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def read(self, namespace: str, name: str, *, bypass_cache: bool = False) -> NumberSecrets | None:
        """Returns the secrets of a number. Returns None if there are none or if the verify token is missing."""
        data = await self._read(number_secret_name(namespace, name), bypass_cache=bypass_cache)
        token = data.get("verifyToken")
        if not token:
            return None
        return NumberSecrets(
            token,
            data.get("previousVerifyToken") or None,
            data.get("previousAppSecret") or None,
            seconds(data.get("previousAppSecretUntil")) or 0.0,
        )

    async def save(self, namespace: str, name: str, found: NumberSecrets) -> None:
        """Replaces the secrets of a number."""
        data = {
            "verifyToken": found.verify_token,
            "previousVerifyToken": found.previous_verify_token,
            "previousAppSecret": found.previous_app_secret,
            "previousAppSecretUntil": timestamp(found.previous_app_secret_until) if found.previous_app_secret else None,
        }
        await self._apply(number_secret_name(namespace, name), data)

    async def delete(self, namespace: str, name: str) -> None:
        """Deletes the secrets of a number."""
        await self._delete(number_secret_name(namespace, name))

    async def read_refreshed(
        self, namespace: str, credentials: str, *, bypass_cache: bool = False
    ) -> RefreshedToken | None:
        """Returns the refreshed token of a credentials Secret, or None."""
        data = await self._read(refreshed_secret_name(namespace, credentials), bypass_cache=bypass_cache)
        token, source = data.get("accessToken"), data.get("source")
        if not token or not source:
            return None
        return RefreshedToken(token, source, data.get("retired") or None, seconds(data.get("retireAt")) or 0.0)

    async def save_refreshed(self, namespace: str, credentials: str, refreshed: RefreshedToken) -> None:
        """Replaces the refreshed token of a credentials Secret."""
        data = {
            "accessToken": refreshed.token,
            "source": refreshed.source,
            "retired": refreshed.retired,
            "retireAt": timestamp(refreshed.retire_at) if refreshed.retired else None,
        }
        await self._apply(refreshed_secret_name(namespace, credentials), data)

    async def delete_refreshed(self, namespace: str, credentials: str) -> None:
        """Deletes the refreshed token of a credentials Secret."""
        await self._delete(refreshed_secret_name(namespace, credentials))

    async def _read(self, name: str, *, bypass_cache: bool) -> dict[str, str]:
        async with self._lock(name):
            cached = self._cache.get(name)
            if cached is not None and not bypass_cache and self._clock() - cached[0] < self._fresh_s:
                return cached[1]
            data = _texts(await self._cluster.secret(self._namespace, name))
            self._remember(name, data)
            return data

    async def _apply(self, name: str, data: dict[str, str | None]) -> None:
        texts = {key: value for key, value in data.items() if value}
        async with self._lock(name):
            self._cache.pop(name, None)  # if the call fails, the write may still have been made
            await self._cluster.apply(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"namespace": self._namespace, "name": name, "labels": dict(LABELS)},
                    "type": "Opaque",
                    "data": {key: base64.b64encode(value.encode()).decode() for key, value in texts.items()},
                },
                manager=MANAGER,
            )
            self._remember(name, texts)

    async def _delete(self, name: str) -> None:
        async with self._lock(name):
            self._cache.pop(name, None)
            await self._cluster.delete("Secret", self._namespace, name)

    def _remember(self, name: str, data: dict[str, str]) -> None:
        now = self._clock()
        self._cache[name] = now, data
        self._cache.move_to_end(name)
        while self._cache and now - next(iter(self._cache.values()))[0] >= self._fresh_s:
            self._cache.popitem(last=False)

    def _lock(self, name: str) -> asyncio.Lock:
        """Returns the lock of a Secret. Without it, an outdated value could be cached after a write."""
        return self._locks.setdefault(name, asyncio.Lock())


def _texts(stored: Stored | None) -> dict[str, str]:
    return {key: value.decode("utf-8", "replace") for key, value in (stored.data if stored else {}).items()}
