"""The command `waypost dev` starts all processes under one supervisor and connects them to a simulated Meta."""

import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from sqlalchemy.exc import OperationalError

from waypost.allowed_plugins import EVERYTHING
from waypost.dev import data_folder, demonstration, local_operator, manifests, simulated_world
from waypost.dev.data_folder import DevError
from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis
from waypost.dev.files import fingerprint, replace, yaml_files
from waypost.dev.manifests import Declared, ManifestError
from waypost.dev.ports import ports_for
from waypost.dev.supervisor import Child, Service, Supervisor, last_log_line
from waypost.store.connection import database, schema

READY_WITHIN_S = 60.0
"""Seconds that a service gets to become ready, enough for a slow machine."""

TICK_S = 0.1


@dataclass(frozen=True)
class Options:
    """Options of the command line."""

    files: tuple[Path, ...]
    data: Path
    port_webhook: int = 8080
    port_console: int = 8081
    port_simulator: int = 8082
    workers: int = 2
    once: bool = False


@dataclass(frozen=True)
class Addresses:
    """Addresses of the processes."""

    webhook: str
    console: str
    simulator: str
    database: str
    redis: str


def run(options: Options, out: Console, err: Console) -> int:
    """Runs `waypost dev` until a signal arrives. Returns the exit status.

    With `once`, the command also ends when the demonstration is over. Raises `DevError`, `ManifestError` and
    `EmbeddedError` if it cannot start.
    """
    declared = manifests.load(yaml_files(options.files))
    if options.once and _with_bot(declared) is None:
        raise DevError("no number has a bot, so nothing would answer; give one spec.bot, or omit --once")
    data_folder.make(options.data)
    with data_folder.sole_owner(options.data):
        dev = Dev(options, declared, out, err)
        with dev.signals():
            try:
                return dev.run()
            finally:
                dev.stop()


class Dev:
    """One run of `waypost dev`.

    The main thread handles the processes. Another thread makes the calls to the simulated Meta.
    """

    def __init__(self, options: Options, declared: Declared, out: Console, err: Console) -> None:
        self._options = options
        self._declared = declared
        self._out = out
        self._err = err
        self._data = options.data.resolve()
        self._registry = self._data / "registry"
        self._started_at = time.monotonic()
        self._stop_requested = threading.Event()
        self._calls = ThreadPoolExecutor(max_workers=1, thread_name_prefix="meta")
        self._update: Future[None] | None = None
        self._applied: tuple[int | None, Declared] | None = None
        self._retry_update_at = 0.0
        self._digest = ""
        self._previous_unready: dict[str, str] = {}
        self._next_unready_check = 0.0
        self._last_line: str | None = None
        self._services: dict[str, Service] = {}
        self._files_fingerprint = fingerprint(options.files)
        self._next_file_check = 0.0
        self._supervisor = Supervisor(changed=self._write_state, became_ready=self._became_ready, say=self._say)
        self._addresses: Addresses | None = None

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Returns a context in which Ctrl-C, SIGTERM and a closed terminal request an orderly end of the run."""
        previous = {
            number: signal.signal(number, lambda *_: self._stop_requested.set())
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        }
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def run(self) -> int:
        """Starts everything, shows the demonstration, and runs until a signal arrives. Returns the exit status."""
        for note in self._declared.notes:
            self._err.print(note, style="yellow", markup=False, highlight=False)
        ports = ports_for(
            webhook=self._options.port_webhook,
            console=self._options.port_console,
            simulator=self._options.port_simulator,
        )
        data_folder.tidy(self._data)
        self._start_stores(ports)
        self._write_world()
        self._start_services(ports)
        if not self._wait_until(lambda: all(map(self._supervisor.is_ready, self._services)), "services"):
            return 0
        if not self._wait_until(lambda: self._is_connected, "the numbers at the simulated Meta"):
            return 0
        self._progress("ready")
        return self._demonstrate()

    def stop(self) -> None:
        """Ends all processes. Those that receive messages end first, and those that store messages end last."""
        self._calls.shutdown(wait=False, cancel_futures=True)
        workers = [name for name in self._services if name.startswith("worker")]
        self._supervisor.stop([["webhook", "console", "operator"], workers, ["simulator"], ["redis"], ["postgres"]])
        for service in self._services.values():
            service.close()
        (self._data / "dev.json").unlink(missing_ok=True)

    def _start_stores(self, ports: tuple[int, int, int]) -> None:
        stores: list[Child] = []
        database_url, redis_url = os.environ.get("WAYPOST_DATABASE_URL"), os.environ.get("WAYPOST_REDIS_URL")
        if not database_url:
            postgres = EmbeddedPostgres(self._data / "postgres")
            database_url = postgres.url
            stores.append(postgres)
        if not redis_url:
            redis = EmbeddedRedis(self._data / "redis")
            redis_url = redis.url
            stores.append(redis)
        webhook, console, simulator = (f"http://127.0.0.1:{port}" for port in ports)
        self._addresses = Addresses(webhook, console, simulator, database_url, redis_url)
        for store in stores:
            self._supervisor.add(store)
        if not self._wait_until(
            lambda: all(self._supervisor.is_ready(store.name) for store in stores), "PostgreSQL, Redis"
        ):
            raise SystemExit(0)
        engine = database.connect(database_url, application="waypost-dev")
        try:
            schema.migrate(engine)
        except OperationalError as error:
            reason = str(error.orig).strip().splitlines()[0] if error.orig else type(error).__name__
            raise DevError(f"the database cannot be used: {reason}; look at WAYPOST_DATABASE_URL") from None
        finally:
            engine.dispose()
        self._progress("PostgreSQL and Redis are up, the schema is current")

    def _start_services(self, ports: tuple[int, int, int]) -> None:
        assert self._addresses is not None
        environment = {
            # The user who declares the numbers here can run any code on this machine anyway.
            "WAYPOST_BOT_PLUGINS": EVERYTHING,
            **os.environ,
            "WAYPOST_DATABASE_URL": self._addresses.database,
            "WAYPOST_REDIS_URL": self._addresses.redis,
            "WAYPOST_GRAPH_URL": self._addresses.simulator,
            "WAYPOST_PUBLIC_URL": self._addresses.webhook,
            "WAYPOST_REGISTRY_DIR": str(self._registry),
            "WAYPOST_TRACE_DIR": str(self._data / "traces"),
            "WAYPOST_HOST": "127.0.0.1",
            "WAYPOST_WEBHOOK_PORT": str(ports[0]),
            "WAYPOST_CONSOLE_PORT": str(ports[1]),
            "WAYPOST_SIMULATOR_PORT": str(ports[2]),
            "WAYPOST_SIMULATOR_WORLD": str(self._data / "world.json"),
        }
        commands = {"simulator": ["simulator"], "webhook": ["webhook"]}
        commands |= {"operator": ["local-operator", str(self._data)]}
        commands |= {f"worker-{number}": ["worker"] for number in range(1, self._options.workers + 1)}
        commands |= {"console": ["console"]}
        for name, command in commands.items():
            log = self._data / "logs" / f"{name}.log"
            service = Service(name, [sys.executable, "-m", "waypost.cli", *command], environment, log)
            self._services[name] = service
            self._supervisor.add(service)

    def _demonstrate(self) -> int:
        assert self._addresses is not None
        exchange: Future[demonstration.Exchange] | None = None
        if (number := _with_bot(self._declared)) is None:
            self._err.print("No number has a bot, so nothing would answer: the demonstration is skipped.")
            demonstration.show_addresses(self._addresses, self._data, self._out)
        else:
            exchange = self._calls.submit(
                demonstration.exchange,
                self._addresses.simulator,
                number.number.spec.phone_number_id,
                self._data / "traces",
            )
        shown = exchange is None
        while not self._stop_requested.is_set():
            self._step()
            if exchange is not None and exchange.done() and not shown:
                shown = True
                succeeded = self._show(exchange)
                if self._options.once:
                    return 0 if succeeded else 1
        self._err.print("Stopping")
        return 1 if self._options.once else 0

    def _show(self, exchange: "Future[demonstration.Exchange]") -> bool:
        assert self._addresses is not None
        try:
            demonstration.show(exchange.result(), self._out)
        except demonstration.NoReply as error:
            self._err.print(f"The demonstration failed: {error}", style="red", markup=False, highlight=False)
            self._err.print(f"Logs: {self._data / 'logs'}", markup=False, highlight=False)
            return False
        if not self._options.once:
            demonstration.show_addresses(self._addresses, self._data, self._out)
        return True

    def _wait_until(self, condition: Callable[[], bool], what: str) -> bool:
        """Keeps the processes running until the condition holds. Returns False if a signal arrives before that.

        Raises `DevError` if the condition does not hold in time.
        """
        deadline = time.monotonic() + READY_WITHIN_S
        while not condition():
            if self._stop_requested.is_set():
                return False
            if time.monotonic() > deadline:
                late = [s for s in self._services.values() if not self._supervisor.is_ready(s.name)]
                reasons = "; ".join(f"{s.name}: {last_log_line(s.log)}" for s in late)
                raise DevError(
                    f"not ready within {READY_WITHIN_S:.0f} s: {what}; {reasons or self._last_line or ''} "
                    f"(logs: {self._data / 'logs'})"
                )
            self._step()
        return True

    def _step(self) -> None:
        self._supervisor.check()
        self._reread()
        self._connect()
        self._stop_requested.wait(TICK_S)

    @property
    def _target(self) -> tuple[int | None, Declared]:
        """Returns the simulator's process id and the declared objects. If either changes, `_connect` must run."""
        return self._supervisor.processes.get("simulator"), self._declared

    @property
    def _is_connected(self) -> bool:
        """Returns whether all declared numbers are ready with the current simulator process."""
        return self._applied == self._target and self._unready_numbers() == {}

    def _unready_numbers(self) -> dict[str, str] | None:
        """Returns each number that is not ready, with the reason. Returns None before the operator has read any."""
        try:
            state = json.loads((self._data / local_operator.STATE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if state["digest"] != self._digest:
            return None
        numbers: dict[str, str] = state["numbers"]
        return numbers

    def _connect(self) -> None:
        """Gives the declared objects first to the simulator and then to the operator.

        This happens whenever the objects have changed or the simulator has a new process.
        """
        if self._update is not None:
            if not self._update.done():
                return
            self._finish_update(self._update)
            self._update = None
        if self._applied == self._target:
            self._report_unready()
            return
        if not self._supervisor.is_ready("simulator") or time.monotonic() < self._retry_update_at:
            return
        assert self._addresses is not None
        target = self._target
        seed = simulated_world.seed(self._declared.numbers, self._declared.schedules)

        def update(simulator: str) -> None:
            demonstration.put_world(simulator, seed)
            simulator_pid, declared = target
            text = json.dumps({"incarnation": str(simulator_pid), "objects": declared.objects}, default=str)
            self._digest = hashlib.sha256(text.encode()).hexdigest()
            replace(self._data / local_operator.OBJECTS, json.dumps({**json.loads(text), "digest": self._digest}))
            self._applied = target

        self._update = self._calls.submit(update, self._addresses.simulator)

    def _finish_update(self, update: "Future[None]") -> None:
        try:
            update.result()
        except httpx.HTTPError as error:
            self._retry_update_at = time.monotonic() + 0.5
            self._say_once(f"cannot set up the simulated Meta: {error}")

    def _report_unready(self) -> None:
        """Prints why a number is not ready. A reason is printed only if it was found twice in a row."""
        if time.monotonic() < self._next_unready_check:
            return
        self._next_unready_check = time.monotonic() + 2.0
        lasting = {
            name: why
            for name, why in (self._unready_numbers() or {}).items()
            if self._previous_unready.get(name) == why
        }
        self._previous_unready = self._unready_numbers() or {}
        for name, why in lasting.items():
            if why != local_operator.NOT_RECONCILED:
                self._say_once(f"{name}: {why}")

    def _say_once(self, line: str) -> None:
        if line != self._last_line:
            self._last_line = line
            self._say(line)

    def _reread(self) -> None:
        """Reads the YAML files again if they changed. If they contain mistakes, the last valid content stays in use."""
        if time.monotonic() < self._next_file_check:
            return
        self._next_file_check = time.monotonic() + 0.5
        current = fingerprint(self._options.files)
        if current == self._files_fingerprint:
            return
        self._files_fingerprint = current
        try:
            self._declared = manifests.load(yaml_files(self._options.files))
        except ManifestError as error:
            self._say("the files changed but contain mistakes; the last good content stays in use")
            for problem in error.problems:
                self._err.print(f"  {problem}", style="red", markup=False, highlight=False)
            return
        self._write_world()
        self._say("the files changed and were published")

    def _write_world(self) -> None:
        # A restarted simulator must know its numbers before it answers, because a refused token would pause them.
        seed = simulated_world.seed(self._declared.numbers, self._declared.schedules)
        replace(self._data / "world.json", json.dumps(seed))

    def _became_ready(self, name: str) -> None:
        if name in self._services and self._addresses is not None:
            self._progress(f"{name} is ready")

    def _write_state(self) -> None:
        """Writes all addresses and processes into `dev.json`."""
        if self._addresses is None:
            return
        state: dict[str, Any] = {
            "webhook": self._addresses.webhook,
            "console": self._addresses.console,
            "simulator": self._addresses.simulator,
            "database": self._addresses.database,
            "redis": self._addresses.redis,
            "processes": self._supervisor.processes,
            "metrics": {name: s.metrics_url for name, s in self._services.items() if s.pid is not None},
            "supervisor": os.getpid(),
        }
        replace(self._data / "dev.json", json.dumps(state, indent=2))

    def _say(self, line: str) -> None:
        self._err.print(f"  {line}", style="yellow", markup=False, highlight=False)

    def _progress(self, line: str) -> None:
        elapsed = time.monotonic() - self._started_at
        self._err.print(f"{elapsed:6.1f} s  {line}", style="dim", markup=False, highlight=False)


def _with_bot(declared: Declared) -> manifests.DeclaredNumber | None:
    """Returns the number that the demonstration writes to. It is the first number with a bot."""
    return next((number for number in declared.numbers if number.number.spec.bot is not None), None)
