"""Stores results as one JSON line per row and measurement, shows them as a table, and writes them into the README."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

FILE = Path(__file__).parent / "results.jsonl"
README = Path(__file__).parent / "README.md"
BEGIN = "<!-- figures: written by `python -m benchmarks report` -->"
END = "<!-- end of figures -->"

QUIET_CPUS = 0.2
"""Processors that others may keep busy while a result still counts as measured on a quiet machine."""


@dataclass(frozen=True)
class Result:
    """One measurement of a row. The two sides run alternately, and two runs are a pair."""

    row: str
    title: str
    ours_is: str
    theirs_is: str
    at: str
    commit: str
    machine: dict[str, Any]
    sizes: dict[str, float]
    lines: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    """Figures of one side each, with `side`, `pair`, `foreign_cpus` and `load_average`."""

    @property
    def foreign_cpus(self) -> float:
        """Returns the largest number of processors that other programs kept busy during one run."""
        return float(max(run["foreign_cpus"] for run in self.runs))

    @property
    def pairs(self) -> int:
        """Returns how many times each side ran."""
        return len(self.runs) // 2

    def figures(self, side: str, key: str) -> list[float]:
        """Returns the values of one figure of a side, in the order of the pairs.

        The list is empty if the side does not measure this figure.
        """
        return [run[key] for run in self.runs if run["side"] == side and key in run]

    def append(self) -> None:
        """Adds the result to the file of results."""
        with FILE.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(self), separators=(",", ":")) + "\n")

    @classmethod
    def latest(cls) -> list[Self]:
        """Returns the last result of each row."""
        if not FILE.exists():
            return []
        found: dict[str, Self] = {}
        for line in FILE.read_text(encoding="utf-8").splitlines():
            result = cls(**json.loads(line))
            found[result.row] = result
        return list(found.values())


def table(result: Result) -> str:
    """Returns the result as a Markdown table, which is readable in a terminal too.

    Figures are medians, with the lowest and the highest run.
    """
    cells = [("", "Waypost", "other side", "ratio", "aim")]
    for line in result.lines:
        ours, theirs = result.figures("ours", line["key"]), result.figures("theirs", line["key"])
        ratios = [a / b for a, b in zip(ours, theirs, strict=False) if b]
        cells.append((line["label"], _spread(ours, line["unit"]), _spread(theirs, line["unit"]), _spread(ratios, "×"),
                      _aim(line, ours, ratios)))  # fmt: skip
    widths = [max(len(row[column]) for row in cells) for column in range(5)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def conditions(result: Result) -> str:
    """Returns two sentences about the conditions of the measurement."""
    loads = [run["load_average"] for run in result.runs]
    machine = result.machine
    busy = "" if result.foreign_cpus <= QUIET_CPUS else " **The machine was busy with something else.**"
    sizes = ", ".join(f"{key.replace('_', ' ')} {value:,}" for key, value in result.sizes.items())
    return (
        f"{result.at[:16].replace('T', ' ')} UTC, commit {result.commit}, "
        f"{machine['processors']} × {machine['model']}, "
        f"Python {machine['python']}, PostgreSQL {machine['postgresql']}, {machine['redis']}. "
        f"{result.pairs} pairs; {sizes}. Load average {min(loads):.1f}–{max(loads):.1f}, of which others kept "
        f"{result.foreign_cpus:.2f} processors busy at most.{busy}"
    )


def files() -> dict[Path, str]:
    """Returns the README with the latest result of each row, by its path in the repository."""
    parts = [
        f"### {result.title}\n\n- Waypost: {result.ours_is}\n- Other side: {result.theirs_is}\n\n{table(result)}\n\n"
        f"{conditions(result)}\n"
        for result in Result.latest()
    ]
    before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    content = f"{before}{BEGIN}\n\n" + "\n".join(parts) + f"\n{END}{after}"
    return {README.relative_to(README.parents[1]): content}


def report() -> None:
    """Writes the latest result of each row into the README, as `make generate` does too."""
    for path, content in files().items():
        (README.parents[1] / path).write_text(content, encoding="utf-8")


def _spread(figures: Sequence[float], unit: str) -> str:
    if not figures:
        return "–"
    space = "" if unit in {"/s", "×"} else " "
    return f"{_number(statistics.median(figures))}{space}{unit} ({_number(min(figures))}–{_number(max(figures))})"


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"


def _aim(line: dict[str, Any], ours: Sequence[float], ratios: Iterable[float]) -> str:
    if line["ratio_at_least"] is not None:
        met = statistics.median(ratios) >= line["ratio_at_least"]
        return f"≥ {line['ratio_at_least']:g}× {'met' if met else 'missed'}"
    if line["at_most"] is not None:
        met = statistics.median(ours) <= line["at_most"]
        return f"≤ {line['at_most']:g} {line['unit']} {'met' if met else 'missed'}"
    return ""
