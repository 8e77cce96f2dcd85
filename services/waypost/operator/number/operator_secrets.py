"""What the operator itself must remember and may show nobody: verify tokens, and access tokens that it refreshed.

Kept in Secrets of the release namespace, where no tenant reads or writes. A verify token belongs to a number; a
refreshed access token to a credentials Secret, for several numbers can share one.
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
from waypost.operator.cluster.registry_secrets import LABELS

MANAGER = "waypost-operator"
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Kept:
    """Of one number."""

    verify_token: str = field(repr=False)
    previous_verify_token: str | None = field(default=None, repr=False)
    previous_app_secret: str | None = field(default=None, repr=False)
    """The app secret before the one in use now; deliveries signed with it are still on their way."""
    previous_app_secret_until: float = 0.0
    """Seconds since 1970; after it the previous one is no longer accepted."""


@dataclass(frozen=True)
class Access:
    """A newer access token than the one in a credentials Secret."""

    token: str = field(repr=False)
    source: str
    """`digest` of the token that it was refreshed from, so that another one in the Secret takes precedence."""
    retired: str | None = field(default=None, repr=False)
    """The token that it replaces, until that is revoked."""
    retire_at: float = 0.0
    """Not revoked before: mounted Secrets take up to two minutes to reach every pod."""


def verify_token() -> str:
    """A fresh verify token. Letters and digits only: Meta mangles others on the way."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(40))


def digest(token: str) -> str:
    """Tells one token from another without being one."""
    return hashlib.sha256(token.encode()).hexdigest()


def number_secret_name(namespace: str, name: str) -> str:
    """Where a number's verify token is kept."""
    return f"waypost-number-{namespace}.{name}"


def access_secret_name(namespace: str, credentials: str) -> str:
    """Where the refreshed token of a credentials Secret is kept."""
    return f"waypost-access-{namespace}.{credentials}"


class Keeping:
    """Those Secrets in a cluster.

    One that was read or written less than `fresh_s` ago is not read again: a number is looked at several times until
    its webhook serves it, and most have no refreshed token. Nobody else writes them, but for a mistake.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, *, fresh_s: float = 0.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._fresh_s = fresh_s
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, dict[str, str]]] = OrderedDict()
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def read(self, namespace: str, name: str, *, anew: bool = False) -> Kept | None:
        """What is kept of a number; None if there is nothing, or no verify token in it."""
        data = await self._read(number_secret_name(namespace, name), anew=anew)
        token = data.get("verifyToken")
        if not token:
            return None
        return Kept(
            token,
            data.get("previousVerifyToken") or None,
            data.get("previousAppSecret") or None,
            seconds(data.get("previousAppSecretUntil")) or 0.0,
        )

    async def write(self, namespace: str, name: str, kept: Kept) -> None:
        """Replace what is kept of a number."""
        data = {
            "verifyToken": kept.verify_token,
            "previousVerifyToken": kept.previous_verify_token,
            "previousAppSecret": kept.previous_app_secret,
            "previousAppSecretUntil": timestamp(kept.previous_app_secret_until) if kept.previous_app_secret else None,
        }
        await self._apply(number_secret_name(namespace, name), data)

    async def forget(self, namespace: str, name: str) -> None:
        """Delete what is kept of a number."""
        await self._delete(number_secret_name(namespace, name))

    async def read_access(self, namespace: str, credentials: str, *, anew: bool = False) -> Access | None:
        """The refreshed token of a credentials Secret."""
        data = await self._read(access_secret_name(namespace, credentials), anew=anew)
        token, source = data.get("accessToken"), data.get("source")
        if not token or not source:
            return None
        return Access(token, source, data.get("retired") or None, seconds(data.get("retireAt")) or 0.0)

    async def write_access(self, namespace: str, credentials: str, access: Access) -> None:
        """Replace the refreshed token of a credentials Secret."""
        data = {
            "accessToken": access.token,
            "source": access.source,
            "retired": access.retired,
            "retireAt": timestamp(access.retire_at) if access.retired else None,
        }
        await self._apply(access_secret_name(namespace, credentials), data)

    async def forget_access(self, namespace: str, credentials: str) -> None:
        """Delete the refreshed token of a credentials Secret."""
        await self._delete(access_secret_name(namespace, credentials))

    async def _read(self, name: str, *, anew: bool) -> dict[str, str]:
        async with self._lock(name):
            known = self._known.get(name)
            if known is not None and not anew and self._clock() - known[0] < self._fresh_s:
                return known[1]
            data = _texts(await self._cluster.secret(self._namespace, name))
            self._remember(name, data)
            return data

    async def _apply(self, name: str, data: dict[str, str | None]) -> None:
        texts = {key: value for key, value in data.items() if value}
        async with self._lock(name):
            self._known.pop(name, None)  # who knows what is there, should this fail
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
            self._known.pop(name, None)
            await self._cluster.delete("Secret", self._namespace, name)

    def _remember(self, name: str, data: dict[str, str]) -> None:
        now = self._clock()
        self._known[name] = now, data
        self._known.move_to_end(name)
        while self._known and now - next(iter(self._known.values()))[0] >= self._fresh_s:
            self._known.popitem(last=False)

    def _lock(self, name: str) -> asyncio.Lock:
        """One at a time, or an answer from before a write would be remembered after it."""
        return self._locks.setdefault(name, asyncio.Lock())


def _texts(stored: Stored | None) -> dict[str, str]:
    return {key: value.decode("utf-8", "replace") for key, value in (stored.data if stored else {}).items()}
