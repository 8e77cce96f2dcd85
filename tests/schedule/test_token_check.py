"""Tests that the action `tokenCheck` turns Meta's answer into the run's result."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy import create_engine

from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts import order
from waypost.contracts.order import Order
from waypost.contracts.registry import Number
from waypost.schedule.actions.token_check import TokenCheckAction, judge, run
from waypost.schedule.context import RunContext
from waypost.schedule.outcome import ActionOutcome, NotYet
from waypost.store.schedules import Tick

from .conftest import NUMBER, message_order

AT = 1_795_000_000
DAY = 86_400
NOW = datetime.fromtimestamp(AT, UTC)
TOKEN, PROOF = "EAAtokencheck0001", "5" * 64
CHECK = TokenCheckAction.model_validate({"warnDays": 14})


@pytest.mark.parametrize(
    ("token", "result", "words"),
    [
        (TokenDetails(is_valid=True), "Succeeded", "never expires"),
        (TokenDetails(is_valid=True, expires_at=AT + 15 * DAY), "Succeeded", "expires in 15 days"),
        (TokenDetails(is_valid=True, expires_at=AT + 14 * DAY - 1), "TokenExpires", "expires in 13 days"),
        (TokenDetails(is_valid=True, expires_at=AT - 1), "TokenExpires", "expires in 0 days"),
        (TokenDetails(is_valid=False, expires_at=AT + 99 * DAY), "TokenInvalid", "make a new token"),
    ],
)
def test_the_result_says_how_long_the_token_lasts(token: TokenDetails, result: str, words: str) -> None:
    """The result says how long the token lasts and what a person must do."""
    outcome = judge(token, warn_days=14, now=AT)
    assert outcome.result == result
    assert words in outcome.detail


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Returns a registry folder that contains one number."""
    number = Number(
        namespace="team-a", name="support", phone_number_id=NUMBER, waba_id="1", app_id="7007", access_token=TOKEN,
        app_secret_proof=PROOF,
    )  # fmt: skip
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker/team-a.support.json").write_bytes(msgspec.json.encode(number))
    return tmp_path


def orders() -> Order:
    """Returns an order that checks the token of the published number."""
    return order.convert(message_order([]) | {"action": {"tokenCheck": {}}})


def ask(folder: Path, status: int, content: object) -> ActionOutcome:
    """Runs the token check while Meta answers with `status` and `content`."""
    return check_with(folder, httpx.MockTransport(lambda _request: httpx.Response(status, json=content)))


def check_with(folder: Path, transport: httpx.MockTransport) -> ActionOutcome:
    """Runs the token check with `transport` in place of Meta."""
    context = RunContext(
        engine=create_engine("postgresql+psycopg://"),  # never connected to
        order=orders(),
        tick=Tick("uid", NOW),
        now=NOW,
        traceparent=None,
        registry_dir=folder,
        graph=lambda: GraphClient("http://graph.test", "v26.0", transport=transport),
    )
    return run(context, CHECK)


def test_meta_is_asked_about_the_token_of_the_registry(published: Path) -> None:
    """Meta is asked about the token in the registry, because the workers use that token."""
    assert ask(published, 200, {"data": {"is_valid": True, "expires_at": 0}}).result == "Succeeded"


def test_the_token_asks_about_itself_with_its_proof(published: Path) -> None:
    """The token asks Meta about itself and sends its proof.

    An app may demand the proof with every call, and a run has no app secret.
    """
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"data": {"is_valid": True}})

    check_with(published, httpx.MockTransport(answer))
    (only,) = asked
    assert (only.headers["authorization"], only.url.params["appsecret_proof"]) == (f"Bearer {TOKEN}", PROOF)


def test_a_refused_proof_says_nothing_about_the_token(published: Path) -> None:
    """A refused proof says nothing about the token, so the run is tried again.

    Meta refuses the proof when the app secret was changed at Meta. The next pod reads the proof for the new secret.
    """
    message = "Invalid appsecret_proof provided in the API argument"
    with pytest.raises(NotYet, match="proof of the app secret"):
        ask(published, 400, {"error": {"code": 100, "message": message}})


def test_a_token_that_cannot_even_ask_about_itself_is_invalid(published: Path) -> None:
    """A token is invalid if Meta answers with code 190 when the token asks about itself."""
    assert ask(published, 401, {"error": {"code": 190, "message": "expired"}}).result == "TokenInvalid"


@pytest.mark.parametrize(
    ("status", "content"), [(500, {}), (400, {"error": {"code": 4, "message": "too many calls"}}), (200, "no JSON")]
)
def test_without_an_answer_the_run_is_tried_again(published: Path, status: int, content: object) -> None:
    """Without a usable answer from Meta nothing is known about the token, so the run is tried again."""
    with pytest.raises(NotYet):
        ask(published, status, content)


def test_a_number_that_is_not_published_yet_is_tried_again(tmp_path: Path) -> None:
    """A number that is not published yet is tried again, because the operator may be about to publish it."""
    with pytest.raises(NotYet, match="team-a/support"):
        ask(tmp_path, 200, {})
