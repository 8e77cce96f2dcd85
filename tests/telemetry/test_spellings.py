"""The search for canaries finds them: one that finds nothing must mean that nothing is there."""

import base64
from urllib.parse import quote

import pytest

from .spellings import found_in, of_number, spellings

CONTACT = "15558675309"
CANARIES = {"contact": of_number(CONTACT), "words": spellings("canary: words & more")}


@pytest.mark.parametrize("before", [b"", b"\x1d", b"\x1d\x12", b"\x1d\x12\x0b", b"\x1d\x12\x0b\x0a"])
def test_a_number_is_found_in_a_wamid(before: bytes) -> None:
    """A wamid is base64 of a record that holds the number, at any place in it."""
    wamid = base64.b64encode(before + CONTACT.encode() + b"\x15\x02\x00\x12\x18\x14")
    assert found_in(b"wamid." + wamid, CANARIES)


@pytest.mark.parametrize(
    "written",
    [CONTACT, f"+{CONTACT}", "001" + CONTACT[1:], "+1 555 867 5309", "(555) 867-5309", "555-867-5309", "555.867.5309"],
)
def test_a_number_is_found_however_it_is_written(written: str) -> None:
    """Programs write E.164, people do not."""
    assert found_in(f'{{"to":"{written}"}}'.encode(), CANARIES)


def test_a_text_is_found_in_a_query() -> None:
    """As a URL holds it."""
    assert found_in(f"https://graph/?q={quote('canary: words & more')}&x=1".encode(), CANARIES)


def test_nothing_is_found_where_nothing_is() -> None:
    """Ids, times and addresses are no canaries."""
    assert found_in(b'{"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","start_ns":1790000000000000000}', CANARIES) == []
