"""Stores pauses and facts about contacts.

A number can be paused, and so can a pair (a number and a contact). Meta's answers reveal the facts about
contacts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class PausedNumber:
    """A number that sends nothing until its pause ends or its credentials change."""

    number_id: str
    token_digest: str | None
    """Digest of the credentials that were in use when the pause began; None if they are unknown."""


def pause_number(
    connection: Connection, number_id: str, *, seconds: float, code: int, reason: str, token_digest: str | None
) -> None:
    """Pauses a number for `seconds`. Nothing is sent during the pause.

    After the pause, one message tests whether the number works again. The function does nothing for a number that
    is not recorded.
    """
    connection.execute(
        text("""
            UPDATE number SET paused_until = clock_timestamp() + make_interval(secs => :seconds), pause_code = :code,
                pause_reason = :reason, token_digest = coalesce(:token_digest, token_digest), updated_at = now()
            WHERE number_id = :number_id
        """),
        {
            "number_id": number_id,
            "seconds": seconds,
            "code": code,
            "reason": reason,
            "token_digest": token_digest,
        },
    )


def claim_probe(connection: Connection, number_id: str, *, seconds: float) -> bool:
    """Returns whether the caller may send one message to test a number whose pause has ended.

    For all other messages of the number, the pause continues for `seconds`.
    """
    result = connection.execute(
        text("""
            UPDATE number SET paused_until = clock_timestamp() + make_interval(secs => :seconds)
            WHERE number_id = :number_id AND paused_until <= clock_timestamp()
        """),
        {"number_id": number_id, "seconds": seconds},
    )
    return result.rowcount == 1


def resume_number(connection: Connection, number_id: str) -> None:
    """Ends the pause of a number, because a message was accepted or its credentials changed."""
    connection.execute(
        text("""
            UPDATE number SET paused_until = NULL, pause_code = NULL, pause_reason = NULL, token_digest = NULL,
                updated_at = now()
            WHERE number_id = :number_id AND paused_until IS NOT NULL
        """),
        {"number_id": number_id},
    )


def paused_numbers(connection: Connection) -> list[PausedNumber]:
    """Returns all numbers that are paused or wait for a message that tests whether they work again."""
    rows = connection.execute(text("SELECT number_id, token_digest FROM number WHERE paused_until IS NOT NULL"))
    return [PausedNumber(*row) for row in rows]


def pause_pair(connection: Connection, conversation_id: int, *, seconds: float) -> None:
    """Pauses sends from one number to one contact for `seconds`, after Meta's error 131056."""
    connection.execute(
        text("""
            UPDATE conversation SET paused_until = clock_timestamp() + make_interval(secs => :seconds)
            WHERE id = :id
        """),
        {"id": conversation_id, "seconds": seconds},
    )


def stop_marketing(connection: Connection, conversation_ids: Sequence[int]) -> None:
    """Records that these contacts stopped marketing messages, because Meta refused a message with error 131050."""
    connection.execute(
        text("""
            UPDATE contact SET marketing_stopped_at = clock_timestamp()
            FROM conversation
            WHERE conversation.id = ANY(CAST(:ids AS bigint[])) AND contact.id = conversation.contact_id
                AND contact.marketing_stopped_at IS NULL
        """),
        {"ids": list(conversation_ids)},
    )


def close_window(connection: Connection, conversation_id: int, *, sent_at: float) -> None:
    """Closes the 24 h window, because Meta refused a message sent at `sent_at` (unix seconds) with error 131047.

    A window that the contact has opened since then stays open.
    """
    connection.execute(
        text("""
            UPDATE conversation SET window_expires_at = least(window_expires_at, clock_timestamp())
            WHERE id = :id AND window_expires_at <= to_timestamp(:sent_at) + interval '24 hours'
        """),
        {"id": conversation_id, "sent_at": sent_at},
    )
