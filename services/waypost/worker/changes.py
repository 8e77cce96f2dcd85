"""Collects in memory the changes that events make, until one transaction stores them."""

from dataclasses import dataclass, field, replace

import msgspec
from sqlalchemy import Connection

from waypost.cloudapi.inbound.records import Identity
from waypost.contracts.states import OptOutSource
from waypost.store import conversations, turns
from waypost.store.conversations import Conversation


@dataclass(slots=True)
class Changes:
    """The changes of one event, or of a batch of events. Contacts are given by id."""

    messages: list[turns.Incoming] = field(default_factory=list)
    outgoing: list[turns.Outgoing] = field(default_factory=list)
    conversations: dict[int, Conversation] = field(default_factory=dict)
    """Changed conversations, by id."""
    silenced: set[int] = field(default_factory=set)
    """Conversations whose contact has opted out: their queued notices become ordinary messages."""
    consents: list[tuple[int, bool]] = field(default_factory=list)
    """Contacts, each with True if the contact has opted out, False if it has opted in again."""
    marketing: list[tuple[int, bool]] = field(default_factory=list)
    """Contacts, each with True if it stopped marketing messages, False if it resumed."""
    moved: list[tuple[int, Identity]] = field(default_factory=list)
    """Contacts that changed phone number, each with its new identity."""

    def add(self, later: "Changes") -> None:
        """Adds the changes of a later event to these."""
        if later.silenced:
            self.outgoing = [
                replace(row, notice=False) if row.conversation_id in later.silenced else row for row in self.outgoing
            ]
        self.messages += later.messages
        self.outgoing += later.outgoing
        self.conversations |= later.conversations
        self.silenced |= later.silenced
        self.consents += later.consents
        self.marketing += later.marketing
        self.moved += later.moved

    def store(self, connection: Connection) -> None:
        """Writes all changes in the caller's transaction. Raises `ConversationMoved` and the database's errors."""
        conversations.write(
            connection,
            [(changed, msgspec.json.encode(changed.state).decode()) for changed in self.conversations.values()],
        )
        turns.add_messages(connection, self.messages)
        turns.withdraw_notices(connection, self.silenced)
        turns.add_outgoing(connection, self.outgoing)
        for contact_id, opted_out in self.consents:
            conversations.set_consent(connection, contact_id, opted_out=opted_out, source=OptOutSource.KEYWORD)
        for contact_id, identity in self.moved:
            conversations.move(connection, contact_id, wa_id=identity.wa_id, user_id=identity.user_id)
        for contact_id, stopped in self.marketing:
            conversations.set_marketing(connection, contact_id, stopped=stopped)
