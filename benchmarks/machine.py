"""Measures how busy the machine is, and which part of the load is not caused by the benchmark.

A ratio says little if, for example, a compiler was running at the same time.
"""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
MEGABYTE = 1024 * 1024


@dataclass(frozen=True)
class Moment:
    """The processor time used up to a moment, in seconds, by the whole machine and by our processes."""

    at: float
    busy: float
    ours: float


def moment(roots: Iterable[int]) -> Moment:
    """Returns the processor time used up to now. `roots` are our processes. The time of their children counts too."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    idle = fields[3] + fields[4]
    return Moment(time.monotonic(), (sum(fields[:8]) - idle) / TICKS, _processor_seconds(roots))


def foreign(before: Moment, after: Moment) -> float:
    """Returns how many processors other programs kept busy between two moments, on average. 0 is a quiet machine."""
    others = (after.busy - before.busy) - (after.ours - before.ours)
    return max(0.0, others / max(after.at - before.at, 0.001))


def load_average() -> float:
    """Returns the load average of the last minute."""
    return os.getloadavg()[0]


def peak_megabytes(pid: int) -> float:
    """Returns the most memory that a process has used so far (resident, MB of 2^20 bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / MEGABYTE
    raise LookupError(f"the kernel tells no VmHWM of process {pid}")


def model() -> str:
    """Returns the name of the processor, which is stored with the results."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


def _processor_seconds(roots: Iterable[int]) -> float:
    children: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                # The second field is the program's name in parentheses and may hold blanks.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            pid = int(folder.name)
            children.setdefault(int(fields[1]), []).append(pid)
            used[pid] = sum(int(field) for field in fields[11:15])  # its own, and of children that have ended
    open_, total = [pid for pid in roots if pid in used], 0
    while open_:
        pid = open_.pop()
        total += used[pid]
        open_ += children.get(pid, [])
    return total / TICKS
