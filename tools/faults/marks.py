"""The marker `fault`, by which a test says which rows it proves, and the figures that a test records."""

from collections.abc import Iterable

import pytest

from tools.faults.rows import ROWS

FIGURE = "figure"
"""The name of the property of a test's report in which a figure is stored."""


def rows_of(item: pytest.Item) -> list[str]:
    """Returns the ids of the rows that a test proves, in the order of the table."""
    marked = {str(row) for mark in item.iter_markers("fault") for row in mark.args}
    return [row for row in ROWS if row in marked]


def check_markers(items: Iterable[pytest.Item]) -> None:
    """Raises `pytest.UsageError` if a test names a row that does not exist."""
    for item in items:
        for mark in item.iter_markers("fault"):
            if len(mark.args) != 1 or mark.kwargs or mark.args[0] not in ROWS:
                raise pytest.UsageError(f"{item.nodeid}: fault{mark.args} names no row of tools/faults/rows.py")
