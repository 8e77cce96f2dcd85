"""`wrk` with requests prepared beforehand, so that making and signing them costs nothing while it runs."""

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import deliveries
from benchmarks.deliveries import Delivery
from benchmarks.stage import Failed

SCRIPT = Path(__file__).parent / "load.lua"


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw. Latencies in milliseconds, from request to answer, of a connection that never rests."""

    answers: int
    seconds: float
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float
    lasted: bool
    """Whether no request was sent twice."""

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


def require() -> str:
    """Where wrk is. Raises `Failed` with what to install."""
    found = shutil.which("wrk")
    if found is None:
        raise Failed("this row needs wrk; install it: apt-get install wrk, dnf install wrk, or brew install wrk")
    return found


def run(file: Path, given: Iterable[Delivery], port: int, *, seconds: int, connections: int) -> Load:
    """Send these for that long, and again from the first when they do not last; `file` is for them.

    Raises `Failed` if any was not answered with 200.
    """
    count, length = _write(file, given)
    command = [require(), "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    command += [f"http://127.0.0.1:{port}{deliveries.PATH}", "--", str(file), str(length)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds + 60)
    file.unlink()
    _, marker, result = done.stdout.partition("RESULT ")
    if done.returncode or not marker:
        raise Failed(f"wrk ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    load = Load(**json.loads(result), lasted=True)
    if load.refused or load.broken:
        raise Failed(f"{load.refused} deliveries were not answered with 200, {load.broken} not at all")
    return replace(load, lasted=load.answers + connections + 1 <= count)


def _write(file: Path, given: Iterable[Delivery]) -> tuple[int, int]:
    lengths: Counter[int] = Counter()
    with file.open("wb") as requests:
        for delivery in given:
            lengths[requests.write(deliveries.request(delivery))] += 1
    [(length, count)] = lengths.items()  # the script reads records of one length
    return count, length
