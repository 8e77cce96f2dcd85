"""Stores the last result of each row as a line of JSON, and writes them as the tables of docs/reliability.md."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from tools.faults.rows import GROUPS, ROWS, Row
from tools.machine import REPOSITORY

FILE = Path(__file__).parent / "results.jsonl"
DOCUMENT = Path("docs/reliability.md")
BEGIN = "<!-- results: written by `make faults` -->"
END = "<!-- end of results -->"

PASSED, FAILED, SKIPPED, MISSING, OPEN = "passed", "failed", "skipped", "missing", "open"
"""Missing: no test is marked for the row. Open: the row says why there is none yet."""


@dataclass(frozen=True)
class Result:
    """What the tests of a row showed."""

    row: str
    result: str
    seconds: float = 0.0
    tests: list[str] = field(default_factory=list)
    """The ids of the test functions, without parameters."""
    figures: list[dict[str, Any]] = field(default_factory=list)
    """Each with `name`, `value`, `unit` and `aim`."""
    reason: str = ""
    at: str = ""
    """The day of the run."""
    machine: str = ""

    def line(self) -> str:
        """Returns the result as a line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)


def result_of(row: Row, tests: Sequence[str], ended: dict[str, dict[str, Any]], *, at: str, machine: str) -> Result:
    """Returns the result of a row.

    `tests` are the ids of the tests that are marked for the row. `ended` is what the plugin reported of each test
    that ran. A test that is not in it never ended, for example because it ended pytest.
    """
    if not tests:
        return Result(row.id, OPEN if row.open else MISSING, reason=row.open or "no test is marked for this row")
    lines = [ended.get(test, {"outcome": FAILED, "reason": "did not run to its end"}) for test in tests]
    outcomes = {line["outcome"] for line in lines}
    result = next((each for each in (FAILED, SKIPPED) if each in outcomes), PASSED)
    return Result(
        row=row.id,
        result=result,
        seconds=round(sum(line.get("seconds", 0.0) for line in lines), 1),
        tests=list(dict.fromkeys(test.partition("[")[0] for test in tests)),
        figures=[each for line in lines for each in line.get("figures", [])],
        reason=next((str(line["reason"]) for line in lines if line["outcome"] == result and line["reason"]), ""),
        at=at,
        machine=machine,
    )


def load(file: Path = FILE) -> dict[str, Result]:
    """Returns the stored result of each row by its id."""
    if not file.exists():
        return {}
    found = (Result(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines())
    return {result.row: result for result in found}


def save(results: Iterable[Result], file: Path = FILE) -> None:
    """Replaces the stored results of these rows. Those of other rows stay."""
    stored = {**load(file), **{result.row: result for result in results}}
    file.write_text("".join(f"{stored[row].line()}\n" for row in ROWS if row in stored), encoding="utf-8")


def files() -> dict[Path, str]:
    """Returns a dict with one entry: the document's path in the repository, and its content with all results."""
    before, _, rest = (REPOSITORY / DOCUMENT).read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    return {DOCUMENT: f"{before}{BEGIN}\n\n{tables(load())}\n{END}{after}"}


def tables(results: dict[str, Result]) -> str:
    """Returns a table for each group of rows, and a sentence about the machine."""
    parts = []
    for letter, rows in groupby(ROWS.values(), key=lambda row: row.id[0]):
        parts += [
            f"### {GROUPS[letter]}",
            "",
            "| row | fault | expected | result | figures | tests |",
            "|---|---|---|---|---|---|",
        ]
        parts += [_table_row(row, results.get(row.id)) for row in rows]
        parts.append("")
    counts = [result.result for result in results.values()]
    days = sorted({result.at for result in results.values() if result.at})
    machines = sorted({result.machine for result in results.values() if result.machine})
    parts.append(
        f"{counts.count(PASSED)} of {len(ROWS)} rows passed; {sum(bool(row.open) for row in ROWS.values())} are open."
    )
    if days:
        span = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
        parts.append(f"Measured {span} on {'; '.join(machines)}.")
    return "\n".join([*parts, ""])


def _table_row(row: Row, result: Result | None) -> str:
    if result is None:
        outcome = f"open: {row.open}" if row.open else "not run"
        return _cells(row.id, row.fault, row.expected, outcome, "", "")
    outcome = f"{result.result}: {result.reason}" if result.result in (OPEN, SKIPPED, MISSING) else result.result
    if result.seconds:
        outcome += f", {result.seconds:.0f} s"
    return _cells(row.id, row.fault, row.expected, outcome, _figures(result.figures), _tests(result.tests))


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _figures(figures: Iterable[dict[str, Any]]) -> str:
    """Returns the figures as text. A figure that several tests measured is shown with its lowest and highest value."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for each in figures:
        found.setdefault((each["name"], each["unit"], each["aim"]), []).append(each["value"])
    texts = []
    for (name, unit, aim), values in found.items():
        low, high = _number(min(values)), _number(max(values))
        spread = low if low == high else f"{low} to {high}"
        texts.append(f"{name} {spread} {unit}".rstrip() + (f" (aim: {aim})" if aim else ""))
    return "; ".join(texts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def _tests(tests: Iterable[str]) -> str:
    """Returns a link to the file of each test function."""
    return ", ".join(f"[{test.rpartition('::')[2]}](../{test.partition('::')[0]})" for test in tests)
