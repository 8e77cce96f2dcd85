"""Tests of the gate (G5) as a table that gives the decision for each set of facts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest

from waypost.contracts.registry import Number
from waypost.contracts.states import SendReason
from waypost.sending.gate import Decision, Probe, Refuse, Send, Wait, decide, has_new_credentials, token_digest
from waypost.store.outbox import OutboxRow

from .conftest import TEMPLATE, number

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(minutes=5), NOW - timedelta(minutes=5)
PLAIN = number()
PROVEN = number(app_secret_proof="0" * 64)
WITH_TEMPLATE = number(outside_window=TEMPLATE)

ROW = OutboxRow(
    outbox_id=1,
    conversation_id=1,
    number_id=PLAIN.phone_number_id,
    kind="message",
    priority=0,
    body={"type": "text", "text": {"body": "hello"}},
    consent_notice=False,
    attempts=0,
    not_before=EARLIER,
    correlation="c",
    traceparent=None,
    wa_id="393330000001",
    user_id=None,
    opted_out=False,
    marketing_stopped=False,
    window_expires_at=LATER,
    owner="bot",
    owner_until=None,
    pair_paused_until=None,
    number_paused_until=None,
    token_digest=None,
    now=NOW,
)
"""The row of a reply that may go out."""

A_TEMPLATE = {"type": "template", "template": {"name": "news", "language": {"code": "en"}}}

TABLE: dict[str, tuple[dict[str, Any], Number | None, Decision]] = {
    "a reply inside the window goes out": ({}, PLAIN, Send()),
    "a number that the registry does not name waits": ({}, None, Wait(None)),
    # consent
    "an opted-out contact gets nothing": ({"opted_out": True}, PLAIN, Refuse(SendReason.OPTED_OUT)),
    "not even a template": ({"opted_out": True, "body": A_TEMPLATE}, PLAIN, Refuse(SendReason.OPTED_OUT)),
    "but the notice that says so": ({"opted_out": True, "consent_notice": True}, PLAIN, Send()),
    "no bulk after marketing was stopped": (
        {"marketing_stopped": True, "priority": 1, "body": A_TEMPLATE},
        PLAIN,
        Refuse(SendReason.MARKETING_STOPPED),
    ),
    "no bulk text either": ({"marketing_stopped": True, "priority": 1}, PLAIN, Refuse(SendReason.MARKETING_STOPPED)),
    "replies go on after marketing was stopped": ({"marketing_stopped": True}, PLAIN, Send()),
    # who owns the conversation
    "a person has taken over": ({"owner": "human"}, PLAIN, Refuse(SendReason.HUMAN_OWNS_CONVERSATION)),
    "a person has taken over for a while": (
        {"owner": "human", "owner_until": LATER},
        PLAIN,
        Refuse(SendReason.HUMAN_OWNS_CONVERSATION),
    ),
    "the person's time is over": ({"owner": "human", "owner_until": EARLIER}, PLAIN, Send()),
    "the words that hand over": ({"owner": "human", "consent_notice": True}, PLAIN, Send()),
    "no template while a person talks": (
        {"owner": "human", "priority": 1, "body": A_TEMPLATE},
        PLAIN,
        Refuse(SendReason.HUMAN_OWNS_CONVERSATION),
    ),
    "standby is observed, never answered": ({"owner": "standby"}, PLAIN, Refuse(SendReason.STANDBY)),
    "not even with a notice": ({"owner": "standby", "consent_notice": True}, PLAIN, Refuse(SendReason.STANDBY)),
    "standby is over": ({"owner": "standby", "owner_until": EARLIER}, PLAIN, Send()),
    "a read mark in standby": ({"owner": "standby", "kind": "read"}, PLAIN, Refuse(SendReason.STANDBY)),
    # the 24 h window
    "the window is closed": ({"window_expires_at": EARLIER}, PLAIN, Refuse(SendReason.OUTSIDE_WINDOW)),
    "the window closes at this very moment": ({"window_expires_at": NOW}, PLAIN, Refuse(SendReason.OUTSIDE_WINDOW)),
    "there never was a window": ({"window_expires_at": None}, PLAIN, Refuse(SendReason.OUTSIDE_WINDOW)),
    "a template needs no window": ({"window_expires_at": None, "body": A_TEMPLATE}, PLAIN, Send()),
    "a late reply becomes the number's template": ({"window_expires_at": EARLIER}, WITH_TEMPLATE, Send(TEMPLATE)),
    "bulk text does not": (
        {"window_expires_at": EARLIER, "priority": 1},
        WITH_TEMPLATE,
        Refuse(SendReason.OUTSIDE_WINDOW),
    ),
    "a notice does not": (
        {"window_expires_at": EARLIER, "consent_notice": True},
        WITH_TEMPLATE,
        Refuse(SendReason.OUTSIDE_WINDOW),
    ),
    "a read mark needs no window": ({"window_expires_at": None, "kind": "read"}, PLAIN, Send()),
    # times
    "not due yet": ({"not_before": LATER}, PLAIN, Wait(LATER)),
    "due now": ({"not_before": NOW}, PLAIN, Send()),
    "the pair is paused": ({"pair_paused_until": LATER}, PLAIN, Wait(LATER)),
    "the pair's pause is over": ({"pair_paused_until": EARLIER}, PLAIN, Send()),
    "a read mark does not count for the pair": ({"pair_paused_until": LATER, "kind": "read"}, PLAIN, Send()),
    "the number is paused": ({"number_paused_until": LATER}, PLAIN, Wait(None)),
    "paused with the token it still has": (
        {"number_paused_until": LATER, "token_digest": token_digest(PLAIN)},
        PLAIN,
        Wait(None),
    ),
    "a refused proof that it still has": (
        {"number_paused_until": LATER, "token_digest": token_digest(PROVEN, with_proof=True)},
        PROVEN,
        Wait(None),
    ),
    "a refused proof, and there is another": (
        {"number_paused_until": LATER, "token_digest": token_digest(PROVEN, with_proof=True)},
        number(app_secret_proof="1" * 64),
        Send(),
    ),
    "a refused proof, and there is another token": (
        {"number_paused_until": LATER, "token_digest": token_digest(PROVEN, with_proof=True)},
        number(access_token="token-2", app_secret_proof="0" * 64),
        Send(),
    ),
    "blocked (131048), then the app secret was changed": (
        {"number_paused_until": LATER, "token_digest": token_digest(PROVEN)},
        number(app_secret_proof="1" * 64),
        Wait(None),
    ),
    "paused by a worker without the proof": (
        {"number_paused_until": LATER, "token_digest": token_digest(PLAIN)},
        PROVEN,
        Wait(None),
    ),
    "paused by a worker with a proof": (
        {"number_paused_until": LATER, "token_digest": token_digest(PROVEN)},
        PLAIN,
        Wait(None),
    ),
    "paused with another token": ({"number_paused_until": LATER, "token_digest": "0" * 16}, PROVEN, Send()),
    "the number's pause has run out": ({"number_paused_until": EARLIER}, PLAIN, Probe()),
    "what must not go out is refused in a pause too": (
        {"number_paused_until": LATER, "opted_out": True},
        PLAIN,
        Refuse(SendReason.OPTED_OUT),
    ),
    # recipient
    "no recipient": ({"wa_id": None}, PLAIN, Refuse(SendReason.NO_RECIPIENT)),
    "a user known by BSUID only": ({"wa_id": None, "user_id": "US.1"}, PLAIN, Send()),
}


@pytest.mark.parametrize(("facts", "registered", "decision"), TABLE.values(), ids=TABLE)
def test_the_gate_decides_as_the_table_says(
    facts: dict[str, Any], registered: Number | None, decision: Decision
) -> None:
    """The gate makes the decision that the table gives.

    Each row stands for one message. The row gives only the facts in which this message differs from `ROW`, a message
    that may be sent.
    """
    assert decide(replace(ROW, **facts), registered) == decision


def test_a_token_digest_does_not_reveal_the_token() -> None:
    """A token digest does not contain the token. The digest is short and differs between tokens."""
    one, other = token_digest(number(access_token="EAAB-one")), token_digest(number(access_token="EAAB-other"))
    assert len(one) == 16
    assert one != other
    assert "EAAB" not in one


def test_workers_from_before_there_were_proofs_agree_on_a_paused_number() -> None:
    """Older workers, which do not use proofs, agree with newer ones on whether a number is paused.

    Older workers compare a pause with the digest of the token alone, and write that digest.
    """
    theirs = sha256(PROVEN.access_token.encode()).hexdigest()[:16]
    assert token_digest(PROVEN) == theirs
    assert not has_new_credentials(PROVEN, theirs)
