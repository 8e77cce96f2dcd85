"""Contacts and their conversations.

A contact is found by its BSUID or phone. Each contact has one conversation with a number.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, text

from waypost.contracts.states import OptOutSource


class ConversationMoved(Exception):
    """Raised when a conversation changed after a turn had read it. Read the conversation again and repeat the turn."""


class ForeignConversation(Exception):
    """Raised when a message of one number names a conversation of another number. This is a defect; do not retry."""


@dataclass(frozen=True, slots=True)
class Person:
    """The person that an event is about. A person has a BSUID, a phone number or both."""

    number_id: str
    wa_id: str | None
    user_id: str | None
    profile_name: str | None
    lane: int


@dataclass(slots=True)
class Conversation:
    """One conversation as a turn sees it. The turns of a batch change this object in memory. `write` stores it."""

    id: int
    number_id: str
    contact_id: int
    wa_id: str | None
    user_id: str | None
    profile_name: str | None
    opted_out: bool
    state: dict[str, Any]
    version: int
    window_expires_at: datetime | None
    owner: str
    owner_until: datetime | None
    changed: bool = False


_FIND = text("""
    WITH person AS (
        SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:wa_ids AS text[]), CAST(:user_ids AS text[]))
            WITH ORDINALITY AS person(number_id, wa_id, user_id, position)
    ), found AS (
        SELECT person.position, 0 AS rank, contact.id
        FROM person JOIN contact ON contact.number_id = person.number_id AND contact.user_id = person.user_id
        UNION ALL
        SELECT person.position, 1 AS rank, contact.id
        FROM person JOIN contact ON contact.number_id = person.number_id AND contact.wa_id = person.wa_id
    ), best AS (
        SELECT DISTINCT ON (position) position, id FROM found ORDER BY position, rank
    )
    SELECT best.position - 1 AS position, contact.id AS contact_id, contact.number_id, contact.wa_id, contact.user_id,
        contact.profile_name, contact.opted_out_at IS NOT NULL AS opted_out,
        conversation.id, conversation.state, conversation.version, conversation.window_expires_at,
        CASE WHEN conversation.owner_until < now() THEN 'bot' ELSE conversation.owner END AS owner,
        conversation.owner_until
    FROM best JOIN contact USING (id) LEFT JOIN conversation ON conversation.contact_id = contact.id
""")


def load(connection: Connection, people: Sequence[Person]) -> list[Conversation]:
    """Returns the conversation of each person, in the given order. A new person gets a contact and a conversation.

    If two of the given people belong to one conversation, both get the same object. A BSUID takes precedence over
    a phone number. If a contact lacks the BSUID or the phone number that the person has, it is added to the
    contact. If a phone number now belongs to another BSUID, the phone number is removed from its old contact.
    """
    found = _find(connection, people)
    _update_contacts(connection, people, found)
    new_people = [person for position, person in enumerate(people) if position not in found]
    if new_people:
        _add(connection, new_people)
    if new_people or any(row.id is None for row in found.values()):
        _open(connection, people, _find(connection, people))
        found = _find(connection, people)
    loaded: dict[int, Conversation] = {}
    for row in found.values():
        if row.id not in loaded:
            loaded[row.id] = Conversation(
                id=row.id,
                number_id=row.number_id,
                contact_id=row.contact_id,
                wa_id=row.wa_id,
                user_id=row.user_id,
                profile_name=row.profile_name,
                opted_out=row.opted_out,
                state=row.state,
                version=row.version,
                window_expires_at=row.window_expires_at,
                owner=row.owner,
                owner_until=row.owner_until,
            )
    return [loaded[found[position].id] for position in range(len(people))]


def _find(connection: Connection, people: Sequence[Person]) -> dict[int, Row[Any]]:
    rows = connection.execute(
        _FIND,
        {
            "numbers": [person.number_id for person in people],
            "wa_ids": [person.wa_id for person in people],
            "user_ids": [person.user_id for person in people],
        },
    )
    return {row.position: row for row in rows}


def _update_contacts(connection: Connection, people: Sequence[Person], found: dict[int, Row[Any]]) -> None:
    """Adds missing names and identities to contacts.

    If a contact's phone number now belongs to another BSUID, the number is removed from the contact, and the
    contact's row is removed from `found`.
    """
    for position, person in enumerate(people):
        row = found.get(position)
        if row is None:
            continue
        if person.profile_name and person.profile_name != row.profile_name:
            connection.execute(
                text("UPDATE contact SET profile_name = :name WHERE id = :id"),
                {"name": person.profile_name, "id": row.contact_id},
            )
        if person.user_id and row.user_id and person.user_id != row.user_id:
            # Found by phone, but with another BSUID: the phone number has a new owner (a BSUID ends with its phone).
            connection.execute(text("UPDATE contact SET wa_id = NULL WHERE id = :id"), {"id": row.contact_id})
            del found[position]
        elif person.user_id and not row.user_id:
            connection.execute(
                text("UPDATE contact SET user_id = :user_id WHERE id = :id"),
                {"user_id": person.user_id, "id": row.contact_id},
            )
        elif person.wa_id and not row.wa_id:
            connection.execute(
                text("""
                    UPDATE contact SET wa_id = :wa_id WHERE id = :id AND NOT EXISTS (
                        SELECT FROM contact AS other WHERE other.number_id = contact.number_id AND other.wa_id = :wa_id)
                """),
                {"wa_id": person.wa_id, "id": row.contact_id},
            )


def _add(connection: Connection, people: Iterable[Person]) -> None:
    people = {(person.number_id, person.user_id or person.wa_id): person for person in people}.values()
    connection.execute(
        text("""
            INSERT INTO contact (number_id, wa_id, user_id, profile_name)
            SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:wa_ids AS text[]), CAST(:user_ids AS text[]),
                CAST(:names AS text[]))
            ON CONFLICT DO NOTHING
        """),
        {
            "numbers": [person.number_id for person in people],
            "wa_ids": [person.wa_id for person in people],
            "user_ids": [person.user_id for person in people],
            "names": [person.profile_name for person in people],
        },
    )


def _open(connection: Connection, people: Sequence[Person], found: dict[int, Row[Any]]) -> None:
    connection.execute(
        text("""
            INSERT INTO conversation (number_id, contact_id, lane)
            SELECT * FROM unnest(CAST(:numbers AS text[]), CAST(:contacts AS bigint[]), CAST(:lanes AS smallint[]))
            ON CONFLICT (contact_id) DO NOTHING
        """),
        {
            "numbers": [row.number_id for row in found.values()],
            "contacts": [row.contact_id for row in found.values()],
            "lanes": [people[position].lane for position in found],
        },
    )


def check_number(connection: Connection, number_id: str, conversation_ids: Collection[int]) -> None:
    """Raises `ForeignConversation` unless each of these conversations exists and belongs to the number."""
    wanted = set(conversation_ids)
    found = connection.execute(
        text("SELECT count(*) FROM conversation WHERE number_id = :number AND id = ANY(CAST(:ids AS bigint[]))"),
        {"number": number_id, "ids": list(wanted)},
    ).scalar_one()
    if found != len(wanted):
        raise ForeignConversation(f"{len(wanted) - found} of {len(wanted)} conversations belong to another number")


_WRITE = text("""
    UPDATE conversation SET
        state = CAST(new.state AS jsonb), version = conversation.version + 1,
        window_expires_at = new.window_expires_at, owner = new.owner, owner_until = new.owner_until,
        updated_at = now()
    FROM json_to_recordset(CAST(:rows AS json)) AS new(id bigint, version int, state text,
        window_expires_at timestamptz, owner text, owner_until timestamptz)
    WHERE conversation.id = new.id AND conversation.version = new.version
""")


def write(connection: Connection, changed: Sequence[tuple[Conversation, str]]) -> None:
    """Writes conversations back, each with its state as JSON text. Raises `ConversationMoved`."""
    if not changed:
        return
    rows = [
        {
            "id": conversation.id,
            "version": conversation.version,
            "state": state,
            "window_expires_at": conversation.window_expires_at,
            "owner": conversation.owner,
            "owner_until": conversation.owner_until,
        }
        for conversation, state in changed
    ]
    result = connection.execute(_WRITE, {"rows": msgspec.json.encode(rows).decode()})
    if result.rowcount != len(changed):
        count = len(changed) - result.rowcount
        raise ConversationMoved(f"{count} of {len(changed)} conversations were changed by another process")


def set_consent(connection: Connection, contact_id: int, *, opted_out: bool, source: OptOutSource) -> None:
    """Records that a contact opted out of all messages, or opted in again."""
    connection.execute(
        text("""
            UPDATE contact SET
                opted_out_at = CASE WHEN :out THEN coalesce(opted_out_at, now()) END,
                opt_out_source = CASE WHEN :out THEN :source END
            WHERE id = :id
        """),
        {"id": contact_id, "out": opted_out, "source": source},
    )


def set_marketing(connection: Connection, contact_id: int, *, stopped: bool) -> None:
    """Records that a contact stopped or resumed marketing messages in WhatsApp itself."""
    connection.execute(
        text("UPDATE contact SET marketing_stopped_at = CASE WHEN :stopped THEN now() END WHERE id = :id"),
        {"id": contact_id, "stopped": stopped},
    )


def move(connection: Connection, contact_id: int, *, wa_id: str | None, user_id: str | None) -> None:
    """Gives a contact its new phone number and BSUID after a change of number. Its conversation continues.

    If another contact already has one of these identities, that contact keeps it, because that contact was the
    first to write from the new number.
    """
    for column, value in (("wa_id", wa_id), ("user_id", user_id)):
        if value is not None:
            connection.execute(
                text(f"""
                    UPDATE contact SET {column} = :value WHERE id = :id AND NOT EXISTS (
                        SELECT FROM contact AS other
                        WHERE other.number_id = contact.number_id AND other.{column} = :value)
                """),  # noqa: S608 - the two column names stand above
                {"value": value, "id": contact_id},
            )
