"""Tests of `make faults`: which rows exist, how the results of their tests are judged, and what the table shows."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tools.faults import results
from tools.faults.rows import GROUPS, ROWS, Row
from tools.machine import REPOSITORY

ROW = Row("S9", "the disk burns", "no fire")
TEST = "tests/guarantees/test_fire.py::test_no_fire"
NOW = {"at": "2026-11-30", "machine": "2 × a processor"}


def test_there_are_53_rows_and_two_are_open() -> None:
    """The matrix has 53 rows. Only two have no test yet, and they say why."""
    sizes = {letter: sum(row.startswith(letter) for row in ROWS) for letter in GROUPS}

    assert sizes == {"S": 7, "P": 7, "G": 7, "D": 11, "X": 13, "K": 8}
    assert [row.id for row in ROWS.values() if row.open] == ["X9", "X13"]


def test_a_marker_with_an_unknown_row_fails_the_collection(tmp_path: Path) -> None:
    """A marker with an unknown row fails the collection; otherwise its row would silently have no test."""
    (tmp_path / "conftest.py").write_text(
        "from tools.faults.marks import check_markers\n"
        "def pytest_configure(config): config.addinivalue_line('markers', 'fault(row)')\n"
        "def pytest_collection_modifyitems(items): check_markers(items)\n"
    )
    (tmp_path / "test_it.py").write_text("import pytest\n@pytest.mark.fault('S99')\ndef test_it(): pass\n")

    done = _pytest(tmp_path, "--collect-only")

    assert done.returncode == 4
    assert "fault('S99',) names no row" in done.stderr


def test_the_plugin_runs_the_tests_of_a_row_and_reports_them(tmp_path: Path) -> None:
    """The plugin selects the tests of the wanted rows. It reports the outcome, the figures and the reason of each."""
    (tmp_path / "conftest.py").write_text(
        "def pytest_configure(config): config.addinivalue_line('markers', 'fault(row)')\n"
    )
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.fault('S1')\ndef test_other(): pass\n"
        "@pytest.mark.fault('S2')\n@pytest.mark.fault('S1')\n"
        "def test_good(record_property): record_property('figure', {'name': 'size', 'value': 3})\n"
        "@pytest.mark.fault('S2')\ndef test_bad(): assert 1 == 2\n"
        "@pytest.mark.fault('S2')\ndef test_skipped(): pytest.skip('no root')\n"
    )
    report = tmp_path / "report.jsonl"

    _pytest(tmp_path, "-p", "tools.faults.plugin", "--fault-rows=S2", f"--fault-report={report}")

    lines = [json.loads(line) for line in report.read_text().splitlines()]
    assert [line["rows"] for line in lines if "rows" in line] == [["S1", "S2"], ["S2"], ["S2"]]
    ended = {line["test"].rpartition("::")[2]: line for line in lines if "outcome" in line}
    assert {name: line["outcome"] for name, line in ended.items()} == {
        "test_good": "passed", "test_bad": "failed", "test_skipped": "skipped",
    }  # fmt: skip
    assert ended["test_good"]["figures"] == [{"name": "size", "value": 3}]
    assert ended["test_bad"]["reason"] == "assert 1 == 2"
    assert ended["test_skipped"]["reason"] == "no root"


def test_a_row_passes_only_if_each_of_its_tests_ended_well() -> None:
    """A row passes if each of its tests passed. A test that never ended counts as failed."""
    passed = {"outcome": "passed", "seconds": 2.0, "figures": [], "reason": ""}
    skipped = {**passed, "outcome": "skipped", "reason": "no root"}

    def judged(*ended: dict[str, object] | None) -> str:
        tests = [f"{TEST}[{number}]" for number in range(len(ended))]
        known = {test: line for test, line in zip(tests, ended, strict=True) if line}
        return results.result_of(ROW, tests, known, **NOW).result

    assert judged(passed, passed) == "passed"
    assert judged(passed, skipped) == "skipped"
    assert judged(passed, skipped, None) == "failed"
    assert judged() == "missing"
    assert results.result_of(ROWS["X9"], [], {}, **NOW).result == "open"


def test_the_result_of_one_row_leaves_those_of_others(tmp_path: Path) -> None:
    """Saving the result of a row keeps the results of other rows, in the order of the table."""
    file = tmp_path / "results.jsonl"
    results.save([results.Result("S3", "failed"), results.Result("S1", "passed")], file)
    results.save([results.Result("S3", "passed")], file)

    assert [(row, result.result) for row, result in results.load(file).items()] == [("S1", "passed"), ("S3", "passed")]


def test_the_table_shows_figures_and_links_to_tests() -> None:
    """A row of the table shows the range of each figure with its aim, and links each test's file once."""
    figures = [{"name": "p99", "value": value, "unit": "ms", "aim": "at most 1 s"} for value in (12.34, 250.0)]
    tests = ["tests/conftest.py::test_a[1]", "tests/conftest.py::test_a[2]"]
    ended = {test: {"outcome": "passed", "seconds": 30.6, "figures": [figure], "reason": ""}
             for test, figure in zip(tests, figures, strict=True)}  # fmt: skip
    result = results.result_of(ROWS["S3"], tests, ended, **NOW)

    (line,) = (line for line in results.tables({"S3": result}).splitlines() if line.startswith("| S3 "))

    assert line.endswith("| passed, 61 s | p99 12.3 to 250 ms (aim: at most 1 s) | [test_a](../tests/conftest.py) |")


def _pytest(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pytest", "--rootdir", str(folder), "-c", "/dev/null", str(folder), *arguments]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
