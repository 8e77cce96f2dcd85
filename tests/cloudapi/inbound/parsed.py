"""Parses deliveries into records of the type that a test expects."""

from typing import Any, TypeVar

from waypost.cloudapi.inbound import bodies, records
from waypost.cloudapi.inbound.delivery import parse, split

from .deliveries import SAMPLES, delivery

Record = TypeVar("Record", bound=records.Record)
Body = TypeVar("Body", bound=bodies.Body)


def first_record(*changes: dict[str, Any]) -> records.Inbound:
    """Makes a delivery of these changes and returns the record of its first event."""
    return parse(split(delivery(*changes), default_number="default")[0].payload)


def first_of(kind: type[Record], *changes: dict[str, Any]) -> Record:
    """Makes a delivery and returns the record of its first event. The record must have the given type."""
    record: records.Record = first_record(*changes)
    assert isinstance(record, kind)
    return record


def sample_of(kind: type[Record], name: str) -> Record:
    """Returns the record of a sample. The record must have the given type."""
    return first_of(kind, SAMPLES[name])


def body_of(kind: type[Body], content: bodies.Content | None) -> Body:
    """Returns the content of a message. The content must be a body of the given type."""
    assert isinstance(content, kind)
    return content
