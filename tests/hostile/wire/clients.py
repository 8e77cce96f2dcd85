"""Clients of a webhook process: hostile ones that send raw bytes, and one whose deliveries must go on."""

import itertools
import resource
import socket
import statistics
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ...webhook import posts
from ...webhook.service import NEVER_S

MIB = 1024 * 1024

Address = tuple[str, int]


def head(*lines: str, path: str = posts.PATH) -> bytes:
    """Returns the request line and headers of a POST."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: webhook", *lines, "", ""]).encode()


def delivery(body: bytes, *lines: str, secret: str = posts.SECRET) -> bytes:
    """Returns a signed delivery, including its headers."""
    signature = posts.signed(body, secret)["x-hub-signature-256"]
    return head(f"content-length: {len(body)}", f"x-hub-signature-256: {signature}", *lines) + body


def connect(address: Address) -> socket.socket:
    """Returns a new connection."""
    return socket.create_connection(address, timeout=NEVER_S)


def send(connection: socket.socket, data: bytes) -> bool:
    """Sends the data. Returns False if the server has closed the connection before it has taken all."""
    try:
        connection.sendall(data)
    except (ConnectionResetError, BrokenPipeError):
        return False
    return True


def receive(connection: socket.socket) -> bytes:
    """Returns what arrives until the server closes the connection."""
    received = b""
    try:
        while chunk := connection.recv(65536):
            received += chunk
    except (ConnectionResetError, BrokenPipeError):
        pass
    return received


def exchange(address: Address, *parts: bytes) -> bytes:
    """Sends the parts on one connection for as long as the server takes them. Returns all answers."""
    with connect(address) as connection:
        for part in parts:
            if not send(connection, part):
                break
        return receive(connection)


def statuses(answers: bytes) -> list[int]:
    """Returns the status of each answer."""
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


def memory_mib(pid: int, figure: str = "VmHWM") -> float:
    """Returns the resident memory of a process: the highest so far (`VmHWM`), or that of this moment (`VmRSS`)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{figure}:")) / 1024


def allow_connections(most: int) -> int:
    """Raises this process's limit of open files. Returns how many connections it allows, at most `most`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + 500
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft - 500


@dataclass
class Bystander:
    """Sends good deliveries, one after the other, while it is entered. Every fifth uses a new connection.

    A connection that has sent nothing yet may be closed to make place for others. On a busy machine that can happen
    before the request leaves. The delivery is then repeated on another connection, as Meta does.
    """

    address: Address
    answers: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    repeated: int = 0
    """Number of deliveries that were repeated, because their connection was closed before the answer."""

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def p99_ms(self) -> float:
        """Returns the 99th percentile of the time to an answer, in milliseconds."""
        return statistics.quantiles(self.seconds, n=100)[98] * 1000 if len(self.seconds) > 1 else 0.0

    def _run(self) -> None:
        connection = connect(self.address)
        try:
            for number in itertools.count():
                if self._ended.is_set() and self.answers.total() >= 20:
                    break
                key = posts.wamid()
                if number % 5 == 0:
                    connection.close()
                    connection = connect(self.address)
                request = delivery(posts.delivery(posts.item(key)))
                began = time.perf_counter()
                while not (answer := _answer(connection, request)):
                    self.repeated += 1
                    connection.close()
                    connection = connect(self.address)
                self.seconds.append(time.perf_counter() - began)
                self.answers[int(answer[9:12])] += 1
                self.keys.append(key)
        finally:
            connection.close()


def _answer(connection: socket.socket, request: bytes) -> bytes:
    """Returns the answer to the request, or nothing if the connection was closed."""
    try:
        connection.sendall(request)
        return connection.recv(65536)
    except (ConnectionResetError, BrokenPipeError):
        return b""
