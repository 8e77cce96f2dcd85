"""Streams the messages or the daily counts of one number to a text file, as CSV or JSON lines."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from sqlalchemy import Engine

from waypost.store import reports

_FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠|")
"""If a text begins with one of these characters, a spreadsheet may run it as a formula (OWASP, CSV injection)."""


class Writable(Protocol):
    """A text file, or anything else to which text can be written."""

    def write(self, text: str, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Span:
    """The number and the days that an export covers. The days run from `start` to `end`, both included (UTC)."""

    number_id: str
    start: date
    end: date


def messages(engine: Engine, span: Span, file: Writable, *, as_csv: bool) -> int:
    """Writes every message of the span, oldest first. Returns the number of messages.

    CSV has a header line. Without `as_csv`, each line is one JSON object. Memory use does not grow with the
    number of messages.
    """
    with engine.begin() as connection:
        rows = reports.messages(connection, span.number_id, span.start, span.end)
        return _write(reports.MESSAGE_COLUMNS, rows, file, as_csv=as_csv)


def days(engine: Engine, span: Span, file: Writable, *, as_csv: bool) -> int:
    """Writes the counts of each day, as CSV or JSON lines. Returns the number of days."""
    with engine.begin() as connection:
        rows = reports.days(connection, span.number_id, span.start, span.end)
        return _write(reports.DAY_COLUMNS, rows, file, as_csv=as_csv)


def _write(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: Writable, *, as_csv: bool) -> int:
    return write_csv(columns, rows, file) if as_csv else write_json(columns, rows, file)


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: Writable) -> int:
    """Writes CSV as RFC 4180 defines it, with cells that are safe in a spreadsheet. Returns the number of rows."""
    writer = csv.writer(file)
    writer.writerow(columns)
    count = 0
    for row in rows:
        writer.writerow([cell(value) for value in row])
        count += 1
    return count


def write_json(columns: Sequence[str], rows: Iterable[Sequence[Any]], file: Writable) -> int:
    """Writes one JSON object per line, with times as ISO 8601. Returns the number of rows."""
    count = 0
    for row in rows:
        file.write(json.dumps(dict(zip(columns, row, strict=True)), default=date.isoformat, ensure_ascii=False) + "\n")
        count += 1
    return count


def cell(value: object) -> str | int | float:
    """Returns `value` as a CSV cell.

    If a spreadsheet would run a text as a formula, the cell begins with an apostrophe.
    """
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    # Some spreadsheets remove leading blanks before they look for a formula.
    if text[:1] in _FORMULA_STARTS or text.lstrip()[:1] in _FORMULA_STARTS:
        return f"'{text}"
    return text
