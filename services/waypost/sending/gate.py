"""The one gate before every message (G5): may this row go out now, as it is, as a template, later, or never?

The sender asks it under a lock, right before the call, with facts read in the same transaction.
"""

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from waypost.contracts.registry import Number, Template
from waypost.store.outbox import Head

BULK = 1
"""Priority of messages that nobody waits for: campaigns and schedules. They count as marketing."""


@dataclass(frozen=True, slots=True)
class Send:
    """It may go out; with `template`, as that instead of its own body."""

    template: Template | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """The number's pause has run out: one message may try, and whoever wins the claim for it may send."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """It must not go out; `reason` in CamelCase goes into its row."""

    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now. `until` on the database's clock; None: until the number is known here or its pause ends."""

    until: datetime | None


Decision = Send | Probe | Refuse | Wait


def decide(head: Head, number: Number | None) -> Decision:
    """What to do with the next row of a conversation; `number` is what the registry knows of its number."""
    if number is None:
        return Wait(None)
    if (reason := _forbidden(head)) is not None:
        return Refuse(reason)
    template = None
    if head.kind == "message" and not is_template(head.body) and not _within_window(head):
        if head.priority >= BULK or head.consent_notice or number.outside_window is None:
            return Refuse("OutsideWindow")
        template = number.outside_window
    if head.not_before > head.now:
        return Wait(head.not_before)
    if head.kind == "message" and head.pair_paused_until is not None and head.pair_paused_until > head.now:
        return Wait(head.pair_paused_until)
    if head.number_paused_until is not None and not has_new_credentials(number, head.token_digest):
        return Wait(None) if head.number_paused_until > head.now else Probe()
    return Send(template)


def _forbidden(head: Head) -> str | None:
    owned = head.owner_until is None or head.owner_until > head.now
    if owned and head.owner == "standby":
        return "Standby"
    if head.opted_out and not head.consent_notice:
        return "OptedOut"
    if owned and head.owner == "human" and not head.consent_notice:
        return "HumanOwnsConversation"
    if head.marketing_stopped and head.priority >= BULK:
        return "MarketingStopped"
    if head.wa_id is None and head.user_id is None:
        return "NoRecipient"
    return None


def _within_window(head: Head) -> bool:
    return head.window_expires_at is not None and head.window_expires_at > head.now


def is_template(body: dict[str, Any]) -> bool:
    """Whether a Graph payload is a template message, the only kind that needs no open window."""
    return body.get("type") == "template"


def template_body(template: Template) -> dict[str, Any]:
    """The Graph payload of a template without parameters."""
    return {"type": "template", "template": {"name": template.name, "language": {"code": template.language}}}


def token_digest(number: Number, *, with_proof: bool = False) -> str:
    """Tells one token from another without telling it: the first 16 hex digits of a SHA-256.

    With its proof, if there is one, only for a pause that a refused proof began. Any other has nothing to do with the
    proof: workers that know different ones, or none yet, must agree on it, and a new one must not end it.
    """
    proof = number.app_secret_proof if with_proof else None
    secrets = number.access_token if proof is None else f"{number.access_token}\n{proof}"
    return sha256(secrets.encode()).hexdigest()[:16]


def has_new_credentials(number: Number, met: str | None) -> bool:
    """Whether a pause ends early: neither the token nor the token with its proof is what it `met`, by its digest."""
    return met not in (None, token_digest(number), token_digest(number, with_proof=True))
