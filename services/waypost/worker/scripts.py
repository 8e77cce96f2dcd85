"""Compiles scripts in a separate thread. A script that several numbers have is compiled once.

Drains use the scripts that are compiled already. Compiling a script that is accepted takes up to half a
second of processor time. In a drain, all other numbers would wait for it.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from waypost.bot import script
from waypost.bot.script import Script
from waypost.contracts.registry import Number

log = structlog.get_logger(__name__)

INTERVAL_S: Final = 1.0
"""Seconds between two looks at the registry. Scripts that a drain asks for are compiled at once."""


class ScriptNotReady(Exception):
    """Raised for a number whose script is not compiled yet.

    The script will be ready soon, so the number's messages should wait.
    """


class ScriptRefused(Exception):
    """Raised if the script of a number cannot be used and the number has no earlier script.

    Only another script solves the problem.
    """


@dataclass(slots=True)
class _Compiled:
    script: Script
    namespace: str
    """The namespace of the number for which the script was compiled."""
    used_at: float


class CompiledScripts:
    """Holds compiled scripts by digest. A number keeps its last good script until the new one is compiled.

    One thread calls `script`, and another one `follow`.
    """

    def __init__(self, numbers: Callable[[], Mapping[str, Number]], most_bytes: int) -> None:
        """Creates an empty store. `numbers` returns the registry's numbers by id, in a new mapping after a change.

        Scripts that do not fit into `most_bytes` are compiled when a message needs them.
        """
        self._numbers = numbers
        self._most_bytes = most_bytes
        self._seen: Mapping[str, Number] = {}
        self._compiled: dict[str, _Compiled] = {}
        self._refused: dict[str, str] = {}
        """What is wrong with each refused script, by digest."""
        self._in_use: dict[str, str] = {}
        """The digest of each number's last good script."""
        self._asked: dict[str, Number] = {}
        """Scripts for which messages wait, with a number that has the script."""
        self._is_asked = threading.Event()
        self._lock = threading.Lock()

    def script(self, number: Number) -> Script:
        """Returns the script of a number, or its last good one. Raises `ScriptNotReady` and `ScriptRefused`."""
        digest = str(number.bot_digest)
        with self._lock:
            found = self._compiled.get(digest)
            if found is not None:
                self._in_use[number.phone_number_id] = digest
            else:
                found = self._compiled.get(self._in_use.get(number.phone_number_id, ""))
                if digest not in self._refused:
                    self._asked[digest] = number
                    self._is_asked.set()
                    if found is None:
                        raise ScriptNotReady
            if found is None:
                raise ScriptRefused
            found.used_at = time.monotonic()
            return found.script

    def last_good(self, number: Number) -> Script | None:
        """Returns the last script that a number used, or None. The number's bot may now be another kind of bot."""
        with self._lock:
            found = self._compiled.get(self._in_use.get(number.phone_number_id, ""))
            return None if found is None else found.script

    def refused(self) -> dict[str, str]:
        """Returns the numbers whose present script cannot be used, by id, each with what is wrong with the script."""
        with self._lock:
            refused = dict(self._refused)
        if not refused:
            return {}
        numbers = self._numbers().items()
        return {identity: refused[each.bot_digest] for identity, each in numbers if each.bot_digest in refused}

    def compile_all(self, most_s: float) -> None:
        """Compiles the registry's scripts for at most `most_s` seconds. After that, `follow` compiles the others."""
        ends_at = time.monotonic() + most_s
        while time.monotonic() < ends_at and self.compile_next():
            pass

    def follow(self, stop: threading.Event) -> None:
        """Compiles the scripts that messages wait for and the new scripts of the registry, until `stop` is set."""
        while not stop.is_set():
            began = time.monotonic()
            if self.compile_next():
                # Compiling takes the interpreter from the drain, so it may take half of the time at most.
                stop.wait(time.monotonic() - began)
            elif self._is_asked.wait(INTERVAL_S):
                self._is_asked.clear()

    def compile_next(self) -> bool:
        """Compiles one script. Returns whether there was a script to compile.

        A script for which messages wait comes first.
        """
        current = self._numbers()
        if current is not self._seen:
            self._seen = current
            self._forget_unused()
        if (number := self._next()) is None:
            return False
        digest = str(number.bot_digest)
        compiled = _compile(number)
        with self._lock:
            self._asked.pop(digest, None)
            if isinstance(compiled, str):
                self._refused[digest] = compiled
            else:
                self._compiled[digest] = compiled
                self._make_room(keep=digest)
        self._forget_unused()
        return True

    def _next(self) -> Number | None:
        with self._lock:
            if self._asked:
                return next(iter(self._asked.values()))
        # Otherwise scripts without messages would displace those in use.
        if self._used_bytes() > self._most_bytes * 3 / 4:
            return None
        done = self._compiled.keys() | self._refused.keys()
        return next((each for each in self._seen.values() if each.bot and each.bot_digest not in done), None)

    def _forget_unused(self) -> None:
        """Drops scripts that no number has or uses any more."""
        wanted = {identity: each.bot_digest for identity, each in self._seen.items() if each.bot_digest is not None}
        ready = {identity: digest for identity, digest in wanted.items() if digest in self._compiled}
        digests = set(wanted.values())
        with self._lock:
            last_good = {identity: digest for identity, digest in self._in_use.items() if identity in self._seen}
            self._in_use = last_good | ready
            self._refused = {digest: why for digest, why in self._refused.items() if digest in digests}
            for digest in self._compiled.keys() - digests.union(self._in_use.values()):
                del self._compiled[digest]

    def _used_bytes(self) -> int:
        return sum(each.script.memory for each in self._compiled.values())

    def _make_room(self, keep: str) -> None:
        """Drops scripts until the others fit into `most_bytes`.

        Each drop takes the namespace whose scripts use the most memory. Of these scripts, the one that was used the
        longest ago is dropped.
        """
        while self._used_bytes() > self._most_bytes:
            by_namespace: dict[str, list[str]] = defaultdict(list)
            for digest, compiled in self._compiled.items():
                by_namespace[compiled.namespace].append(digest)
            largest = max(by_namespace.values(), key=lambda each: sum(self._compiled[d].script.memory for d in each))
            others = [digest for digest in largest if digest != keep]
            if not others:
                return
            del self._compiled[min(others, key=lambda digest: self._compiled[digest].used_at)]


def _compile(number: Number) -> _Compiled | str:
    """Returns a number's compiled script, or what is wrong with it. The log says it, too."""
    assert number.bot is not None
    try:
        return _Compiled(script.load(number.bot), number.namespace, time.monotonic())
    except script.ScriptError as error:
        problem = str(error)[:1000]
    except Exception as error:  # noqa: BLE001 - the thread must go on for the other scripts
        problem = type(error).__name__
    log.error("bot cannot be loaded", number=number.phone_number_id, problem=problem)
    return problem
