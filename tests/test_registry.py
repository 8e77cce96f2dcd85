"""The registry's files between an operator and a reader of different versions, and what an entry shows of itself."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.pretty import pretty_repr

from waypost.contracts import registry
from waypost.contracts.registry import Number, Route

BOTH = {"namespace": "team-a", "name": "support", "phone_number_id": "1", "waba_id": "2", "app_id": "3"}
ROUTE = Route(**BOTH, app_secrets=("canary-app-secret",), verify_tokens=("canary-verify",))
NUMBER = Number(**BOTH, access_token="canary-token", app_secret_proof="canary-proof", messages_per_second=5)


class NumberWithoutProof(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The fields that a worker must have, as they were before there was a proof."""

    namespace: str
    name: str
    phone_number_id: str
    waba_id: str
    app_id: str
    access_token: str
    app_secret: str | None = None
    messages_per_second: int = 80


def test_a_reader_reads_what_an_operator_without_proofs_published(tmp_path: Path) -> None:
    """A worker that was rolled out before its operator goes on as before it: without a proof."""
    before = NumberWithoutProof(**BOTH, access_token="canary-token", messages_per_second=5)
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker/team-a.support.json").write_bytes(msgspec.json.encode(before))
    found = registry.numbers(tmp_path).current
    assert found.errors == ()
    assert found.by_name == {("team-a", "support"): Number(**BOTH, access_token="canary-token", messages_per_second=5)}


def test_a_reader_without_proofs_reads_what_is_published_now(tmp_path: Path) -> None:
    """An operator that was rolled out before its workers takes nothing from them."""
    registry.publish(tmp_path, ROUTE, NUMBER)
    content = (tmp_path / "worker/team-a.support.json").read_bytes()
    found = msgspec.json.decode(content, type=NumberWithoutProof)
    assert found == NumberWithoutProof(**BOTH, access_token="canary-token", messages_per_second=5)


def test_what_is_published_is_read_again(tmp_path: Path) -> None:
    """Both halves of a number, the proof with its token."""
    registry.publish(tmp_path, ROUTE, NUMBER)
    key = ("team-a", "support")
    assert registry.routes(tmp_path).current.by_name[key] == ROUTE
    assert registry.numbers(tmp_path).current.by_name[key] == NUMBER


@pytest.mark.parametrize("show", [repr, pretty_repr])
def test_an_entry_shows_what_it_is_of_and_none_of_its_secrets(show: Callable[[object], str]) -> None:
    """An error that quotes one ends in a log, a traceback with its locals on a terminal: typer prints those by rich."""
    shown = f"{show(ROUTE)} {show(NUMBER)}"
    assert "canary" not in shown
    assert "name='support'" in shown
    assert "messages_per_second=5" in shown
