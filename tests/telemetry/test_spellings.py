"""Tests that the search for canaries finds each of them. Otherwise an empty result would mean nothing."""

import base64
from urllib.parse import quote

import pytest

from .spellings import found_in, spellings, spellings_of_number

CONTACT = "15558675309"
CANARIES = {"contact": spellings_of_number(CONTACT), "words": spellings("canary: words & more")}


@pytest.mark.parametrize("before", [b"", b"\x1d", b"\x1d\x12", b"\x1d\x12\x0b", b"\x1d\x12\x0b\x0a"])
def test_a_number_is_found_in_a_wamid(before: bytes) -> None:
    """A number is found in a wamid, which is base64 of a record that contains the number at any position."""
    wamid = base64.b64encode(before + CONTACT.encode() + b"\x15\x02\x00\x12\x18\x14")
    assert found_in(b"wamid." + wamid, CANARIES)


@pytest.mark.parametrize(
    "written",
    [CONTACT, f"+{CONTACT}", "001" + CONTACT[1:], "+1 555 867 5309", "(555) 867-5309", "555-867-5309", "555.867.5309"],
)
def test_a_number_is_found_however_it_is_written(written: str) -> None:
    """A number is found however it is written. Programs write E.164, but people do not."""
    assert found_in(f'{{"to":"{written}"}}'.encode(), CANARIES)


def test_a_text_is_found_in_a_query() -> None:
    """A text is found in the query of a URL, where it is encoded."""
    assert found_in(f"https://graph/?q={quote('canary: words & more')}&x=1".encode(), CANARIES)


def test_ids_and_times_are_not_taken_for_canaries() -> None:
    """The ids and times in logs and spans are not mistaken for canaries."""
    assert found_in(b'{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","start_ns":1790000000000000000}', CANARIES) == []
