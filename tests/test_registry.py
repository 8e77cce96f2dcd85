"""Tests of the registry: the reader and the operator may have different versions, and a repr hides secrets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.pretty import pretty_repr

from waypost.contracts import registry
from waypost.contracts.registry import Number, Route

from .registry_files import publish

BOTH: dict[str, Any] = {"namespace": "team-a", "name": "support", "phone_number_id": "1", "waba_id": "2", "app_id": "3"}
ROUTE = Route(**BOTH, app_secrets=("canary-app-secret",), verify_tokens=("canary-verify",))
NUMBER = Number(**BOTH, access_token="canary-token", app_secret_proof="canary-proof", messages_per_second=5)


class NumberWithoutProof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The form of a worker's entry before the proof was added."""

    namespace: str
    name: str
    phone_number_id: str
    waba_id: str
    app_id: str
    access_token: str
    app_secret: str | None = None
    messages_per_second: int = 80


def test_a_reader_accepts_an_entry_without_a_proof(tmp_path: Path) -> None:
    """A worker that is newer than its operator accepts an entry without a proof."""
    before = NumberWithoutProof(**BOTH, access_token="canary-token", messages_per_second=5)
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker/team-a.support.json").write_bytes(msgspec.json.encode(before))
    found = registry.numbers(tmp_path).current
    assert found.errors == ()
    assert found.by_name == {("team-a", "support"): Number(**BOTH, access_token="canary-token", messages_per_second=5)}


def test_an_older_reader_accepts_an_entry_with_a_proof(tmp_path: Path) -> None:
    """A worker that is older than its operator accepts an entry with a proof and ignores the proof."""
    publish(tmp_path, ROUTE, NUMBER)
    content = (tmp_path / "worker/team-a.support.json").read_bytes()
    found = msgspec.json.decode(content, type=NumberWithoutProof)
    assert found == NumberWithoutProof(**BOTH, access_token="canary-token", messages_per_second=5)


def test_published_entries_are_read_back(tmp_path: Path) -> None:
    """Both published entries of a number are read back unchanged."""
    publish(tmp_path, ROUTE, NUMBER)
    key = ("team-a", "support")
    assert registry.routes(tmp_path).current.by_name[key] == ROUTE
    assert registry.numbers(tmp_path).current.by_name[key] == NUMBER


@pytest.mark.parametrize("show", [repr, pretty_repr])
def test_the_repr_of_an_entry_hides_its_secrets(show: Callable[[object], str]) -> None:
    """The repr of an entry hides its secrets, because the repr may be written into a log.

    The output of rich hides them too, because typer uses rich to print the local variables of a traceback.
    """
    shown = f"{show(ROUTE)} {show(NUMBER)}"
    assert "canary" not in shown
    assert "name='support'" in shown
    assert "messages_per_second=5" in shown
