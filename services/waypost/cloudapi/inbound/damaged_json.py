"""Finds where values begin and end in a damaged JSON document, so that only the bad item is lost.

The module only finds the bytes that belong together. It does not check whether a value is valid JSON. It
reads the document once, without recursion. It raises no error, whatever the document contains.
"""

import contextlib
import json
import re
from typing import Final

from waypost.cloudapi.inbound.lenient_json import storable_text

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_BLANK = re.compile(rb"[ \t\n\r]*+")
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_SCALAR = re.compile(rb'[^\s,:"\[\]{}]++')
# Matches text in which no brackets have to be counted.
_QUIET = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_BRACKETS = re.compile(rb"[\[{]++|[\]}]++")

_MOST_CONTAINERS: Final = 20_000
"""The most containers in a body that is taken apart.

Meta delivers at most 1,000 updates at once, each at most five containers deep. A body with many more is not a damaged
delivery, and not worth hundreds of megabytes of memory.
"""


class Fields(dict[str, "Piece"]):
    """The members of an object by name. `raw` is the object's own bytes, or empty if its end was not found."""

    raw: bytes = b""


class Items(list["Piece"]):
    """The elements of an array. `raw` is the array's own bytes, or empty if its end was not found."""

    raw: bytes = b""


Piece = bytes | Fields | Items
Shape = dict[str, "Shape"] | list["Shape"] | None
"""Says which values to take apart: a dict names the members of an object ("*": any other), a list has the shape of its
elements, None leaves a value whole. A value that does not have its expected shape is left whole too."""


class _Truncated(Exception):
    """Raised when the document ends, or stops being JSON, before the end of the current value."""


def take_apart(document: bytes, shape: Shape, most: int) -> tuple[Piece, bool]:
    """Returns the pieces of `document`, and whether the whole document could be split.

    If the document is damaged, only the pieces before the damage are returned. At most `most` pieces are returned.
    """
    reader = _Reader(document, most)
    root = Items()
    try:
        reader.value(shape, root)
        whole = reader.next_byte() == b""
    except _Truncated:
        whole = False
    return (root[0] if root else b""), whole


def has_more_values(document: bytes, shape: Shape, most: int) -> bool:
    """Returns whether `shape` takes the document apart into more than `most` values. Keeps none of them.

    Values after damage do not count, since `take_apart` does not return them. Stops at the first value too many.
    """
    if document.count(b",") < most:
        # A document has at most one item more than commas.
        return False
    counter = _Counter(document, most)
    with contextlib.suppress(_Truncated):
        counter.value(shape, [])
    return counter.values > most


def name_of(raw: bytes) -> str:
    """Returns the text of a JSON string that is the name of a member. Bytes that cannot be read become U+FFFD."""
    try:
        text = json.loads(raw.decode("utf-8", "replace"), strict=False)
    except ValueError:
        text = raw.decode("utf-8", "replace")
    return storable_text(str(text))


class _Reader:
    def __init__(self, document: bytes, most: int) -> None:
        self._text = document
        self._at = 0
        self._containers = 0
        self._most = most
        self.values = 0

    def next_byte(self) -> bytes:
        self._at = _end(_BLANK, self._text, self._at)
        return self._text[self._at : self._at + 1]

    def value(self, shape: Shape, into: list[Piece]) -> None:
        """Reads the next value and appends it to `into`.

        A container is appended before its content is read. So a container that is cut off is kept.
        """
        self._count_value()
        first = self.next_byte()
        start = self._at
        if first == b"{" and isinstance(shape, dict):
            self._count_container()
            fields = Fields()
            into.append(fields)
            self._members(shape, fields)
            fields.raw = self._text[start : self._at]
        elif first == b"[" and isinstance(shape, list):
            self._count_container()
            items = Items()
            into.append(items)
            self._elements(shape[0], items)
            items.raw = self._text[start : self._at]
        else:
            self._skip(first)
            into.append(self._text[start : self._at])

    def _count_value(self) -> None:
        self.values += 1
        if self.values > self._most:
            raise _Truncated

    def _count_container(self) -> None:
        self._containers += 1
        if self._containers > _MOST_CONTAINERS:
            raise _Truncated

    def _members(self, shape: dict[str, Shape], fields: Fields) -> None:
        self._at += 1
        if self._closes(b"}"):
            return
        while True:
            self.next_byte()
            name = name_of(self._take(_STRING))
            self._expect(b":")
            value: list[Piece] = []
            try:
                self.value(shape.get(name, shape.get("*")), value)
            finally:
                if value:
                    fields[name] = value[0]
            if self._closes(b"}"):
                return
            self._expect(b",")

    def _elements(self, shape: Shape, items: Items) -> None:
        self._at += 1
        if self._closes(b"]"):
            return
        while True:
            self.value(shape, items)
            if self._closes(b"]"):
                return
            self._expect(b",")

    def _closes(self, bracket: bytes) -> bool:
        if self.next_byte() != bracket:
            return False
        self._at += 1
        return True

    def _expect(self, mark: bytes) -> None:
        if not self._closes(mark):
            raise _Truncated

    def _take(self, pattern: re.Pattern[bytes]) -> bytes:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise _Truncated
        self._at = found.end()
        return found.group()

    def _skip(self, first: bytes) -> None:
        if first not in (b"{", b"["):
            self._take(_STRING if first == b'"' else _SCALAR)
            return
        depth = 0
        while True:
            run = _BRACKETS.match(self._text, self._at)
            if run is None:
                raise _Truncated
            length = run.end() - run.start()
            if run.group()[:1] in (b"{", b"["):
                depth += length
            elif length >= depth:
                self._at = run.start() + depth
                return
            else:
                depth -= length
            self._at = _end(_QUIET, self._text, run.end())


class _Counter(_Reader):
    """Counts the values and keeps none."""

    def value(self, shape: Shape, into: list[Piece]) -> None:  # noqa: ARG002 - nothing is kept
        self._count_value()
        first = self.next_byte()
        if first == b"{" and isinstance(shape, dict):
            self._members(shape, Fields())
        elif first == b"[" and isinstance(shape, list):
            self._elements(shape[0], Items())
        else:
            self._skip(first)


def _end(pattern: re.Pattern[bytes], text: bytes, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()
