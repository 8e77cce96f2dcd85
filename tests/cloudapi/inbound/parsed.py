"""Parses deliveries into records of the type that a test expects."""

from typing import Any, TypeVar

from waypost.cloudapi.inbound import bodies, records
from waypost.cloudapi.inbound.delivery import parse, split

from .deliveries import SAMPLES, delivery

Record = TypeVar("Record", bound=records.Record)
Body = TypeVar("Body", bound=bodies.Body)


def first_record(*changes: dict[str, Any]) -> records.Inbound:
    """Returns the record of the first event of a delivery with these changes."""
    return parse(split(delivery(*changes), default_number="default")[0].payload)


def first_of(kind: type[Record], *changes: dict[str, Any]) -> Record:
    """Returns the record of the first event, which must have the given type."""
    record: records.Record = first_record(*changes)
    assert isinstance(record, kind)
    return record


def sample_of(kind: type[Record], name: str) -> Record:
    """Returns the record of a sample, which must have the given type."""
    return first_of(kind, SAMPLES[name])


def body_of(kind: type[Body], content: bodies.Content | None) -> Body:
    """Returns the content of a message, which must be a body of the given type."""
    assert isinstance(content, kind)
    return content
