"""Takes the power from a PostgreSQL: the files get the contents that were synced, and lose everything else.

`native/disk.c` runs inside the server and records what each write replaces, and each sync. A real power loss leaves
some of the writes that were not synced and loses the others. `cut` loses all of them, or a random part.
"""

import contextlib
import os
import random
import signal
import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from waypost.dev.embedded import EmbeddedPostgres

from .native_libraries import build

_HEADER = struct.Struct("5Q")
_WRITE, _SYNC, _FORGET = 1, 2, 3
BLOCK = 4096
"""Bytes that a disk writes as a whole."""


@dataclass(frozen=True)
class _Write:
    """What a write replaced."""

    position: int
    """Where its record begins in the journal."""
    offset: int
    replaced: bytes
    old_size: int


class PoweredPostgres(EmbeddedPostgres):
    """A PostgreSQL whose power can be cut."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._library = build("disk", self.folder / "native")
        self._journal = self.folder / "journal"

    def _command(self) -> list[str]:
        variables = {"LD_PRELOAD": self._library, "DISK_ROOT": self.data, "DISK_LOG": self._journal}
        return ["env", *(f"{name}={value}" for name, value in variables.items()), *super()._command()]

    def cut(self, *, keep: random.Random | None = None) -> int:
        """Ends all processes at once, and undoes the writes that were not synced. Returns how many bytes are lost.

        With `keep`, each block of such a write is lost or kept at random.
        """
        self._end_all()
        lost = 0
        inodes = {path.stat().st_ino: path for path in self.data.rglob("*") if path.is_file()}
        for inode, writes in self._unsynced().items():
            if inode in inodes:
                lost += _undo(inodes[inode], writes, keep)
        self._journal.unlink(missing_ok=True)
        return lost

    def _end_all(self) -> None:
        """Stops the server and its children before it kills them, so that none goes on without the others."""
        assert self.pid is not None
        family = {self.pid}
        while True:
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            found = family | {child for pid in family for child in _children(pid)}
            if found == family:
                break
            family = found
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.kill()
        while any(_is_alive(pid) for pid in family):
            time.sleep(0.01)

    def _unsynced(self) -> dict[int, list[_Write]]:
        """Returns the writes that no sync covers, oldest first, by the file's inode."""
        found: dict[int, list[_Write]] = defaultdict(list)
        data = self._journal.read_bytes()
        for position, kind, inode, offset, replaced, old_size in _records(data):
            if kind == _WRITE:
                found[inode].append(_Write(position, offset, replaced, old_size))
            elif kind == _SYNC:
                found[inode] = [write for write in found[inode] if write.position >= old_size]
            else:
                found.pop(inode, None)
        return found


def _records(data: bytes) -> Iterator[tuple[int, int, int, int, bytes, int]]:
    position = 0
    while position + _HEADER.size <= len(data):
        kind, inode, offset, length, old_size = _HEADER.unpack_from(data, position)
        begin = position + _HEADER.size
        yield position, kind, inode, offset, data[begin : begin + length], old_size
        position = begin + length


def _undo(path: Path, writes: list[_Write], keep: random.Random | None) -> int:
    """Gives a file its content from before the writes. Returns how many bytes changed."""
    if not writes:
        return 0
    now = path.read_bytes()
    before = bytearray(now)
    for write in reversed(writes):
        size = max(len(before), write.offset + len(write.replaced))
        before.extend(bytes(size - len(before)))
        before[write.offset : write.offset + len(write.replaced)] = write.replaced
        del before[write.old_size :]
    if keep is not None:
        whole = max(len(now), len(before))
        before.extend(bytes(whole - len(before)))
        for start in range(0, len(now), BLOCK):
            if keep.random() < 0.5:
                before[start : start + BLOCK] = now[start : start + BLOCK]
    lost = sum(a != b for a, b in zip(before, now, strict=False)) + abs(len(now) - len(before))
    with path.open("r+b") as file:
        file.write(before)
        file.truncate(len(before))
    return lost


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False
