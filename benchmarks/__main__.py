"""Measures the rows that `python -m benchmarks [ROW …]` names, prints their tables and stores the results.

`python -m benchmarks report` writes the README instead.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from benchmarks import machine, results
from benchmarks.acks import Acks
from benchmarks.fairness import Fairness
from benchmarks.handled import Handled
from benchmarks.latency import Latency
from benchmarks.replies import Replies
from benchmarks.results import Result
from benchmarks.row import Row
from benchmarks.stage import ROOT, Failed, Stage
from waypost.command_errors import CommandError

ROWS: dict[str, type[Row]] = {row.name: row for row in (Acks, Fairness, Handled, Latency, Replies)}
LOOK_S = 3.0


def main() -> int:
    """Measures rows or writes the report. Returns the exit status.

    The status is 1 if a row failed or the machine is too busy to measure.
    """
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"{', '.join(ROWS)}; report; default: all rows")
    parser.add_argument("--pairs", type=int, default=5, help="how often both sides run, in turn (default 5)")
    parser.add_argument(
        "--small", action="store_true", help="one pair of little work, to see whether it works; not kept"
    )
    parser.add_argument("--busy", action="store_true", help="measure although the machine is busy; the result says so")
    options = parser.parse_args()
    if options.rows == ["report"]:
        results.report()
        return 0
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; there are {', '.join(ROWS)}")
    try:
        if not (options.busy or options.small):
            _require_quiet()
        for name in options.rows or ROWS:
            _run(ROWS[name], pairs=1 if options.small else options.pairs, small=options.small)
    except (Failed, CommandError) as failure:
        print(f"benchmark failed: {failure}", file=sys.stderr)
        return 1
    return 0


def _require_quiet() -> None:
    before = machine.moment([])
    time.sleep(LOOK_S)
    busy = machine.foreign(before, machine.moment([]))
    if busy > results.QUIET_CPUS or machine.load_average() > 0.5:
        raise Failed(
            f"the machine is busy: {busy:.2f} processors, load average {machine.load_average():.2f}; "
            "wait until both are below 0.2 and 0.5, or add --busy to measure all the same"
        )


def _run(row: type[Row], *, pairs: int, small: bool) -> None:
    sizes = row.small if small else row.sizes
    print(f"\n{row.title}: {pairs} pair(s), {dict(sizes)}", flush=True)
    with Stage() as stage:
        result = _measure(row, stage, sizes, pairs, warm_up=not small)
    print(f"\n{results.table(result)}\n\n{results.conditions(result)}", flush=True)
    if not small:
        result.append()


def _measure(row: type[Row], stage: Stage, sizes: Mapping[str, Any], pairs: int, *, warm_up: bool) -> Result:
    sides = row(stage, sizes)
    runs: list[dict[str, Any]] = []
    for pair in range(0 if warm_up else 1, pairs + 1):
        for side in ("ours", "theirs"):
            with stage.watched() as noted:
                figures = getattr(sides, side)()
            run = {"side": side, "pair": pair, **{key: round(value, 2) for key, value in figures.items()}, **noted}
            print("  warm-up" if pair == 0 else f"  pair {pair}", side, *_pairs(run), flush=True)
            if pair:
                runs.append(run)
    return Result(
        row=row.name,
        title=row.title,
        ours_is=row.ours_is,
        theirs_is=row.theirs_is,
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        machine={
            "processors": os.cpu_count(),
            "model": machine.model(),
            "python": platform.python_version(),
            "postgresql": stage.text("SHOW server_version"),
            "redis": stage.redis_name(),
        },
        sizes=dict(sizes),
        lines=[asdict(line) for line in row.lines],
        runs=runs,
    )


def _pairs(run: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in run.items() if key not in {"side", "pair"}]


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(git, check=False, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
