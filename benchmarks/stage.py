"""Starts PostgreSQL, Redis and the processes of one row, on loopback and in a temporary folder.

All of them end with the stage.
"""

import contextlib
import functools
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import redis
from sqlalchemy import Engine, text

from benchmarks import deliveries, machine
from tests.registry_files import publish, publish_number
from waypost.contracts.registry import Number
from waypost.dev.embedded import EmbeddedPostgres, EmbeddedRedis, end_with_parent
from waypost.dev.ports import free_port
from waypost.store.connection import schema
from waypost.store.connection.database import connect

LOOK_S = 0.03
"""Seconds between two looks. This is short for work of seconds, and leaves the processors to the measured side."""

ROOT = Path(__file__).parent.parent


class Failed(Exception):
    """Raised when a side lost, doubled or never finished something, or when a program is missing.

    The numbers of that side do not count.
    """


@dataclass
class Process:
    """A process that the stage has started."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    port: int = 0
    probe_port: int = 0

    def alive(self) -> None:
        """Raises `Failed` if the process has ended. The error shows the end of the process's log."""
        if self.popen.poll() is not None:
            raise Failed(f"{self.name} ended with {self.popen.returncode}:\n{self.log.read_text()[-2000:]}")

    @property
    def metrics(self) -> str:
        """Returns the URL of the metrics of a Waypost process."""
        return f"http://127.0.0.1:{self.probe_port}/metrics"

    @property
    def peak_megabytes(self) -> float:
        """Returns the most memory that the process has used so far."""
        return machine.peak_megabytes(self.popen.pid)


class Stage:
    """The servers and processes of one row. Use this class as a context manager."""

    def __init__(self) -> None:
        self._exit = contextlib.ExitStack()
        self.processes: list[Process] = []

    def __enter__(self) -> Self:
        self.folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="wpb-")))
        self.postgres = EmbeddedPostgres(self.folder / "postgres")
        self.redis_server = EmbeddedRedis(self.folder / "redis")
        for server in (self.postgres, self.redis_server):
            server.start()
            self._exit.callback(server.stop)
        self.engine: Engine = connect(self.postgres.url, application="benchmark", pool_size=4)
        self._exit.callback(self.engine.dispose)
        self.redis: redis.Redis = self._exit.enter_context(contextlib.closing(self.redis_server.client()))
        # One client: making one loads certificates, which takes longer than most of what it is asked for here.
        self.http: httpx.Client = self._exit.enter_context(httpx.Client(trust_env=False, timeout=30))
        schema.migrate(self.engine)
        self._exit.callback(self._end_processes)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "WAYPOST_DATABASE_URL": self.postgres.url,
            "WAYPOST_REDIS_URL": self.redis_server.url,
            "WAYPOST_REGISTRY_DIR": str(self.folder / "registry"),
            "WAYPOST_HOST": "127.0.0.1",
            "WAYPOST_LOG_LEVEL": "WARNING",
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    # -- processes

    def register(self, bot: str) -> None:
        """Writes the registry entries of the number, with this script and a limit of 1,000 messages a second."""
        publish(self.folder / "registry", *deliveries.entries(bot=bot))

    def add(self, number: Number) -> None:
        """Adds one more number to the worker's registry."""
        publish_number(self.folder / "registry", number)

    def waypost(self, service: str, *, count: int = 1, **environment: str) -> list[Process]:
        """Starts `count` processes `waypost <service>`, waits until all are ready, and returns them."""
        started = []
        for index in range(count):
            port, probe = free_port(), free_port()
            ours = {"WAYPOST_PROBE_PORT": str(probe), f"WAYPOST_{service.upper()}_PORT": str(port), **environment}
            process = self._start(f"waypost {service} {index + 1}", ["-m", "waypost.cli", service], ours)
            process.port, process.probe_port = port, probe
            started.append(process)
        for process in started:
            self.wait(functools.partial(self._is_ready, process), what=f"{process.name} to be ready")
        return started

    def _is_ready(self, process: Process) -> bool:
        process.alive()
        try:
            return self.http.get(f"http://127.0.0.1:{process.probe_port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def python(self, name: str, *arguments: str, listens: bool = False, **environment: str) -> Process:
        """Starts a Python program of the benchmarks.

        If the program listens, its port is in `PORT` in its environment.
        """
        port = free_port() if listens else 0
        process = self._start(name, list(arguments), {**environment, "PORT": str(port)})
        process.port = port
        if listens:
            self.wait(lambda: _listens(process), what=f"{name} to listen")
        return process

    def rq_workers(self, queue: str, *, count: int = 2, **environment: str) -> list[Process]:
        """Starts stock `rq worker` processes on one queue, and waits until they are registered."""
        before = self._rq_worker_count()
        started = [
            self._start(
                f"rq worker {index + 1}",
                ["-m", "rq.cli", "worker", "--quiet", "--url", self.redis_server.url, queue],
                environment,
            )
            for index in range(count)
        ]
        self.wait(lambda: self._rq_worker_count() >= before + count, what="rq workers to register")
        return started

    def _rq_worker_count(self) -> int:
        return int(self.redis.scard("rq:workers"))

    def _start(self, name: str, arguments: Sequence[str], environment: dict[str, str]) -> Process:
        log = self.folder / f"{name.replace(' ', '-')}.log"
        with log.open("ab") as file:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                env={**self.environment, **environment},
                cwd=self.folder,
                stdout=file,
                stderr=file,
                preexec_fn=end_with_parent(9),  # noqa: PLW1509 - runs two system calls only
            )
        process = Process(name, popen, log)
        self.processes.append(process)
        return process

    def _end_processes(self) -> None:
        for process in self.processes:
            if process.popen.poll() is None:
                process.popen.terminate()
        for process in self.processes:
            try:
                process.popen.wait(10)
            except subprocess.TimeoutExpired:
                process.popen.kill()
                process.popen.wait()

    # -- looking

    @contextlib.contextmanager
    def watched(self) -> Iterator[dict[str, float]]:
        """Measures while the `with` block runs. Yields a dict that contains the results after the block.

        The results are the number of processors that other programs kept busy during the block, and the load average
        after the block.
        """
        noted: dict[str, float] = {}
        before = machine.moment(self._roots())
        yield noted
        noted["foreign_cpus"] = round(machine.foreign(before, machine.moment(self._roots())), 2)
        noted["load_average"] = round(machine.load_average(), 2)

    def _roots(self) -> list[int]:
        # Everything we start is our child: PostgreSQL's and Redis's processes too.
        return [os.getpid()]

    def wait(self, condition: Callable[[], object], *, what: str, deadline_s: float = 120.0) -> float:
        """Checks `condition` every `LOOK_S` seconds until it is true.

        Returns the time of the last check by the monotonic clock. Raises `Failed` if `condition` is not true in time
        or a process has ended.
        """
        deadline = time.monotonic() + deadline_s
        while not condition():
            if time.monotonic() > deadline:
                raise Failed(f"not within {deadline_s:.0f} s: {what}; {self._describe()}")
            for process in self.processes:
                process.alive()
            time.sleep(LOOK_S)
        return time.monotonic()

    def _describe(self) -> str:
        """Returns how many rows of each kind the database contains, for the message of a failure."""
        kinds = "SELECT kind, state, reason, count(*) FROM event GROUP BY 1, 2, 3"
        rows = "SELECT 'outbox', state, reason, count(*) FROM outbox GROUP BY 1, 2, 3"
        with self.engine.connect() as connection:
            return str([tuple(row) for row in connection.execute(text(f"{kinds} UNION ALL {rows} ORDER BY 1, 2, 3"))])

    def text(self, statement: str) -> str:
        """Returns the single value of a query as a text."""
        with self.engine.connect() as connection:
            return str(connection.execute(text(statement)).scalar_one())

    def redis_name(self) -> str:
        """Returns the server's name and version, as in "Valkey 9.1.2".

        In its Redis version field, Valkey calls itself 7.2.4.
        """
        server = self.redis.info("server")
        valkey = server.get("valkey_version")
        return f"Valkey {valkey}" if valkey else f"Redis {server['redis_version']}"

    def numbers(self, statement: str) -> list[float]:
        """Returns the numbers of a query with one column."""
        with self.engine.connect() as connection:
            return [float(value) for value in connection.execute(text(statement)).scalars()]

    def scalar(self, statement: str) -> int:
        """Returns the single value of a query as a number."""
        return int(self.text(statement))


def _listens(process: Process) -> bool:
    process.alive()
    try:
        socket.create_connection(("127.0.0.1", process.port), timeout=1).close()
    except OSError:
        return False
    return True
