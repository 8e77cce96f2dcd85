"""Runs `wrk` with requests that were made and signed before. They then cost nothing while wrk runs."""

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
    """The result of one run of wrk. Latencies are in milliseconds, from request to answer.

    Each connection sends its next request as soon as it has the answer to the last one.
    """

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
        """Returns the answers per second."""
        return self.answers / self.seconds


def require() -> str:
    """Returns the path of wrk. If wrk is missing, raises `Failed` with the commands that install it."""
    found = shutil.which("wrk")
    if found is None:
        raise Failed("this row needs wrk; install it: apt-get install wrk, dnf install wrk, or brew install wrk")
    return found


def run(file: Path, given: Iterable[Delivery], port: int, *, seconds: int, connections: int) -> Load:
    """Runs wrk with the given deliveries for `seconds`. If all are sent earlier, wrk starts again with the first.

    The deliveries are written into `file`, which is deleted afterwards. Raises `Failed` if any delivery was not
    answered with 200.
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
