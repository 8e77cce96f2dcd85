"""Contacts that write at a steady pace while a test changes the installation, and their connections."""

import http.client
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import cycle
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from .ledger import Ledger

LANES = 24
"""Number of deliveries that may be under way at a time."""
ANSWER_TIMEOUT_S = 20.0
"""Timeout for one answer; the webhook promises one within 6 s."""


class Connection:
    """An HTTP/1.1 connection of a strict client.

    A reused connection stays open until the server announces that it will close it. Otherwise, each delivery opens
    a new connection.
    """

    def __init__(self, url: str, *, reused: bool) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        self._http = http.client.HTTPConnection(address.hostname, address.port, timeout=ANSWER_TIMEOUT_S)
        self.reused = reused

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> int | None:
        """Sends a POST and returns the status, or None if the connection was refused or broken.

        A connection counts as broken if the server closes it without an announcement.
        """
        try:
            self._http.request("POST", path, body, headers)
            answer = self._http.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return None
        if not self.reused:
            self.close()
        return answer.status

    def close(self) -> None:
        """Closes the connection. The next delivery opens a new one."""
        self._http.close()


def percentile(values: Sequence[float], percent: float) -> float:
    """Returns the smallest of the values that is not exceeded by this percentage of them."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


class Traffic:
    """Contacts that write in turn. Each message is delivered again until it is acknowledged, as Meta does it.

    The clock sets the pace. A slow answer makes later deliveries late, but does not reduce their number. Half of
    the lanes reuse their connection. A contact belongs to one lane, so its messages are delivered in order.
    """

    def __init__(
        self, ledger: Ledger, contacts: Sequence[str], *, per_second: float, webhooks: Sequence[str] = ("webhook",)
    ) -> None:
        """Creates the traffic. If a connection to one of `webhooks` breaks, the next one gets the delivery."""
        self.ledger = ledger
        self._webhooks = webhooks
        self.answers: dict[str, Counter[int | None]] = {"reused connections": Counter(), "new connections": Counter()}
        """Counts of each status by kind of connection; None stands for a broken connection."""
        self.latencies_s: list[float] = []
        """Seconds from a delivery to its 200, one for each message."""
        self._lanes = min(LANES, len(contacts))
        self._contacts = contacts
        self._every_s = self._lanes / per_second
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._write, args=(lane,)) for lane in range(self._lanes)]

    @property
    def acknowledged(self) -> int:
        """Returns the number of messages that got a 200 so far."""
        return len(self.ledger.acknowledged)

    def wait_for_more(self, messages: int) -> None:
        """Waits until this number of further messages is acknowledged."""
        goal = self.acknowledged + messages
        self.ledger.installation.wait(
            lambda: self.acknowledged >= goal or self._failures, what=f"{messages} messages to be acknowledged"
        )

    def count(self, status: int) -> int:
        """Returns the number of answers with that status so far."""
        return sum(seen[status] for seen in self.answers.values())

    def refused(self) -> dict[str, dict[int | None, int]]:
        """Returns the counts of results other than 200, by kind of connection. None stands for a broken connection."""
        found = {how: {status: n for status, n in seen.items() if status != 200} for how, seen in self.answers.items()}
        return {how: seen for how, seen in found.items() if seen}

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._failures and error is None:
            raise self._failures[0]

    def _write(self, lane: int) -> None:
        urls = [self.ledger.installation.url(name) for name in self._webhooks]
        connections = deque(Connection(url, reused=lane % 2 == 0) for url in urls)
        connections.rotate(lane)
        try:
            due = self._began + self._every_s * lane / self._lanes
            for contact in cycle(self._contacts[lane :: self._lanes]):
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                due += self._every_s
                self._deliver(contact, connections)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            self._failures.append(error)
        finally:
            for connection in connections:
                connection.close()

    def _deliver(self, contact: str, connections: deque[Connection]) -> None:
        message = self.ledger.message(contact)
        body = self.ledger.body([message])
        path, headers = self.ledger.request(body)
        answers = self.answers["reused connections" if connections[0].reused else "new connections"]

        def is_acknowledged() -> bool:
            began = time.monotonic()
            status = connections[0].post(path, body, headers)
            answers[status] += 1
            if status == 200:
                self.latencies_s.append(time.monotonic() - began)
            elif status is None:
                connections.rotate(1)
            return status == 200

        self.ledger.installation.wait(is_acknowledged, what="an acknowledgement")
        self.ledger.acknowledged.append(str(message["id"]))
