"""Carries updates to callbacks as Meta does: signed, concurrent, batched, and again until it gets a 200."""

import asyncio
import hashlib
import hmac
import random
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache

import httpx
import msgspec
import structlog

from waypost.simulator.world.config import SimulatorConfig
from waypost.simulator.world.deliveries import Update, body, route
from waypost.simulator.world.world import World

log = structlog.get_logger(__name__)

WAITING_MAX = 200_000
"""Updates held for callbacks that do not answer; beyond it new ones are dropped and counted."""


KEPT_BODIES = 500
KEPT_BODY_BYTES = 65_536


class Attempt(msgspec.Struct, kw_only=True):
    """One POST to a callback and what came of it."""

    id: int
    app_id: str
    url: str
    attempt: int
    updates: int
    bytes: int
    started_at: float
    ended_at: float = 0.0
    status: int | None = None
    error: str | None = None


class Ticket:
    """Lets the one who caused an update wait for its first attempts."""

    def __init__(self) -> None:
        self.outcomes: list[Attempt] = []
        self.expected = 0
        self.accepted = False
        """Whether any callback has taken it, at whatever attempt."""
        self._complete = asyncio.Event()

    def report(self, attempt: Attempt) -> None:
        self.outcomes.append(attempt)
        if len(self.outcomes) >= self.expected:
            self._complete.set()

    async def wait(self, timeout_s: float) -> None:
        """Return once every first attempt has ended, or the time is up."""
        if len(self.outcomes) >= self.expected:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._complete.wait()
        except TimeoutError:
            return


Entry = tuple[Update, Ticket | None]


class Parcel:
    """A composed body on its way to one callback."""

    __slots__ = ("app_id", "attempts", "body", "entries", "first_at", "is_copy", "url")

    def __init__(self, app_id: str, url: str, entries: list[Entry], *, now: float, is_copy: bool = False) -> None:
        self.app_id = app_id
        self.url = url
        self.entries = entries
        self.body = body(update for update, _ in entries)
        self.first_at = now
        self.attempts = 0
        self.is_copy = is_copy
        """A repetition nobody waits for: it is not tried again."""


class Channel:
    """What waits for one callback of one app."""

    __slots__ = ("in_flight", "pending", "ready")

    def __init__(self) -> None:
        self.pending: deque[Entry] = deque()
        self.ready: deque[Parcel] = deque()
        self.in_flight = 0


class Courier:
    """All channels. Needs a running event loop from the first `submit` on; `close` drops what waits."""

    def __init__(self, world: World, config: Callable[[], SimulatorConfig], now: Callable[[], float]) -> None:
        self.attempts: deque[Attempt] = deque(maxlen=config().kept_deliveries)
        self.bodies: deque[tuple[Attempt, bytes]] = deque(maxlen=KEPT_BODIES)
        """The last bodies, for a look and for `repeat`."""
        self.dropped = 0
        self.accepted = 0
        self._world = world
        self._config = config
        self._now = now
        self._channels: dict[tuple[str, str], Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._client: httpx.AsyncClient | None = None
        self._waiting = 0
        self._counter = 0

    @property
    def waiting(self) -> int:
        """Updates that no callback has taken yet."""
        return self._waiting

    @property
    def client(self) -> httpx.AsyncClient:
        """The one connection pool, which also serves the callback verification."""
        if self._client is None:
            ca_file = self._config().ca_file
            self._client = httpx.AsyncClient(
                verify=_trust(ca_file),
                trust_env=False,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
                headers={"user-agent": "facebookexternalua", "accept": "*/*"},
            )
        return self._client

    def submit(self, updates: Iterable[Update], ticket: Ticket | None = None) -> None:
        """Queue each update for every app that is subscribed to it."""
        touched: set[tuple[str, str]] = set()
        for update in updates:
            for app, url in route(self._world, update):
                if self._waiting >= WAITING_MAX:
                    self.dropped += 1
                    continue
                if ticket is not None:
                    ticket.expected += 1
                key = (app.app_id, url)
                self._channels.setdefault(key, Channel()).pending.append((update, ticket))
                self._waiting += 1
                touched.add(key)
        for key in touched:
            self._pump(key)

    def repeat(self, count: int, *, times: int = 1, shuffle: bool = False) -> int:
        """Send the last `count` recorded bodies again, as Meta's own duplicates come; how many were queued."""
        recent = list(self.bodies)[-count:] * times
        if shuffle:
            random.shuffle(recent)
        for attempt, content in recent:
            parcel = Parcel(attempt.app_id, attempt.url, [], now=self._now(), is_copy=True)
            parcel.body = content
            self._enqueue(parcel)
        return len(recent)

    def forget(self) -> None:
        """Drop what waits and what was recorded; deliveries in flight end by themselves and are not repeated."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._channels = {}
        self.attempts.clear()
        self.bodies.clear()
        self._waiting = 0
        self.dropped = self.accepted = 0

    async def close(self) -> None:
        """Stop all deliveries and close the connections."""
        self.forget()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _enqueue(self, parcel: Parcel) -> None:
        key = (parcel.app_id, parcel.url)
        self._channels.setdefault(key, Channel()).ready.append(parcel)
        self._pump(key)

    def _pump(self, key: tuple[str, str]) -> None:
        channel = self._channels.get(key)
        config = self._config()
        while channel and (channel.ready or channel.pending) and channel.in_flight < config.delivery_concurrency:
            parcel = channel.ready.popleft() if channel.ready else self._compose(key, channel, config)
            channel.in_flight += 1
            task = asyncio.get_running_loop().create_task(self._carry(key, channel, parcel))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _compose(self, key: tuple[str, str], channel: Channel, config: SimulatorConfig) -> Parcel:
        if config.shuffle:
            random.shuffle(channel.pending)
        entries = [channel.pending.popleft()]
        size = len(entries[0][0].item) + 400
        while channel.pending and len(entries) < config.batch_max:
            size += len(channel.pending[0][0].item) + 200
            if size > config.body_max_bytes:
                break
            entries.append(channel.pending.popleft())
        parcel = Parcel(*key, entries, now=self._now())
        for _ in range(config.duplicates):
            channel.ready.append(Parcel(*key, entries, now=self._now(), is_copy=True))
        return parcel

    async def _carry(self, key: tuple[str, str], channel: Channel, parcel: Parcel) -> None:
        try:
            attempt = await self._post(parcel)
        finally:
            channel.in_flight -= 1
        if self._channels.get(key) is not channel:
            return
        if not parcel.is_copy:
            if parcel.attempts == 1:
                for _, ticket in parcel.entries:
                    if ticket is not None:
                        ticket.report(attempt)
            if attempt.status == 200:
                for _, ticket in parcel.entries:
                    if ticket is not None:
                        ticket.accepted = True
                self._waiting -= len(parcel.entries)
                self.accepted += len(parcel.entries)
            else:
                self._later(parcel)
        self._pump(key)

    async def _post(self, parcel: Parcel) -> Attempt:
        app = self._world.apps.get(parcel.app_id)
        secret = app.app_secret if app else ""
        parcel.attempts += 1
        self._counter += 1
        attempt = Attempt(
            id=self._counter,
            app_id=parcel.app_id,
            url=parcel.url,
            attempt=parcel.attempts,
            updates=len(parcel.entries),
            bytes=len(parcel.body),
            started_at=self._now(),
        )
        digest = hmac.new(secret.encode(), parcel.body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-hub-signature-256": f"sha256={digest}"}
        try:
            response = await self.client.post(
                parcel.url, content=parcel.body, headers=headers, timeout=self._config().delivery_timeout_s
            )
            attempt.status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            attempt.error = type(error).__name__
        attempt.ended_at = self._now()
        self.attempts.append(attempt)
        if len(parcel.body) <= KEPT_BODY_BYTES:
            self.bodies.append((attempt, parcel.body))
        return attempt

    def _later(self, parcel: Parcel) -> None:
        config = self._config()
        delays = config.retry_delays_s
        delay = delays[min(parcel.attempts, len(delays)) - 1]
        if self._now() - parcel.first_at > config.give_up_after_s:
            self._waiting -= len(parcel.entries)
            self.dropped += len(parcel.entries)
            log.warning("delivery_given_up", app_id=parcel.app_id, updates=len(parcel.entries))
            return

        def due() -> None:
            self._timers.discard(timer)
            self._again(parcel)

        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)

    def _again(self, parcel: Parcel) -> None:
        here = (parcel.app_id, parcel.url)
        routes = [
            (update, {(app.app_id, url) for app, url in route(self._world, update)}) for update, _ in parcel.entries
        ]
        if all(here in targets for _, targets in routes):
            self._enqueue(parcel)
        else:
            self._move(parcel)
        if self._config().retries_reach_all_apps:
            others = {key for _, targets in routes for key in targets if key[0] != parcel.app_id}
            for app_id, url in others:
                self._enqueue(Parcel(app_id, url, parcel.entries, now=self._now(), is_copy=True))

    def _move(self, parcel: Parcel) -> None:
        """The callback changed while the parcel waited: its updates go where they would go now."""
        self._waiting -= len(parcel.entries)
        for update, ticket in parcel.entries:
            for app, url in route(self._world, update):
                if app.app_id == parcel.app_id:
                    self._channels.setdefault((app.app_id, url), Channel()).pending.append((update, ticket))
                    self._waiting += 1
                    self._pump((app.app_id, url))


@lru_cache(maxsize=4)
def _trust(ca_file: str | None) -> ssl.SSLContext:
    """Reading all certificates takes 50 ms, so it is done once per process."""
    return ssl.create_default_context(cafile=ca_file)
