"""Shares host processes between numbers. Their count is limited for each number and for the whole worker."""

import threading
from collections import Counter, OrderedDict

from waypost.hosts.host import Host, HostsUnavailable, Zygote
from waypost.telemetry import metrics

PER_NUMBER = 2
"""Most hosts of one number in one worker, so that a slow plugin cannot take the hosts of others."""


class Hosts:
    """The hosts of one worker. A host serves only one number, and is kept for the number's next message."""

    def __init__(self, zygote: Zygote, *, at_once: int, per_number: int = PER_NUMBER) -> None:
        """Creates a pool of at most `at_once` processes. The pool starts a process when it is needed."""
        self._zygote = zygote
        self._at_once = at_once
        self._per_number = per_number
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        self._idle: OrderedDict[Host, str] = OrderedDict()

    @property
    def count(self) -> int:
        """Returns how many hosts there are."""
        return self._busy.total() + len(self._idle)

    def take(self, number_id: str) -> Host | None:
        """Returns a host for a turn of this number.

        Returns None if the number already uses as many hosts as it may, or if no host is free. If the pool is full,
        the host that has been idle longest is ended. Raises `HostsUnavailable`.
        """
        ended = None
        with self._lock:
            if self._busy[number_id] >= self._per_number:
                return None
            host = next((host for host, owner in reversed(self._idle.items()) if owner == number_id), None)
            if host is not None:
                del self._idle[host]
            elif self.count >= self._at_once:
                if not self._idle:
                    return None
                ended, _ = self._idle.popitem(last=False)
            self._busy[number_id] += 1
        if ended is not None:
            ended.close()
        if host is None:
            try:
                host = self._zygote.start_host()
            except HostsUnavailable:
                self._release(number_id)
                raise
        metrics.hosts.set(self.count)
        return host

    def give_back(self, number_id: str, host: Host, *, ended: bool) -> None:
        """Takes a host back after its turns. A host that has `ended` is replaced at the next `take`."""
        self._release(number_id)
        if not ended:
            with self._lock:
                self._idle[host] = number_id
        metrics.hosts.set(self.count)

    def close(self) -> None:
        """Ends all hosts."""
        self._zygote.close()
        with self._lock:
            for host in self._idle:
                host.connection.close()
            self._idle.clear()

    def _release(self, number_id: str) -> None:
        with self._lock:
            self._busy[number_id] -= 1
            if not self._busy[number_id]:
                del self._busy[number_id]
