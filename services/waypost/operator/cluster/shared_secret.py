"""Writes one Secret that holds the entries of many objects.

Changes are collected and written in few small patches. Server-side apply with a field manager for each entry
would best express who owns each key. But it is too slow. With 250 managers, one apply was measured to cost
the API server a second. When several applies run at once, the API server repeats that work until they time
out. A merge patch names just the keys that change. Its cost does not depend on the number of keys.
"""

import asyncio
import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from waypost.operator.cluster.interface import ClusterConflict, ClusterRefused, Manifest

MOST = 300
"""Most entries in one patch; together they are about 200 kB, unless they are bots."""
MOST_BYTES = 262_144
"""Bytes of entries in a patch from which further entries go with the next one."""
SPACING_S = 1.0
"""Seconds between two patches of one Secret: for each, the API server processes the whole Secret, hundreds of kB."""

Patch = Callable[[Manifest], Awaitable[bool]]
"""Merge-patches the Secret; returns False if it does not exist."""
Create = Callable[[Manifest], Awaitable[object]]
"""Creates the Secret; raises `ClusterConflict` if it exists."""


@dataclass
class _Pending:
    entries: dict[str, bytes | None] = field(default_factory=dict, repr=False)
    done: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    refused: dict[str, ClusterRefused] = field(default_factory=dict, repr=False)
    """Entries that the API server refused, with its error."""

    @property
    def is_full(self) -> bool:
        """Whether this patch is full, so that no further entry may be added to it."""
        size = sum(len(content) for content in self.entries.values() if content is not None)
        return len(self.entries) >= MOST or size >= MOST_BYTES


class SharedSecret:
    """Writes one Secret.

    A change that is requested during a patch or shortly after it is written with the next patch.
    """

    def __init__(
        self,
        manifest: Manifest,
        patch: Patch,
        create: Create,
        *,
        sleep: Callable[[float], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._manifest = manifest
        self._patch = patch
        self._create = create
        self._sleep = sleep
        self._clock = clock
        self._pending: list[_Pending] = []
        self._next_at = float("-inf")
        self._turn = asyncio.Lock()

    async def write(self, key: str, content: bytes | None) -> None:
        """Sets one key, or removes the key if `content` is None. Returns when the change is written.

        If the patch that contains the change fails, raises the error of the patch. If the caller is cancelled before
        the patch has begun, the change is not written.
        """
        batch = self._pending[-1] if self._pending else None
        if batch is None or batch.is_full:
            batch = _Pending()
            self._pending.append(batch)
        batch.entries[key] = content
        try:
            async with self._turn:
                if not batch.done.done():
                    if (wait_s := self._next_at - self._clock()) > 0:
                        await self._sleep(wait_s)
                    await self._send(batch)
        except asyncio.CancelledError:
            self._give_up(batch, key)
            raise
        batch.done.result()
        if key in batch.refused:
            raise batch.refused[key]

    def _give_up(self, batch: _Pending, key: str) -> None:
        if batch in self._pending:
            batch.entries.pop(key, None)
            if not batch.entries:
                self._pending.remove(batch)

    async def _send(self, batch: _Pending) -> None:
        """Sends one patch for all changes of `batch`. Every caller gets the result or the error of the patch."""
        self._pending.remove(batch)
        self._next_at = self._clock() + SPACING_S
        try:
            await self._put_all(batch)
        except Exception as error:  # noqa: BLE001 - handed on to everybody whose entry it was
            batch.done.set_exception(error)
        except BaseException:  # this one was cancelled, the others were not: one of them sends again
            self._pending.insert(0, batch)
            raise
        else:
            batch.done.set_result(None)

    async def _put_all(self, batch: _Pending) -> None:
        try:
            await self._put(batch.entries)
        except ClusterRefused:
            if len(batch.entries) == 1:
                raise
            # One of the entries is the reason, and the others belong to other teams.
            for key, content in batch.entries.items():
                try:
                    await self._put({key: content})
                except ClusterRefused as error:
                    batch.refused[key] = error

    async def _put(self, entries: dict[str, bytes | None]) -> None:
        data = {key: None if value is None else base64.b64encode(value).decode() for key, value in entries.items()}
        patch = {"metadata": {"labels": self._manifest["metadata"].get("labels") or {}}, "data": data}
        if await self._patch(patch):
            return
        present = {key: value for key, value in data.items() if value is not None}
        if not present:
            return
        try:
            await self._create({**self._manifest, "data": present})
        except ClusterConflict:  # another process has just created it
            await self._patch(patch)
