"""`waypost worker`: one process that drains lanes and sends messages."""

import gc
import signal
import threading
import time
from types import FrameType
from uuid import uuid4

import structlog

from waypost.allowed_plugins import AllowedPlugins
from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts import registry
from waypost.contracts.bot_states import BOTS_PATH
from waypost.hosts.host import Zygote
from waypost.hosts.pool import Hosts
from waypost.lanes import wake
from waypost.lanes.drain import Drain
from waypost.lanes.sweeper import Sweeper
from waypost.sending.limits import RateLimits
from waypost.sending.sender import Sender
from waypost.settings import Settings
from waypost.store.connection.database import connect
from waypost.telemetry import logs, probes, tracing
from waypost.worker.bot_health import BotHealth
from waypost.worker.bots import Bots
from waypost.worker.deadline import Deadline
from waypost.worker.hosted_turns import HostedTurns
from waypost.worker.hosted_work import HostedWork
from waypost.worker.lane_work import LaneWork
from waypost.worker.readiness import Readiness
from waypost.worker.registered import RegisteredNumbers
from waypost.worker.scripts import CompiledScripts
from waypost.worker.sender_thread import SenderThread
from waypost.worker.turns import Turns

log = structlog.get_logger(__name__)

FIRST_SCRIPTS_S = 5.0
"""Most seconds before the first message that are spent on compiling scripts. Afterwards a message waits for its own."""

LAST_CALLS_S = 10.0
"""Seconds that calls in flight get to finish before the process is ended because a turn cannot be interrupted."""


class Worker:
    """All parts of one worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._owner = uuid4().hex[:12]
        self._stop = threading.Event()
        self._engine = connect(settings.database_url, application="waypost-worker", pool_size=6)
        self._limits_engine = connect(settings.database_url, application="waypost-limits", pool_size=1)
        self._redis = wake.connect(settings.redis_url)
        self._numbers = RegisteredNumbers(registry.numbers(settings.registry_dir), self._engine)
        self._scripts = CompiledScripts(self._numbers.all, settings.script_memory_mib << 20)
        self._waker = wake.Waker(self._redis)
        self._sender = SenderThread(self._build_sender, ended=self._stop)
        self._health = BotHealth(self._numbers.all, self._scripts.refused)
        self._bots = Bots(self._scripts, self._health)
        drain = Drain(
            self._engine,
            Turns(
                self._numbers.number,
                bots=self._bots,
                deadline=Deadline(settings.turn_timeout_s, before_exit=lambda: self._sender.stop(LAST_CALLS_S)),
                wake_sender=self._sender.wake,
                charge=self._sender.charge,
            ),
            owner=self._owner,
            request_drain=self._waker.wake,
            stopping=self._stop.is_set,
        )
        self._hosted_work = self._build_hosted_work()
        self._lane_work = LaneWork(
            self._engine, self._redis, settings.redis_url, drain.run, self._stop, on_lanes=self._hosted_work.wake
        )
        self._sweeper = Sweeper(
            self._engine,
            self._waker.wake,
            interval_s=settings.sweep_interval_s,
            retention_days=settings.event_retention_days,
        )

    def run(self) -> None:
        """Works until SIGTERM or SIGINT, then finishes the running work. Raises SystemExit if the sender has failed."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        readiness = Readiness(self._engine, [self._sender.problem, self._numbers.problem, self._hosted_work.problem])
        probe = probes.serve(
            self._settings.probe_port,
            ready=readiness.reason,
            host=self._settings.host,
            documents={BOTS_PATH: self._health.document},
        )
        log.info("worker starts", owner=self._owner, probe_port=probe.port)
        self._sender.start()
        self._sweeper.start()
        self._hosted_work.start()
        threading.Thread(target=self._numbers.follow, args=(self._stop,), name="registry", daemon=True).start()
        self._scripts.compile_all(FIRST_SCRIPTS_S)
        threading.Thread(target=self._scripts.follow, args=(self._stop,), name="scripts", daemon=True).start()
        # Objects from the start live as long as the process, so the garbage collector need not look at them again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)
        try:
            self._lane_work.run()
        finally:
            self._stop.set()
            self._sweeper.stop()
            self._hosted_work.stop()
            self._sender.stop(timeout_s=self._settings.graph_timeout_s + 5)
            self._waker.close()
            probe.close()
            self._engine.dispose()
            self._limits_engine.dispose()
            self._hosts_engine.dispose()
            log.info("worker stopped", owner=self._owner)
        if self._sender.failure is not None:
            raise SystemExit("the sender broke down")

    def _build_hosted_work(self) -> HostedWork:
        settings = self._settings
        # Connections of their own, so that the turns of plugins never keep a drain or the sender waiting for one.
        self._hosts_engine = connect(settings.database_url, application="waypost-hosts", pool_size=4)
        turns = HostedTurns(
            self._hosts_engine,
            self._numbers.number,
            allowed=AllowedPlugins.read(settings.bot_plugins),
            deadline_s=settings.turn_timeout_s,
            wake_sender=self._sender.wake,
            charge=self._sender.charge,
            last_script=self._bots.last_good,
            health=self._health,
        )
        zygote = Zygote(settings.bot_plugins, memory_bytes=settings.host_memory_mb * 1024 * 1024)
        return HostedWork(
            self._hosts_engine,
            turns,
            Hosts(zygote, at_once=settings.hosts),
            at_once=settings.hosts,
            has_plugins=self._numbers.has_plugins,
        )

    def _build_sender(self) -> Sender:
        return Sender(
            self._engine,
            GraphClient(
                self._settings.graph_url,
                self._settings.graph_version,
                timeout_s=self._settings.graph_timeout_s,
                connections=self._settings.graph_concurrency,
            ),
            RateLimits(self._limits_engine),
            self._numbers.number,
            owner=self._owner,
            concurrency=self._settings.graph_concurrency,
            sweep_interval_s=self._settings.sweep_interval_s,
            call_deadline_s=self._settings.graph_timeout_s + 5,
        )

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop.set()


def run(settings: Settings) -> None:
    """Runs the command `waypost worker` until it is stopped."""
    logs.configure("worker", settings.log_level)
    traces = tracing.configure("worker", settings.trace_dir)
    started = time.monotonic()
    try:
        Worker(settings).run()
    finally:
        traces.shutdown()
        log.info("worker ended", seconds=round(time.monotonic() - started, 1))
