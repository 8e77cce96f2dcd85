"""Tests the two rules of redaction, by a table and by properties."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from waypost.telemetry import redaction


@pytest.mark.parametrize(
    ("given_text", "masked"),
    [
        ("answered 200 in 3 ms", "answered 200 in 3 ms"),
        ("job 8d7f1c0e-1234-4a5b-9c0d-123456789012 done", "job 8d7f1c0e-1234-4a5b-9c0d-123456789012 done"),
        ("GET /x?hub.verify_token=abc123&hub.mode=subscribe", "GET /x?hub.verify_token=[redacted]&hub.mode=subscribe"),
        ("GET /debug_token?input_token=abc&x=1", "GET /debug_token?input_token=[redacted]&x=1"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ("redis://user:hunter2@redis:6379/0", "redis://[redacted]@redis:6379/0"),
        ("redis://:hunter2@redis:6379/0", "redis://[redacted]@redis:6379/0"),
        ("2026-11-24 at 10:32:00 on port 8080", "2026-11-24 at 10:32:00 on port 8080"),
        ("to +39 (333) 123-4567 now", "to [redacted] now"),
        ("US.13491208655302741918 wrote", "[redacted] wrote"),
        ("US.ENT.11815799212886844830 wrote", "[redacted] wrote"),
    ],
)
def test_text_keeps_what_helps_and_loses_what_is_private(given_text: str, masked: str) -> None:
    """Redaction removes what is private and keeps what helps.

    If log lines became useless, people would turn redaction off.
    """
    assert redaction.text(given_text) == masked


@given(
    st.text(max_size=40), st.from_regex(r"\A[1-9][0-9]{7,14}\Z"), st.text(max_size=40), st.sampled_from(["", "+", "00"])
)
def test_no_phone_number_survives_in_any_text(before: str, digits: str, after: str, prefix: str) -> None:
    """The digits of a phone number in E.164 are masked in any text, whatever is around them."""
    assert digits not in redaction.text(before + prefix + digits + after)


@given(st.text(max_size=40), st.from_regex(r"\Awamid\.[A-Za-z0-9+/]{20,60}={0,2}\Z"))
def test_no_wamid_survives_after_any_text(before: str, wamid: str) -> None:
    """Every wamid is masked, because a wamid is base64 of a record that contains the phone number."""
    assert wamid[6:] not in redaction.text(before + wamid)


@given(
    st.dictionaries(st.text(max_size=10), st.recursive(st.text() | st.binary() | st.integers(), st.lists, max_leaves=5))
)
def test_any_value_becomes_something_json_can_hold(fields: dict[str, object]) -> None:
    """Any value can be converted to JSON, because logging must never fail because of a value."""
    assert json.dumps(redaction.value("detail", fields))


def test_an_sql_error_keeps_its_state_but_not_its_parameters() -> None:
    """An SQL error is described by its state but without its parameters.

    SQLAlchemy puts the statement and its parameters into `str(error)`, and the parameters are messages.
    """
    import psycopg.errors
    from sqlalchemy.exc import DataError

    original = psycopg.errors.InvalidTextRepresentation('invalid input syntax for type json: "canary"')
    described = redaction.exception(DataError("INSERT …", {"body": "canary"}, original))
    assert "canary" not in str(described)
    assert "22P02" in str(described)
