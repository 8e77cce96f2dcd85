"""Defines a row of the benchmark: two sides that do the same work in turn, and the lines of the row's table."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from benchmarks.stage import Stage

Figures = dict[str, float]
"""What one run of one side measured, by key."""


@dataclass(frozen=True)
class Line:
    """One line of a table: a figure that each side measures under `key`, and the value that it should have."""

    key: str
    label: str
    unit: str = ""
    ratio_at_least: float | None = None
    """Ours divided by theirs, pair by pair; the median counts."""
    at_most: float | None = None
    """Ours; the median counts."""


class Row(abc.ABC):
    """A comparison of two sides. The row starts the processes that it needs on a stage. Its sides then run in turn."""

    name: ClassVar[str]
    title: ClassVar[str]
    ours_is: ClassVar[str]
    theirs_is: ClassVar[str]
    lines: ClassVar[tuple[Line, ...]]
    sizes: ClassVar[Mapping[str, Any]]
    """How much work a run is; kept with the result."""
    small: ClassVar[Mapping[str, Any]]
    """The same for a look at whether it works at all."""

    @abc.abstractmethod
    def __init__(self, stage: Stage, sizes: Mapping[str, Any]) -> None: ...

    @abc.abstractmethod
    def ours(self) -> Figures:
        """Runs Waypost once and returns the figures. Raises `Failed` when the ledger does not add up."""

    @abc.abstractmethod
    def theirs(self) -> Figures:
        """Runs the other side once and returns the figures. Raises `Failed` when the ledger does not add up."""
