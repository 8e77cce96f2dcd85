"""The tables. `event` is the inbox, and `outbox` has the messages to send. All other tables follow from these two.

Text from Meta is stored at most twice. `event.payload` has the raw bytes, which can hold anything that Meta
sends. `message.body` has the text in a form that PostgreSQL's text type can hold.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    }
)

LANES = 64
"""Number of lanes. It is fixed, because a conversation's lane is stored with its events."""

Timestamp = DateTime(timezone=True)

event = Table(
    "event",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("number_id", Text, nullable=False, comment="phone number id, or waba:<id> for account fields"),
    Column("kind", Text, nullable=False),
    Column(
        "event_key",
        Text,
        nullable=False,
        comment="identity within (number, kind): wamid, wamid:status, digest",
    ),
    Column("lane", SmallInteger, nullable=False),
    Column("contact_key", Text, nullable=False, comment="the contact that it is about: BSUID or phone; empty for none"),
    Column("occurred_at", Timestamp, nullable=False, comment="Meta's time stamp"),
    Column("received_at", Timestamp, nullable=False, server_default=func.now()),
    Column("state", Text, nullable=False, server_default="waiting"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("next_attempt_at", Timestamp, nullable=False, server_default=func.now()),
    Column("reason", Text, comment="why it is dead, or done without effect"),
    Column("detail", Text, comment="where the bot's code failed: files and lines; no message and no content"),
    Column("payload", LargeBinary, nullable=False, comment="the event alone, in Meta's envelope, as received"),
    Column("traceparent", Text),
    Column("finished_at", Timestamp),
    UniqueConstraint("number_id", "kind", "event_key"),
    CheckConstraint("state IN ('waiting', 'done', 'dead')", name="state"),
    Index(
        "event_waiting_number_idx",
        "lane",
        "number_id",
        "occurred_at",
        "id",
        postgresql_where=text("state = 'waiting'"),
    ),
    Index(
        "event_retried_contact_idx",
        "lane",
        "number_id",
        "contact_key",
        postgresql_where=text("state = 'waiting' AND attempts > 0"),
    ),
    Index("event_dead_idx", "number_id", "id", postgresql_where=text("state = 'dead'")),
    Index("event_finished_idx", "finished_at", postgresql_using="brin"),
)

contact = Table(
    "contact",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("number_id", Text, nullable=False),
    Column("wa_id", Text, comment="phone without +; absent for users known by BSUID only"),
    Column("user_id", Text, comment="BSUID"),
    Column("profile_name", Text),
    Column("opted_out_at", Timestamp),
    Column("opt_out_source", Text, comment="keyword, preference, error or cli"),
    Column("marketing_stopped_at", Timestamp),
    Column("created_at", Timestamp, nullable=False, server_default=func.now()),
    UniqueConstraint("number_id", "wa_id"),
    UniqueConstraint("number_id", "user_id"),
    CheckConstraint("wa_id IS NOT NULL OR user_id IS NOT NULL", name="identity"),
)

conversation = Table(
    "conversation",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("number_id", Text, nullable=False),
    Column("contact_id", BigInteger, ForeignKey("contact.id"), nullable=False, unique=True),
    Column("lane", SmallInteger, nullable=False),
    Column("state", JSONB, nullable=False, server_default="{}", comment="the bot's state after the last turn"),
    Column("version", Integer, nullable=False, server_default="0"),
    Column("window_expires_at", Timestamp, comment="24 h after the contact's last message"),
    Column("owner", Text, nullable=False, server_default="bot", comment="bot, human or standby"),
    Column("owner_until", Timestamp, comment="when the bot takes over again; null: until a person says so"),
    Column("paused_until", Timestamp, comment="pair limit of Meta (131056)"),
    Column("updated_at", Timestamp, nullable=False, server_default=func.now()),
    CheckConstraint("owner IN ('bot', 'human', 'standby')", name="owner"),
)

message = Table(
    "message",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("number_id", Text, nullable=False),
    Column("conversation_id", BigInteger, ForeignKey("conversation.id"), nullable=False),
    Column("direction", Text, nullable=False),
    Column("wamid", Text),
    Column("type", Text, nullable=False),
    Column("body", Text, comment="what a person would read, without what a text column cannot hold"),
    Column("status", Text, comment="highest status seen: sent, delivered, read, played, failed"),
    Column("status_rank", SmallInteger, nullable=False, server_default="0"),
    Column(
        "statuses",
        JSONB,
        nullable=False,
        server_default="[]",
        comment="every status event, in order of arrival",
    ),
    Column("error_code", Integer),
    Column("occurred_at", Timestamp, nullable=False),
    Column("outbox_id", BigInteger, unique=True),
    Column("traceparent", Text),
    UniqueConstraint("number_id", "wamid"),
    CheckConstraint("direction IN ('in', 'out')", name="direction"),
    Index("message_conversation_idx", "conversation_id", "id"),
    Index("message_occurred_idx", "number_id", "occurred_at"),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("number_id", Text, nullable=False),
    Column("conversation_id", BigInteger, ForeignKey("conversation.id"), nullable=False),
    Column("correlation", UUID(as_uuid=False), nullable=False, server_default=func.gen_random_uuid(), unique=True),
    Column("kind", Text, nullable=False, server_default="message", comment="message, or read (mark as read)"),
    Column("priority", SmallInteger, nullable=False, server_default="0", comment="0 reply, 1 bulk"),
    Column("body", JSONB, nullable=False, comment="the Graph payload without recipient and correlation"),
    Column(
        "consent_notice",
        Boolean,
        nullable=False,
        server_default="false",
        comment="announces an opt-out or hand-off, which therefore does not stop it",
    ),
    Column("state", Text, nullable=False, server_default="queued"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("not_before", Timestamp, nullable=False, server_default=func.now()),
    Column("claimed_by", Text),
    Column("claim_expires_at", Timestamp),
    Column("wamid", Text),
    Column("error_code", Integer),
    Column("reason", Text),
    Column("event_id", BigInteger, comment="the event that this answers"),
    Column(
        "request_key",
        Text,
        unique=True,
        comment="key of the request that asked for it; a repeated request is not queued twice",
    ),
    Column("traceparent", Text),
    Column("created_at", Timestamp, nullable=False, server_default=func.now()),
    Column("finished_at", Timestamp),
    CheckConstraint("state IN ('queued', 'sending', 'sent', 'failed', 'unknown')", name="state"),
    Index("outbox_one_in_flight_idx", "conversation_id", unique=True, postgresql_where=text("state = 'sending'")),
    Index("outbox_open_idx", "conversation_id", "id", postgresql_where=text("state IN ('queued', 'sending')")),
    Index("outbox_due_idx", "number_id", "priority", "id", postgresql_where=text("state = 'queued'")),
    Index("outbox_unsettled_idx", "number_id", "id", postgresql_where=text("state IN ('unknown', 'failed')")),
    Index(
        "outbox_request_idx", text('request_key COLLATE "C"'), postgresql_where=text("request_key IS NOT NULL")
    ),  # finds the rows of a schedule's run, whose keys have a common prefix
)

lane = Table(
    "lane",
    metadata,
    Column("lane", SmallInteger, primary_key=True, autoincrement=False),
    Column("owner", Text),
    Column("fence", BigInteger, nullable=False, server_default="0", comment="grows with every acquisition"),
    Column("lease_expires_at", Timestamp),
    Column("requested", BigInteger, nullable=False, server_default="0", comment="grows with every request to drain"),
    Column(
        "trying",
        ARRAY(BigInteger),
        nullable=False,
        server_default="{}",
        comment="events of the running batch",
    ),
)

number = Table(
    "number",
    metadata,
    Column("number_id", Text, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("waba_id", Text, nullable=False),
    Column("hosted", Boolean, nullable=False, server_default="false", comment="its bot runs in host processes"),
    Column("paused_until", Timestamp, comment="no send before this; then one probe"),
    Column("pause_code", Integer),
    Column("pause_reason", Text),
    Column(
        "token_digest", Text, comment="first 16 hex of SHA-256 of the token, or token and proof, that met the pause"
    ),
    Column("conditions", JSONB, nullable=False, server_default="[]"),
    Column("updated_at", Timestamp, nullable=False, server_default=func.now()),
)

# The two tables of the rate limits are read and written by the function of their migration only.
rate_limit = Table(
    "rate_limit",
    metadata,
    Column("number_id", Text, primary_key=True),
    Column(
        "arrival",
        BigInteger,
        nullable=False,
        comment="theoretical arrival time of the next start, in unix microseconds",
    ),
    Column("factor", BigInteger, nullable=False, server_default="1000", comment="rate in per mille"),
    Column(
        "factor_at",
        BigInteger,
        nullable=False,
        server_default="0",
        comment="when the factor was set, in unix microseconds",
    ),
    prefixes=["UNLOGGED"],
)

pair_limit = Table(
    "pair_limit",
    metadata,
    Column("conversation_id", BigInteger, primary_key=True, autoincrement=False),
    Column(
        "arrival",
        BigInteger,
        nullable=False,
        comment="theoretical arrival time of the next start, in unix microseconds",
    ),
    Column("outbox_id", BigInteger, nullable=False, comment="the row that was granted the last start"),
    Column("start", BigInteger, nullable=False, comment="that start, in unix microseconds"),
    prefixes=["UNLOGGED"],
)

daily_metric = Table(
    "daily_metric",
    metadata,
    Column("day", Date, primary_key=True),
    Column("number_id", Text, primary_key=True),
    Column("name", Text, primary_key=True, comment="received, duplicate, done, …"),
    Column("writer", SmallInteger, primary_key=True, comment="spreads concurrent writers over rows"),
    Column("value", BigInteger, nullable=False),
)

schedule_run = Table(
    "schedule_run",
    metadata,
    Column("schedule_uid", Text, primary_key=True, comment="uid of the BotSchedule"),
    Column("planned_at", Timestamp, primary_key=True, comment="the tick, a full minute"),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("number_id", Text, nullable=False),
    Column("orders", JSONB, comment="the order as it was at the first attempt; deleted when the run ends"),
    Column("attempts", SmallInteger, nullable=False, server_default="1", comment="processes that have worked on it"),
    Column("recipients", Integer, nullable=False, server_default="0"),
    Column(
        "skipped",
        JSONB,
        nullable=False,
        server_default="{}",
        comment="how many of the audience got no message, by reason",
    ),
    Column("result", Text, comment="Succeeded, or why nothing was done"),
    Column("detail", Text, nullable=False, server_default="", comment="for people; no contact, no text"),
    Column("traceparent", Text),
    Column("started_at", Timestamp, nullable=False, server_default=func.now()),
    Column("finished_at", Timestamp),
    CheckConstraint("(finished_at IS NULL) = (result IS NULL)", name="finished"),
)
