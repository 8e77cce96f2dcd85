"""The data folder of `waypost dev`. Only one run at a time may use it.

The module locks the folder and removes old logs and traces.
"""

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from waypost.command_errors import CommandError

LOG_LIMIT = 8 * 1024 * 1024
"""Size in bytes above which a log is renamed at the next start."""

TRACES_MAX_AGE_S = 24 * 3600.0

LENGTH_LIMIT = 900
"""Most bytes of the folder's whole path. PostgreSQL cuts paths at 1,024 (MAXPGPATH) after adding names of its own."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class DevError(CommandError):
    """Raised when `waypost dev` cannot start or continue. The error message says what to do."""


def make(data: Path) -> None:
    """Creates the folder and its subfolders. Raises `DevError` if a process could not work with the folder's path."""
    path = os.fsencode(data.resolve())
    try:
        is_text = not _CONTROL.search(path.decode())
    except UnicodeDecodeError:
        is_text = False
    if not is_text:
        raise DevError(f"{os.fsdecode(path)!a} is no UTF-8, or holds a control character; choose another with --data")
    if len(path) > LENGTH_LIMIT:
        raise DevError(
            f"{data} is {len(path)} bytes long as a whole path, of which PostgreSQL can use {LENGTH_LIMIT}; "
            "choose another folder with --data"
        )
    for each in (data, data / "logs", data / "traces"):
        each.mkdir(parents=True, exist_ok=True, mode=0o700)


@contextlib.contextmanager
def sole_owner(data: Path) -> Iterator[None]:
    """Holds a lock on the folder. The kernel releases the lock in any case when the process ends.

    Raises `DevError` while another `waypost dev` uses the folder.
    """
    with (data / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DevError(f"another waypost dev uses {data}; stop it, or choose another folder with --data") from None
        yield


def tidy(data: Path) -> None:
    """Renames logs that are larger than `LOG_LIMIT` to `NAME.log.old`.

    Removes traces that are older than `TRACES_MAX_AGE_S`.
    """
    for log in (data / "logs").glob("*.log"):
        if log.stat().st_size > LOG_LIMIT:
            log.replace(log.with_suffix(".log.old"))
    for trace in (data / "traces").iterdir():
        if trace.stat().st_mtime < time.time() - TRACES_MAX_AGE_S:
            trace.unlink()
