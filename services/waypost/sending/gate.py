"""The gate that every message must pass before it is sent (G5).

The gate decides whether the row may be sent now, may be sent later, or may never be sent. It also decides
whether the row is sent as it is or as a template. The sender asks the gate under a lock, right before the
call. The gate uses facts that were read in the same transaction.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from waypost.contracts.registry import Number, Template
from waypost.contracts.states import ConversationOwner, OutboxKind, Priority, SendReason
from waypost.store.outbox import OutboxRow


@dataclass(frozen=True, slots=True)
class Send:
    """The row may be sent. If `template` is set, the template is sent instead of the row's own body."""

    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """The number's pause is over, and one message may test the number.

    The sender that claims the test may send the row.
    """


@dataclass(frozen=True, slots=True)
class Refuse:
    """The row must not be sent. `reason` is written into the row."""

    reason: SendReason


@dataclass(frozen=True, slots=True)
class Wait:
    """The row must wait until `until` by the database's clock.

    If `until` is None, the row waits until the number is in this process's registry or until the number's pause
    ends.
    """

    until: datetime | None


Decision = Send | Probe | Refuse | Wait


def decide(row: OutboxRow, number: Number | None) -> Decision:
    """Decides whether and how the next row of a conversation may be sent.

    `number` is the registry's entry for the row's number.
    """
    if number is None:
        return Wait(None)
    if (reason := _forbidden(row)) is not None:
        return Refuse(reason)
    template = None
    is_message = row.kind == OutboxKind.MESSAGE
    if is_message and not is_template(row.body) and not _within_window(row):
        if row.priority >= Priority.BULK or row.consent_notice or number.outside_window is None:
            return Refuse(SendReason.OUTSIDE_WINDOW)
        template = number.outside_window
    if row.not_before > row.now:
        return Wait(row.not_before)
    if is_message and row.pair_paused_until is not None and row.pair_paused_until > row.now:
        return Wait(row.pair_paused_until)
    if row.number_paused_until is not None and not has_new_credentials(number, row.token_digest):
        return Wait(None) if row.number_paused_until > row.now else Probe()
    return Send(template)


def _forbidden(row: OutboxRow) -> SendReason | None:
    owned = row.owner_until is None or row.owner_until > row.now
    if owned and row.owner == ConversationOwner.STANDBY:
        return SendReason.STANDBY
    if row.opted_out and not row.consent_notice:
        return SendReason.OPTED_OUT
    if owned and row.owner == ConversationOwner.HUMAN and not row.consent_notice:
        return SendReason.HUMAN_OWNS_CONVERSATION
    if row.marketing_stopped and row.priority >= Priority.BULK:
        return SendReason.MARKETING_STOPPED
    if row.wa_id is None and row.user_id is None:
        return SendReason.NO_RECIPIENT
    return None


def _within_window(row: OutboxRow) -> bool:
    return row.window_expires_at is not None and row.window_expires_at > row.now


def is_template(body: dict[str, Any]) -> bool:
    """Returns whether a Graph payload is a template message. Only template messages need no open window."""
    return body.get("type") == "template"


def template_body(template: Template) -> dict[str, Any]:
    """Returns the Graph payload of a template without parameters."""
    return {"type": "template", "template": {"name": template.name, "language": {"code": template.language}}}


def token_digest(number: Number, *, with_proof: bool = False) -> str:
    """Returns the first 16 hex digits of a SHA-256 of the token. They distinguish tokens without revealing them.

    `with_proof` adds the number's proof, if it has one. Use `with_proof` only for a pause that began because Meta
    refused the proof. Any other pause has nothing to do with the proof, so a new proof must not end it. Also,
    workers may have different proofs or no proof yet, but they must agree on the digest.
    """
    proof = number.app_secret_proof if with_proof else None
    secrets = number.access_token if proof is None else f"{number.access_token}\n{proof}"
    return sha256(secrets.encode()).hexdigest()[:16]


def has_new_credentials(number: Number, met: str | None) -> bool:
    """Returns whether the number's credentials have changed since a pause began, so that the pause ends early.

    `met` is the digest that the pause recorded. It is a digest of the token, or of the token with its proof.
    """
    return met not in (None, token_digest(number), token_digest(number, with_proof=True))
