"""`make faults`: runs the tests of every row of docs/reliability.md, or of some rows, and records the results.

    python -m tools.faults [ROW …] [--local] [pytest's arguments]

Standard output has one JSON object per row; everything else goes to standard error. The exit status is 1 if a row
failed, was skipped or has no test. Rows whose tests need a cluster run on the cluster of `make up` if it exists,
and otherwise on a temporary one. `--local` leaves these rows out.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import model
from tools.cluster import e2e
from tools.faults import results
from tools.faults.rows import ROWS, Row
from tools.machine import REPOSITORY, StepFailed, fail, print_step

CLUSTER_FOLDERS = (e2e.API_SERVER, e2e.RELEASE)


@dataclass
class Report:
    """What the plugin wrote: the rows of each collected test, and the result of each test that ended."""

    rows: dict[str, list[str]] = field(default_factory=dict)
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, file: Path) -> None:
        """Adds the lines of a report."""
        for line in file.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            (self.rows if "rows" in entry else self.ended)[entry["test"]] = entry.get("rows", entry)

    def tests(self, row: str) -> list[str]:
        """Returns the ids of the tests that are marked for a row."""
        return [test for test, rows in self.rows.items() if row in rows]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the rows. Returns the exit status. Raises `StepFailed` if the tests cannot be collected or run."""
    parser = argparse.ArgumentParser(prog="python -m tools.faults", description="Run the rows of docs/reliability.md.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="for example S3; all rows without one")
    parser.add_argument("--local", action="store_true", help="leave out the rows that need a cluster")
    own, passed_on = parser.parse_known_args(arguments)
    if unknown := [row for row in own.rows if row not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}")

    lines = _separate_output()
    with tempfile.TemporaryDirectory(prefix="wp-faults-") as name:
        folder = Path(name)
        collected = _collect(folder, own.rows or list(ROWS))
        on_cluster = [row for row in (own.rows or ROWS) if _needs_cluster(collected.tests(row))]
        local = [row for row in (own.rows or ROWS) if row not in on_cluster]
        report = Report()
        found: list[results.Result] = []
        # Results are saved after each step, so that a cluster that cannot be made costs no other row its result.
        for step, rows in ((_run_local, local), (_run_on_cluster, [] if own.local else on_cluster)):
            if rows:
                step(folder, rows, collected, report, passed_on)
                found += _record([_result(ROWS[row], collected.tests(row), report) for row in rows], lines)
    bad = [result for result in found if result.result not in (results.PASSED, results.OPEN)]
    print_step(f"{len(found) - len(bad)} of {len(found)} rows passed or are open; see {results.DOCUMENT}")
    for result in bad:
        print_step(f"{result.row} {result.result}: {result.reason}")
    return 1 if bad else 0


def _separate_output() -> Any:
    """Returns a file for standard output. What this program and its children print goes to standard error."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return lines


def _collect(folder: Path, rows: Sequence[str]) -> Report:
    """Returns the tests that are marked for the rows. Only files that contain one of the markers are imported."""
    marked = re.compile(rf"\bmark\.fault\(\"({'|'.join(rows)})\"\)")
    files = [
        str(path.relative_to(REPOSITORY))
        for path in sorted((REPOSITORY / "tests").rglob("test_*.py"))
        if marked.search(path.read_text(encoding="utf-8"))
    ]
    print_step(f"collecting the tests of {len(files)} files")
    file = folder / "collected.jsonl"
    file.touch()
    status = _pytest(files, rows, file, ["--collect-only", "-qq"], stdout=subprocess.DEVNULL)
    if status not in (0, e2e.NO_TESTS_COLLECTED):
        raise StepFailed(f"collecting the tests ended with status {status}")
    report = Report()
    report.add(file)
    return report


def _run_local(folder: Path, rows: Sequence[str], collected: Report, report: Report, passed_on: Sequence[str]) -> None:
    """Runs the tests of rows that need no cluster, and adds what they showed to the report."""
    files = sorted({test.partition("::")[0] for row in rows for test in collected.tests(row)})
    if not files:
        return
    print_step(f"running tests of {len(files)} files")
    file = folder / "local.jsonl"
    file.touch()
    _pytest(files, rows, file, ["-v", "-p", "no:randomly", *passed_on])
    report.add(file)


def _run_on_cluster(
    folder: Path, rows: Sequence[str], collected: Report, report: Report, passed_on: Sequence[str]
) -> None:
    """Runs the tests of rows that need a cluster, and those of their tests that need none.

    If the cluster cannot be made or used, its tests count as tests that did not end.
    """
    tests = [test for row in rows for test in collected.tests(row)]
    local = Report(rows={test: collected.rows[test] for test in tests if not _needs_cluster([test])})
    _run_local(folder, rows, local, report, passed_on)
    file = folder / "cluster.jsonl"
    file.touch()
    os.environ["PYTHONPATH"] = str(REPOSITORY)  # pytest imports the plugin before it reads its settings
    selection = ["-v", "-p", "no:randomly", *_selection(rows, file), *passed_on]
    try:
        with e2e.cluster():
            for each in CLUSTER_FOLDERS:
                if any(test.startswith(f"{each}/") for test in tests):
                    e2e.run_tests([each], selection)
    except StepFailed as failure:
        print_step(str(failure))
    report.add(file)


def _record(found: Sequence[results.Result], lines: Any) -> Sequence[results.Result]:
    """Saves results, writes the document, and prints a line for each result. Returns the results."""
    results.save(found)
    for path, content in results.files().items():
        (REPOSITORY / path).write_text(content, encoding="utf-8")
    for result in found:
        lines.write(result.line() + "\n")
    lines.flush()
    return found


def _pytest(files: Iterable[str], rows: Sequence[str], report: Path, more: Sequence[str], **streams: Any) -> int:
    command = [sys.executable, "-m", "pytest", *_selection(rows, report), *more, *files]
    return subprocess.run(command, cwd=REPOSITORY, check=False, **streams).returncode


def _selection(rows: Sequence[str], report: Path) -> list[str]:
    return ["-p", "tools.faults.plugin", f"--fault-rows={','.join(rows)}", f"--fault-report={report}"]


def _needs_cluster(tests: Iterable[str]) -> bool:
    return any(test.startswith(tuple(f"{each}/" for each in CLUSTER_FOLDERS)) for test in tests)


def _result(row: Row, tests: Sequence[str], report: Report) -> results.Result:
    machine = f"{os.cpu_count()} × {model()}, Linux, Python {platform.python_version()}"
    return results.result_of(row, tests, report.ended, at=datetime.now(UTC).date().isoformat(), machine=machine)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StepFailed as failure:
        fail(str(failure))
