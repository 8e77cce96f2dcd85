"""Delivers updates to callbacks as Meta does.

Updates are delivered in signed batches, and several deliveries run at the same time. Each delivery is
repeated until the callback answers 200.
"""

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
"""The most updates that may wait for callbacks. Further updates are dropped and counted."""

BODIES_MAX = 500
BODY_BYTES_MAX = 65_536


class Attempt(msgspec.Struct, kw_only=True):
    """One POST to a callback, and the result of the request."""

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


class DeliveryReceipt:
    """Collects the first attempts to deliver an update.

    The request that caused the update can wait until these attempts have ended.
    """

    def __init__(self) -> None:
        self.first_attempts: list[Attempt] = []
        self.expected = 0
        self.accepted = False
        """Whether any callback has answered 200, at any attempt."""
        self._complete = asyncio.Event()

    def record(self, attempt: Attempt) -> None:
        """Records a first attempt that has ended."""
        self.first_attempts.append(attempt)
        if len(self.first_attempts) >= self.expected:
            self._complete.set()

    async def wait(self, timeout_s: float) -> None:
        """Returns when every first attempt has ended, but at the latest after `timeout_s`."""
        if len(self.first_attempts) >= self.expected:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._complete.wait()
        except TimeoutError:
            return


QueuedUpdate = tuple[Update, DeliveryReceipt | None]
"""An update that waits for a callback, and the receipt that records its first attempt, if anything waits for it."""


class Delivery:
    """A delivery for one callback: its body, and the updates in it."""

    __slots__ = ("app_id", "attempts", "body", "first_at", "is_copy", "updates", "url")

    def __init__(
        self, app_id: str, url: str, updates: list[QueuedUpdate], *, now: float, is_copy: bool = False
    ) -> None:
        self.app_id = app_id
        self.url = url
        self.updates = updates
        self.body = body(update for update, _ in updates)
        self.first_at = now
        self.attempts = 0
        self.is_copy = is_copy
        """Whether this delivery repeats updates of another delivery. A copy is sent once, whatever the answer."""


class CallbackQueue:
    """The updates and deliveries that wait for one callback of one app."""

    __slots__ = ("in_flight", "pending", "ready")

    def __init__(self) -> None:
        self.pending: deque[QueuedUpdate] = deque()
        self.ready: deque[Delivery] = deque()
        self.in_flight = 0


class DeliverySender:
    """Queues updates for each callback and sends them. It must be used inside a running event loop.

    `close` drops the updates that are still waiting.
    """

    def __init__(self, world: World, config: Callable[[], SimulatorConfig], now: Callable[[], float]) -> None:
        self.attempts: deque[Attempt] = deque(maxlen=config().kept_deliveries)
        self.bodies: deque[tuple[Attempt, bytes]] = deque(maxlen=BODIES_MAX)
        """The bodies of the last deliveries, for `/_sim/deliveries` and for `resend`."""
        self.dropped = 0
        self.accepted = 0
        self._world = world
        self._config = config
        self._now = now
        self._queues: dict[tuple[str, str], CallbackQueue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: set[asyncio.TimerHandle] = set()
        self._client: httpx.AsyncClient | None = None
        self._waiting = 0
        self._counter = 0

    @property
    def waiting(self) -> int:
        """Returns the number of updates that wait for a callback to answer 200."""
        return self._waiting

    @property
    def client(self) -> httpx.AsyncClient:
        """Returns the connection pool, which the verification of callbacks uses too."""
        if self._client is None:
            ca_file = self._config().ca_file
            self._client = httpx.AsyncClient(
                verify=_ssl_context(ca_file),
                trust_env=False,
                follow_redirects=False,
                limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
                headers={"user-agent": "facebookexternalua", "accept": "*/*"},
            )
        return self._client

    def submit(self, updates: Iterable[Update], receipt: DeliveryReceipt | None = None) -> None:
        """Queues each update for every app that is subscribed to its field."""
        touched: set[tuple[str, str]] = set()
        for update in updates:
            for app, url in route(self._world, update):
                if self._waiting >= WAITING_MAX:
                    self.dropped += 1
                    continue
                if receipt is not None:
                    receipt.expected += 1
                key = (app.app_id, url)
                self._queues.setdefault(key, CallbackQueue()).pending.append((update, receipt))
                self._waiting += 1
                touched.add(key)
        for key in touched:
            self._start_deliveries(key)

    def resend(self, count: int, *, times: int = 1, shuffle: bool = False) -> int:
        """Sends the last `count` bodies again, in the way in which Meta sends duplicates.

        Returns how many deliveries were queued.
        """
        recent = list(self.bodies)[-count:] * times
        if shuffle:
            random.shuffle(recent)
        for attempt, content in recent:
            delivery = Delivery(attempt.app_id, attempt.url, [], now=self._now(), is_copy=True)
            delivery.body = content
            self._enqueue(delivery)
        return len(recent)

    def clear(self) -> None:
        """Drops all waiting updates and all records.

        Deliveries that are in flight still end, but they are not retried.
        """
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._queues = {}
        self.attempts.clear()
        self.bodies.clear()
        self._waiting = 0
        self.dropped = self.accepted = 0

    async def close(self) -> None:
        """Stops all deliveries and closes the connections."""
        self.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _enqueue(self, delivery: Delivery) -> None:
        key = (delivery.app_id, delivery.url)
        self._queues.setdefault(key, CallbackQueue()).ready.append(delivery)
        self._start_deliveries(key)

    def _start_deliveries(self, key: tuple[str, str]) -> None:
        queue = self._queues.get(key)
        config = self._config()
        while queue and (queue.ready or queue.pending) and queue.in_flight < config.delivery_concurrency:
            delivery = queue.ready.popleft() if queue.ready else self._compose(key, queue, config)
            queue.in_flight += 1
            task = asyncio.get_running_loop().create_task(self._deliver(key, queue, delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _compose(self, key: tuple[str, str], queue: CallbackQueue, config: SimulatorConfig) -> Delivery:
        if config.shuffle:
            random.shuffle(queue.pending)
        updates = [queue.pending.popleft()]
        size = len(updates[0][0].item) + 400
        while queue.pending and len(updates) < config.batch_max:
            size += len(queue.pending[0][0].item) + 200
            if size > config.body_max_bytes:
                break
            updates.append(queue.pending.popleft())
        delivery = Delivery(*key, updates, now=self._now())
        for _ in range(config.duplicates):
            queue.ready.append(Delivery(*key, updates, now=self._now(), is_copy=True))
        return delivery

    async def _deliver(self, key: tuple[str, str], queue: CallbackQueue, delivery: Delivery) -> None:
        try:
            attempt = await self._post(delivery)
        finally:
            queue.in_flight -= 1
        if self._queues.get(key) is not queue:
            # `clear` was called in the meantime.
            return
        if not delivery.is_copy:
            if delivery.attempts == 1:
                for _, receipt in delivery.updates:
                    if receipt is not None:
                        receipt.record(attempt)
            if attempt.status == 200:
                for _, receipt in delivery.updates:
                    if receipt is not None:
                        receipt.accepted = True
                self._waiting -= len(delivery.updates)
                self.accepted += len(delivery.updates)
            else:
                self._schedule_retry(delivery)
        self._start_deliveries(key)

    async def _post(self, delivery: Delivery) -> Attempt:
        app = self._world.apps.get(delivery.app_id)
        secret = app.app_secret if app else ""
        delivery.attempts += 1
        self._counter += 1
        attempt = Attempt(
            id=self._counter,
            app_id=delivery.app_id,
            url=delivery.url,
            attempt=delivery.attempts,
            updates=len(delivery.updates),
            bytes=len(delivery.body),
            started_at=self._now(),
        )
        digest = hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest()
        headers = {"content-type": "application/json", "x-hub-signature-256": f"sha256={digest}"}
        try:
            response = await self.client.post(
                delivery.url, content=delivery.body, headers=headers, timeout=self._config().delivery_timeout_s
            )
            attempt.status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            attempt.error = type(error).__name__
        attempt.ended_at = self._now()
        self.attempts.append(attempt)
        if len(delivery.body) <= BODY_BYTES_MAX:
            self.bodies.append((attempt, delivery.body))
        return attempt

    def _schedule_retry(self, delivery: Delivery) -> None:
        config = self._config()
        delays = config.retry_delays_s
        delay = delays[min(delivery.attempts, len(delays)) - 1]
        if self._now() - delivery.first_at > config.give_up_after_s:
            self._waiting -= len(delivery.updates)
            self.dropped += len(delivery.updates)
            log.warning("delivery_given_up", app_id=delivery.app_id, updates=len(delivery.updates))
            return

        def due() -> None:
            self._timers.discard(timer)
            self._retry(delivery)

        timer = asyncio.get_running_loop().call_later(delay, due)
        self._timers.add(timer)

    def _retry(self, delivery: Delivery) -> None:
        # Subscriptions and callbacks may have changed since the last attempt.
        target = (delivery.app_id, delivery.url)
        routes = [
            (update, {(app.app_id, url) for app, url in route(self._world, update)}) for update, _ in delivery.updates
        ]
        if all(target in targets for _, targets in routes):
            self._enqueue(delivery)
        else:
            self._reroute(delivery)
        if self._config().retries_reach_all_apps:
            others = {key for _, targets in routes for key in targets if key[0] != delivery.app_id}
            for app_id, url in others:
                self._enqueue(Delivery(app_id, url, delivery.updates, now=self._now(), is_copy=True))

    def _reroute(self, delivery: Delivery) -> None:
        """After a callback has changed, queues the updates of a delivery for the new callback."""
        self._waiting -= len(delivery.updates)
        for update, receipt in delivery.updates:
            for app, url in route(self._world, update):
                if app.app_id == delivery.app_id:
                    self._queues.setdefault((app.app_id, url), CallbackQueue()).pending.append((update, receipt))
                    self._waiting += 1
                    self._start_deliveries((app.app_id, url))


@lru_cache(maxsize=4)
def _ssl_context(ca_file: str | None) -> ssl.SSLContext:
    """Returns a TLS context that trusts the certificates in `ca_file`.

    The context is cached, because reading the certificates takes 50 ms.
    """
    return ssl.create_default_context(cafile=ca_file)
