"""Publishes the registry in Secrets of the release namespace.

Each number has one entry for the webhook and one for the workers. Each bot is stored once, however many numbers use
it. All numbers share these Secrets, because each Secret is mounted as a volume. An entry is one key in one of these
Secrets. Writing or removing an entry does not touch the entries of other numbers. Sizes are checked before a write,
and a namespace may have a quota, so that no team takes the room of another.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

import msgspec
import structlog

from waypost.contracts import bot_files
from waypost.contracts.condition_types import Reason
from waypost.contracts.registry import Number, Route
from waypost.operator.cluster.interface import Cluster, ClusterRefused
from waypost.operator.cluster.previous_registry import PreviousRegistry, home
from waypost.operator.cluster.quotas import Quotas
from waypost.operator.cluster.registry_shards import Shards

log = structlog.get_logger(__name__)

SHARDS = 64
"""Number of Secrets for each content of the registry. The chart mounts all of them, and those that do not exist yet are
optional."""
MOVED_KEEP_S = 120.0
"""Seconds until the earlier copy of a moved entry is removed. Kubelets see the changes of two Secrets in any order, and
an entry must not be absent in between."""
UNUSED_KEEP_S = 600.0
"""Seconds until a bot that no entry names is removed. A pod may still have an entry that names it."""

Entry = TypeVar("Entry", Route, Number)


@dataclass(frozen=True)
class Published:
    """The published entries of one number. An entry is None if it does not exist or cannot be read."""

    route: Route | None = field(default=None, repr=False)
    number: Number | None = field(default=None, repr=False)
    """The entry for workers, without the text of its bot."""
    shard: int | None = None
    """Number of the Secret that holds the workers' entry. None if only the layout of the previous version has it."""
    script: str | None = field(default=None, repr=False)
    """The text of its bot, if the layout of the previous version has it."""
    is_bot_stored: bool = True
    """Whether the bot that the entry names is in the registry. It is not if a person has deleted its Secret."""


@dataclass(frozen=True)
class _Wanted:
    """The number of bytes that a number's entries and bot will take in the registry."""

    entries: int
    """Bytes of both entries."""
    digest: str | None
    bot: int
    """Bytes of its bot."""


@dataclass(frozen=True)
class Use:
    """The part of a quota that a namespace uses, in bytes."""

    used: int
    quota: int


class NoRoom(ClusterRefused):
    """Raised when the registry cannot take what a number wants to publish.

    Either the number's namespace has used up its quota, or all Secrets are full. `reason` says which of the two
    is true. A retry makes sense after something was removed.
    """


def key(namespace: str, name: str) -> str:
    """Returns the key of a number's entry in its Secret. The key becomes a file name.

    A namespace contains no dot, so the first dot in the key ends the namespace.
    """
    return f"{namespace}.{name}.json"


class Registry:
    """Reads and writes the registry's Secrets in a cluster.

    A Secret that was read less than `fresh_s` seconds ago is not read again, because each Secret holds the
    entries of hundreds of numbers. Only the operator writes these Secrets, unless a person edits one by hand.
    """

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        shards: int = SHARDS,
        *,
        fresh_s: float = 0.0,
        clock: Callable[[], float] = time.time,
        quota_bytes: int = 0,
    ) -> None:
        self._clock = clock
        self._routes = Shards(cluster, namespace, "webhook", shards, fresh_s=fresh_s, clock=clock)
        self._numbers = Shards(cluster, namespace, "number", shards, fresh_s=fresh_s, clock=clock)
        self._bots = Shards(cluster, namespace, "bot", shards, fresh_s=fresh_s, clock=clock, keeps_contents=False)
        self._previous = PreviousRegistry(cluster, namespace, clock)
        self._quotas = Quotas(cluster, quota_bytes, clock)
        self._wanted: dict[str, _Wanted] = {}
        self._used_at: dict[str, float] = {}
        self._moved_at: dict[tuple[str, str, int], float] = {}

    async def read(self, namespace: str, name: str) -> Published:
        """Returns the published entries of a number. Raises `ClusterError`."""
        where = key(namespace, name)
        route = _decoded(await self._routes.get(where), Route)
        number = _decoded(await self._numbers.get(where), Number)
        if number is not None:
            is_stored = number.bot_digest is None or await self._is_stored(number.bot_digest)
            return Published(route, number, self._numbers.place(where), is_bot_stored=is_stored)
        previous = await self._previous.get(namespace, name, where)
        if previous is None:
            return Published(route)
        return Published(route, msgspec.structs.replace(previous, bot=None), None, previous.bot)

    async def write(self, published: Published, route: Route, number: Number, script: str | None = None) -> bool:
        """Publishes the entries that differ from `published`. Returns whether any entry was written.

        `script` is the text of the number's bot. It may be None if the registry has the bot. Raises `ClusterError`.
        Raises `NoRoom` if the registry has no room for the number. In that case nothing has changed, except that the
        bot's file may have been written.
        """
        where = key(number.namespace, number.name)
        await self._load()
        quota = await self._quotas.registry_bytes(number.namespace)
        if quota is not None:
            entries = 2 * len(where) + len(msgspec.json.encode(route)) + len(msgspec.json.encode(number))
            wanted = _Wanted(entries, number.bot_digest, self._bot_size(number.bot_digest, script))
            if over := self._over_quota(number.namespace, where, wanted, quota):
                raise over
            self._wanted[where] = wanted
        written = False
        try:
            if number.bot_digest is not None:
                # The bot first: a worker leaves out a new number until it can read the bot.
                written |= await self._store(number.bot_digest, script)
            if published.number != number or published.shard is None:
                await self._put(self._numbers, where, number)
                await self._previous.follow(number, script, where)
                written = True
            # The webhook last: what it takes in, a worker can then answer.
            if published.route != route:
                await self._put(self._routes, where, route)
                written = True
        finally:
            self._wanted.pop(where, None)
        return written

    async def withdraw(self, namespace: str, name: str) -> None:
        """Removes both entries of a number, if they exist. Raises `ClusterError`."""
        where = key(namespace, name)
        await self._routes.remove(where)
        await self._numbers.remove(where)
        await self._previous.remove(namespace, name, where)

    async def use(self, namespace: str) -> Use | None:
        """Returns how much of its quota a namespace uses, or None if it has no quota. Raises `ClusterError`."""
        quota = await self._quotas.registry_bytes(namespace)
        if quota is None:
            return None
        await self._load()
        return Use(self._used(namespace), quota)

    async def refusal(self, namespace: str, name: str, script: str) -> NoRoom | None:
        """Returns why the registry cannot take this script as the bot of a published number, or None if it can.

        Raises `ClusterError`.
        """
        await self._load()
        digest, where = bot_files.digest_of(script), key(namespace, name)
        quota = await self._quotas.registry_bytes(namespace)
        if quota is not None:
            entries = self._routes.size(where) + self._numbers.size(where)
            wanted = _Wanted(entries, digest, self._bot_size(digest, script))
            if over := self._over_quota(namespace, where, wanted, quota):
                return over
        file = bot_files.file_name(digest)
        if self._bots.place(file) is None and self._bots.choose(file, bot_files.pack(script)) is None:
            return _full()
        return None

    async def names(self) -> set[tuple[str, str]]:
        """Returns namespace and name of every number that has a published entry.

        All Secrets are read again. Raises `ClusterError`.
        """
        await self._routes.refresh()
        await self._numbers.refresh()
        found = [where for shards in (self._routes, self._numbers) for where, _ in shards.items()]
        found += [where for where, _ in await self._previous.items()]
        parts = [each.removesuffix(".json").partition(".") for each in found]
        return {(namespace, name) for namespace, _, name in parts}

    async def carries(self, token: str) -> bool:
        """Returns whether the published entry of any number contains the access token `token`.

        Raises `ClusterError`.
        """
        await self._load()
        quoted = msgspec.json.encode(token)
        contents = [content for _, content in (*self._numbers.items(), *await self._previous.items())]
        entries = (_decoded(content, Number) for content in contents if quoted in content)
        return any(entry is not None and entry.access_token == token for entry in entries)

    async def tidy(self) -> None:
        """Removes what is of no use any more: copies of moved entries, and bots that no number has.

        It also takes over entries of the previous version whose numbers are not reconciled, for example because they
        are suspended. Call this once per resync interval. Raises `ClusterError`.
        """
        await self._load()
        await self._take_over()
        await self._bots.refresh()
        now = self._clock()
        moved = {
            (name, where, shard): shards
            for name, shards in (("route", self._routes), ("number", self._numbers), ("bot", self._bots))
            for where, shard in shards.moved()
        }
        self._moved_at = {each: self._moved_at.get(each, now) for each in moved}
        for (name, where, shard), shards in moved.items():
            if now - self._moved_at[name, where, shard] >= MOVED_KEEP_S:
                await shards.remove_copy(where, shard)
        used = {bot_files.file_name(digest) for _, content in self._numbers.items() if (digest := _digest(content))}
        stored = {where for where, _ in self._bots.items()}
        self._used_at = {each: at for each, at in self._used_at.items() if each in stored}
        for where in stored:
            if where in used:
                self._used_at[where] = now
            elif now - self._used_at.setdefault(where, now) >= UNUSED_KEEP_S:
                await self._bots.remove(where)
        await self._previous.tidy(lambda where: self._numbers.stored(where) is not None)

    async def _take_over(self) -> None:
        entries = [(where, _decoded(content, Number)) for where, content in await self._previous.items()]
        waiting = [(where, entry) for where, entry in entries if entry and self._numbers.place(where) is None]
        await asyncio.gather(*(self._take_over_one(where, entry) for where, entry in waiting))

    async def _take_over_one(self, where: str, entry: Number) -> None:
        try:
            if entry.bot is not None and entry.bot_digest is not None:
                await self._store(entry.bot_digest, entry.bot)
            if self._numbers.place(where) is None:  # otherwise a reconcile came first, with newer content
                await self._put(self._numbers, where, msgspec.structs.replace(entry, bot=None))
        except NoRoom as error:
            log.warning("an entry of the previous version stays where it is", number=where, reason=error.reason)

    async def _load(self) -> None:
        for shards in (self._routes, self._numbers, self._bots):
            await shards.load()

    async def _is_stored(self, digest: str) -> bool:
        return await self._bots.get(bot_files.file_name(digest)) is not None

    async def _store(self, digest: str, script: str | None) -> bool:
        """Writes a bot if the registry does not have it yet. Returns whether the bot was written."""
        where = bot_files.file_name(digest)
        self._used_at[where] = self._clock()  # from here on `tidy` leaves it alone
        if script is None or await self._is_stored(digest):
            return False
        await self._put_content(self._bots, where, bot_files.pack(script))
        return True

    async def _put(self, shards: Shards, where: str, entry: Route | Number) -> None:
        first = home(entry.namespace, entry.name)
        await self._put_content(shards, where, msgspec.json.encode(entry), first=first)

    async def _put_content(self, shards: Shards, where: str, content: bytes, *, first: int | None = None) -> None:
        shard = shards.choose(where, content, home=first)
        if shard is None:
            raise _full()
        await shards.put(where, content, shard)

    def _bot_size(self, digest: str | None, script: str | None) -> int:
        """Returns how many bytes a bot takes, or will take."""
        if digest is None:
            return 0
        file = bot_files.file_name(digest)
        return self._bots.size(file) or (len(file) + len(bot_files.pack(script)) if script is not None else 0)

    def _over_quota(self, namespace: str, where: str, wanted: _Wanted, quota: int) -> NoRoom | None:
        """Returns a refusal if the number's new entries would exceed the quota, or None if they fit.

        The entries are refused if the namespace would then use more than its quota and also more than it uses now.
        """
        before, after = self._used(namespace), self._used(namespace, {where: wanted})
        if not before < after > quota:
            return None
        message = (
            f"The numbers of this namespace and their bots would take {after:,} bytes of the registry, and its quota "
            f"is {quota:,}. Make a bot smaller or delete a number, or ask the people who run the platform for more."
        )
        return NoRoom(Reason.QUOTA_EXCEEDED, message)

    def _used(self, namespace: str, wanted: Mapping[str, _Wanted] = MappingProxyType({})) -> int:
        """Returns how many bytes a namespace uses: its entries, and each bot of its numbers once.

        The entries in `wanted` are counted with their future size instead of their present size. An entry that is
        being written is counted as if it were already written.
        """
        own = {where: each for where, each in self._wanted.items() if where.partition(".")[0] == namespace}
        own.update(wanted)
        total, bots = 0, dict[str, int]()
        for where in {*self._routes.keys_of(namespace), *self._numbers.keys_of(namespace), *own}:
            if (each := own.get(where)) is not None:
                total, digest, bot = total + each.entries, each.digest, each.bot
            else:
                total += self._routes.size(where) + self._numbers.size(where)
                digest = _digest(self._numbers.stored(where) or b"{}")
                bot = self._bot_size(digest, None)
            if digest is not None:
                bots[digest] = bot
        return total + sum(bots.values())


class _Digest(msgspec.Struct, rename="camel"):
    bot_digest: str | None = None


def _digest(content: bytes) -> str | None:
    try:
        return msgspec.json.decode(content, type=_Digest).bot_digest
    except msgspec.MsgspecError:
        return None


def _full() -> NoRoom:
    message = "All Secrets of the registry are full. Ask the people who run the platform to make room."
    return NoRoom(Reason.REGISTRY_FULL, message)


def _decoded(content: bytes | None, kind: type[Entry]) -> Entry | None:
    if content is None:
        return None
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.MsgspecError:
        return None
