"""`waypost worker`: one process that drains lanes and sends what they say."""

import signal
import threading
import time
from types import FrameType
from uuid import uuid4

import structlog
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from waypost import registry
from waypost.cloudapi.client import GraphClient
from waypost.lanes import job, wake
from waypost.lanes.drain import Drain
from waypost.lanes.sweeper import Sweeper
from waypost.sending.limits import RateLimits
from waypost.sending.sender import Sender
from waypost.settings import Settings
from waypost.store import lanes, numbers
from waypost.store.database import connect
from waypost.telemetry import logs, probes, tracing
from waypost.worker.bots import Bots
from waypost.worker.deadline import Deadline
from waypost.worker.rq_worker import LaneWorker
from waypost.worker.rq_worker import connect as connect_rq
from waypost.worker.sending import SenderThread
from waypost.worker.turns import Turns

log = structlog.get_logger(__name__)

DIRECT_LOOK_S = 0.25
"""How often a worker looks for due lanes itself while Redis is away."""


class Worker:
    """The parts of one worker process, put together."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._owner = uuid4().hex[:12]
        self._stop = threading.Event()
        self._engine = connect(settings.database_url, application="waypost-worker", pool_size=6)
        self._redis = wake.connect(settings.redis_url)
        self._numbers = registry.numbers(settings.registry_dir)
        self._waker = wake.Waker(self._redis)
        self._sender = SenderThread(self._build_sender)
        self._drain = Drain(
            self._engine,
            Turns(
                self._number,
                bots=Bots(),
                deadline=Deadline(settings.turn_timeout_s),
                wake_sender=self._sender.wake,
                charge=self._sender.charge,
            ),
            owner=self._owner,
            again=lambda lane: self._waker.wake([lane]),
            stopping=self._stop.is_set,
        )
        self._sweeper = Sweeper(
            self._engine,
            self._waker.wake,
            interval_s=settings.sweep_interval_s,
            retention_days=settings.event_retention_days,
        )

    def run(self) -> None:
        """Work until SIGTERM or SIGINT, then finish what is in flight."""
        job.install(self._drain_job)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        probe = probes.serve(self._settings.probe_port, ready=self.not_ready, host=self._settings.host)
        log.info("worker starts", owner=self._owner, probe_port=probe.port)
        self._sender.start()
        self._sweeper.start()
        threading.Thread(target=self._follow_registry, name="registry", daemon=True).start()
        try:
            self._work()
        finally:
            self._stop.set()
            self._sweeper.stop()
            self._sender.stop(timeout_s=self._settings.graph_timeout_s + 5)
            self._waker.close()
            probe.close()
            self._engine.dispose()
            log.info("worker stopped", owner=self._owner)

    def not_ready(self) -> str | None:
        """Why this worker cannot work, or None."""
        if not self._sender.alive:
            return "the sender has stopped"
        if self._numbers.current.errors:
            return "registry: " + "; ".join(self._numbers.current.errors)
        try:
            with self._engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError as error:
            return f"database: {type(error).__name__}"
        return None

    def _build_sender(self) -> Sender:
        return Sender(
            self._engine,
            GraphClient(
                self._settings.graph_url,
                self._settings.graph_version,
                timeout_s=self._settings.graph_timeout_s,
                connections=self._settings.graph_concurrency,
            ),
            RateLimits(self._settings.redis_url, owner=self._owner),
            self._number,
            owner=self._owner,
            concurrency=self._settings.graph_concurrency,
            sweep_interval_s=self._settings.sweep_interval_s,
            call_deadline_s=self._settings.graph_timeout_s + 5,
        )

    def _number(self, number_id: str) -> registry.Number | None:
        return self._numbers.current.by_phone_number_id.get(number_id)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()

    def _follow_registry(self) -> None:
        remembered: object = None
        while True:
            if self._numbers.refresh():
                for problem in self._numbers.current.errors:
                    log.error("registry file cannot be read; its last good content stays in use", problem=problem)
            entries = sorted(
                (number.phone_number_id, number.namespace, number.name, number.waba_id)
                for number in self._numbers.current.by_phone_number_id.values()
            )
            if entries != remembered:
                try:
                    with self._engine.begin() as connection:
                        numbers.remember(connection, entries)
                    remembered = entries
                except DBAPIError as error:
                    log.warning("numbers not recorded yet", error=type(error).__name__)
            if self._stop.wait(1.0):
                return

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                LaneWorker(connect_rq(self._settings.redis_url), self._stop).work()
            except RedisError as error:
                log.warning("redis is away; lanes are drained without it", error=type(error).__name__)
            self._work_without_redis()

    def _work_without_redis(self) -> None:
        """Drain what is due straight from the database until Redis answers again."""
        while not self._stop.is_set():
            try:
                with self._engine.connect() as connection:
                    due = lanes.lanes_with_due_events(connection, idle_s=0)
                for lane in due:
                    self._drain.run(lane)
            except DBAPIError as error:
                log.warning("database is away", error=type(error).__name__)
            self._stop.wait(DIRECT_LOOK_S)
            try:
                self._redis.ping()
            except RedisError:
                continue
            return

    def _drain_job(self, lane: int) -> str:
        wake.acknowledge(self._redis, lane)
        try:
            return self._drain.run(lane)
        except DBAPIError as error:
            # Not RQ's retry: it comes at once, and the database needs longer. The sweeper asks again.
            log.warning("database is away", lane=lane, error=type(error).__name__)
            return "database away"


def run(settings: Settings) -> None:
    """Entry of `waypost worker`."""
    logs.configure("worker", settings.log_level)
    traces = tracing.configure("worker", settings.trace_dir)
    started = time.monotonic()
    try:
        Worker(settings).run()
    finally:
        traces.shutdown()
        log.info("worker ended", seconds=round(time.monotonic() - started, 1))
