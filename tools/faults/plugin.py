"""A plugin of pytest for `make faults`: selects the tests of some rows, and writes what each of them showed.

    python -m pytest -p tools.faults.plugin --fault-rows S3,S4 --fault-report FILE tests

The report has one JSON object per line: a `test` with its `rows` when it is collected, and a `test` with its
`outcome`, `seconds`, `figures` and `reason` when it has ended.
"""

import json
from pathlib import Path

import pytest

from tools.faults.marks import FIGURE, rows_of


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the two options."""
    parser.addoption("--fault-rows", default="", help="run only tests of these rows, separated by commas")
    parser.addoption("--fault-report", help="the file to which collected tests and their results are added")


def pytest_configure(config: pytest.Config) -> None:
    """Starts the report."""
    config.pluginmanager.register(_Report(config), "waypost-faults")


class _Report:
    """Writes the report of one run."""

    def __init__(self, config: pytest.Config) -> None:
        self._wanted = set(str(config.getoption("--fault-rows")).split(","))
        self._file = Path(str(config.getoption("--fault-report")))
        self._seconds: dict[str, float] = {}
        self._outcomes: dict[str, str] = {}
        self._reasons: dict[str, str] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keeps the tests of the wanted rows, in the order of the table within each file's place."""
        chosen = [item for item in items if self._wanted.intersection(rows_of(item))]
        config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
        items[:] = chosen
        for item in items:
            self._write(test=item.nodeid, rows=rows_of(item))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Adds up the phases of a test. The result is written after the last phase."""
        test = report.nodeid
        self._seconds[test] = self._seconds.get(test, 0.0) + report.duration
        if report.outcome != "passed":
            self._outcomes.setdefault(test, report.outcome)
            self._reasons.setdefault(test, _reason(report))
        if report.when == "teardown":
            self._write(
                test=test,
                outcome=self._outcomes.get(test, "passed"),
                seconds=round(self._seconds[test], 1),
                figures=[value for name, value in report.user_properties if name == FIGURE],
                reason=self._reasons.get(test, ""),
            )

    def _write(self, **line: object) -> None:
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def _reason(report: pytest.TestReport) -> str:
    """Returns in one line why a test was skipped or failed."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    return (crash.message.splitlines() or [""])[0] if crash else ""
