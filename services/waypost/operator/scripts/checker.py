"""Checks each script once, in a child process. The event loop only waits for the child.

Leases and other numbers depend on the event loop. Loading a script takes as much processor time and memory as
the script's author chooses.
"""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import structlog

from waypost.contracts.bot_files import digest_of
from waypost.operator.scripts import OUT_OF_MEMORY

log = structlog.get_logger(__name__)

CPU_S: Final = 5
"""Most seconds of processor time for one script. Scripts that are accepted take less than one."""

MEMORY_MIB: Final = 96
"""Most MiB of memory of the child. It takes some 30 itself, and no script that is accepted takes more than 30."""

DEADLINE_S: Final = 30.0
"""Most seconds for one script, in case that the child gets no processor time."""

MOST_VERDICTS: Final = 10_000
"""Scripts whose verdict is remembered."""

_TOO_SLOW: Final = f"it takes more than {CPU_S} s of processor time to load; make it smaller"
_TOO_LARGE: Final = f"it takes more than {MEMORY_MIB} MiB of memory to load; make it smaller"
_UNFINISHED: Final = "it was not checked ({}); the operator tries again at the next reconcile"
_COMMAND: Final = (sys.executable, "-m", "waypost.operator.scripts.child", str(CPU_S), str(MEMORY_MIB))


class ScriptChecker:
    """Checks scripts, one at a time. The child process exists only while scripts wait for it."""

    def __init__(self, *, deadline_s: float = DEADLINE_S, command: Sequence[str] = _COMMAND) -> None:
        """Creates a checker. `command` starts the child process."""
        self._deadline_s = deadline_s
        self._command = command
        self._verdicts: OrderedDict[str, str | None] = OrderedDict()
        self._child: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def problem(self, text: str) -> str | None:
        """Returns a sentence that says what is wrong with a script, or None if the script can be used."""
        digest = digest_of(text)
        if digest in self._verdicts:
            self._verdicts.move_to_end(digest)
            return self._verdicts[digest]
        self._waiting += 1
        try:
            async with self._turn:
                if digest in self._verdicts:
                    return self._verdicts[digest]
                return await self._check(text, digest)
        finally:
            self._waiting -= 1
            if not self._waiting:
                await self._end()

    async def _check(self, text: str, digest: str) -> str | None:
        if self._child is not None:
            # A child that ends after it has checked other scripts says nothing about this one, which then gets its own.
            with suppress(_ChildEnded):
                return self._remember(digest, await self._ask(text))
        try:
            return self._remember(digest, await self._ask(text))
        except _ChildEnded as ended:
            log.warning("the check of a script did not end well", problem=ended.problem, digest=digest)
            return self._remember(digest, ended.problem) if ended.is_final else ended.problem

    def _remember(self, digest: str, problem: str | None) -> str | None:
        self._verdicts[digest] = problem
        if len(self._verdicts) > MOST_VERDICTS:
            self._verdicts.popitem(last=False)
        return problem

    async def _ask(self, text: str) -> str | None:
        """Returns the child's verdict. Raises `_ChildEnded`."""
        try:
            async with asyncio.timeout(self._deadline_s):
                process = self._child = self._child or await self._start()
                assert process.stdin is not None
                assert process.stdout is not None
                with suppress(ConnectionError):  # The child has ended, and so does its output.
                    process.stdin.write(json.dumps(text).encode() + b"\n")
                    await process.stdin.drain()
                if answer := await process.stdout.readline():
                    verdict: str | None = json.loads(answer)
                    return verdict
                status = await process.wait()
        except TimeoutError:
            await self._end()
            raise _ChildEnded(_UNFINISHED.format(f"that took longer than {self._deadline_s:g} s")) from None
        except OSError as error:
            raise _ChildEnded(_UNFINISHED.format(f"no process can be started: {type(error).__name__}")) from None
        except asyncio.CancelledError:
            # Otherwise the answer to this script would be taken for the answer to the next one.
            await self._end()
            raise
        await self._end()
        raise _ended_with(status)

    async def _start(self) -> Process:
        # Nothing is read from its errors: they may quote the script.
        return await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)

    async def _end(self) -> None:
        process, self._child = self._child, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


class _ChildEnded(Exception):
    """Raised when the child ended without a verdict.

    `is_final` says that the script is the cause, so that a repeated check would end in the same way.
    """

    def __init__(self, problem: str, *, is_final: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.is_final = is_final


def _ended_with(status: int) -> _ChildEnded:
    """Returns what a child's exit status says about the script. A negative exit status means a signal."""
    if status == -signal.SIGXCPU:
        return _ChildEnded(_TOO_SLOW, is_final=True)
    # RE2 aborts the process when it gets no memory.
    if status in (OUT_OF_MEMORY, -signal.SIGABRT):
        return _ChildEnded(_TOO_LARGE, is_final=True)
    return _ChildEnded(_UNFINISHED.format(f"the process that loads it ended with status {status}"))
