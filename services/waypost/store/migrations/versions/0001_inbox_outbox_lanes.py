"""Creates the inbox, conversations, the outbox, lanes and counts."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "contact",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("number_id", sa.Text(), nullable=False),
        sa.Column("wa_id", sa.Text(), nullable=True, comment="phone without +; absent for users known by BSUID only"),
        sa.Column("user_id", sa.Text(), nullable=True, comment="BSUID"),
        sa.Column("profile_name", sa.Text(), nullable=True),
        sa.Column("opted_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opt_out_source", sa.Text(), nullable=True, comment="keyword, preference, error or cli"),
        sa.Column("marketing_stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("wa_id IS NOT NULL OR user_id IS NOT NULL", name=op.f("contact_identity_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("contact_pkey")),
        sa.UniqueConstraint("number_id", "user_id", name=op.f("contact_number_id_user_id_key")),
        sa.UniqueConstraint("number_id", "wa_id", name=op.f("contact_number_id_wa_id_key")),
    )
    op.create_table(
        "daily_metric",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("number_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="received, duplicate, done, …"),
        sa.Column("writer", sa.SmallInteger(), nullable=False, comment="spreads concurrent writers over rows"),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "number_id", "name", "writer", name=op.f("daily_metric_pkey")),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("number_id", sa.Text(), nullable=False, comment="phone number id, or waba:<id> for account fields"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "event_key",
            sa.Text(),
            nullable=False,
            comment="identity within (number, kind): wamid, wamid:status, digest",
        ),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column(
            "contact_key",
            sa.Text(),
            nullable=False,
            comment="the contact that it is about: BSUID or phone; empty for none",
        ),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False, comment="Meta's time stamp"),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it is dead, or done without effect"),
        sa.Column(
            "payload", sa.LargeBinary(), nullable=False, comment="the event alone, in Meta's envelope, as received"
        ),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('waiting', 'done', 'dead')", name=op.f("event_state_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("event_pkey")),
        sa.UniqueConstraint("number_id", "kind", "event_key", name=op.f("event_number_id_kind_event_key_key")),
    )
    op.create_index(
        "event_dead_idx", "event", ["number_id", "id"], unique=False, postgresql_where=sa.text("state = 'dead'")
    )
    op.create_index("event_finished_idx", "event", ["finished_at"], unique=False, postgresql_using="brin")
    op.create_index(
        "event_retried_idx",
        "event",
        ["lane"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting' AND attempts > 0"),
    )
    op.create_index(
        "event_waiting_idx",
        "event",
        ["lane", "occurred_at", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "lane",
        sa.Column("lane", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False, comment="grows with every acquisition"),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "requested",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="grows with every request to drain",
        ),
        sa.Column(
            "trying",
            postgresql.ARRAY(sa.BigInteger()),
            server_default="{}",
            nullable=False,
            comment="events of the running batch",
        ),
        sa.PrimaryKeyConstraint("lane", name=op.f("lane_pkey")),
    )
    op.create_table(
        "number",
        sa.Column("number_id", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("waba_id", sa.Text(), nullable=False),
        sa.Column(
            "paused_until", sa.DateTime(timezone=True), nullable=True, comment="no send before this; then one probe"
        ),
        sa.Column("pause_code", sa.Integer(), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.Column(
            "token_digest",
            sa.Text(),
            nullable=True,
            comment="first 16 hex of SHA-256 of the token, or token and proof, that met the pause",
        ),
        sa.Column("conditions", postgresql.JSONB(astext_type=sa.Text()), server_default="[]", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("number_id", name=op.f("number_pkey")),
    )
    op.create_table(
        "conversation",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("number_id", sa.Text(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column(
            "state",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="the bot's state after the last turn",
        ),
        sa.Column("version", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "window_expires_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="24 h after the contact's last message",
        ),
        sa.Column("owner", sa.Text(), server_default="bot", nullable=False, comment="bot, human or standby"),
        sa.Column(
            "owner_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when the bot takes over again; null: until a person says so",
        ),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True, comment="pair limit of Meta (131056)"),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("owner IN ('bot', 'human', 'standby')", name=op.f("conversation_owner_check")),
        sa.ForeignKeyConstraint(["contact_id"], ["contact.id"], name=op.f("conversation_contact_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("conversation_pkey")),
        sa.UniqueConstraint("contact_id", name=op.f("conversation_contact_id_key")),
    )
    op.create_table(
        "message",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("number_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("wamid", sa.Text(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column(
            "body", sa.Text(), nullable=True, comment="what a person would read, without what a text column cannot hold"
        ),
        sa.Column(
            "status", sa.Text(), nullable=True, comment="highest status seen: sent, delivered, read, played, failed"
        ),
        sa.Column("status_rank", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column(
            "statuses",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="[]",
            nullable=False,
            comment="every status event, in order of arrival",
        ),
        sa.Column("error_code", sa.Integer(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("outbox_id", sa.BigInteger(), nullable=True),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.CheckConstraint("direction IN ('in', 'out')", name=op.f("message_direction_check")),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], name=op.f("message_conversation_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("message_pkey")),
        sa.UniqueConstraint("number_id", "wamid", name=op.f("message_number_id_wamid_key")),
        sa.UniqueConstraint("outbox_id", name=op.f("message_outbox_id_key")),
    )
    op.create_index("message_conversation_idx", "message", ["conversation_id", "id"], unique=False)
    op.create_index("message_occurred_idx", "message", ["number_id", "occurred_at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("number_id", sa.Text(), nullable=False),
        sa.Column("conversation_id", sa.BigInteger(), nullable=False),
        sa.Column("correlation", sa.UUID(as_uuid=False), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column(
            "kind", sa.Text(), server_default="message", nullable=False, comment="message, or read (mark as read)"
        ),
        sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False, comment="0 reply, 1 bulk"),
        sa.Column(
            "body",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the Graph payload without recipient and correlation",
        ),
        sa.Column(
            "consent_notice",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="announces an opt-out or hand-off, which therefore does not stop it",
        ),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("claimed_by", sa.Text(), nullable=True),
        sa.Column("claim_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wamid", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("event_id", sa.BigInteger(), nullable=True, comment="the event that this answers"),
        sa.Column(
            "request_key",
            sa.Text(),
            nullable=True,
            comment="key of the request that asked for it; a repeated request is not queued twice",
        ),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('queued', 'sending', 'sent', 'failed', 'unknown')", name=op.f("outbox_state_check")
        ),
        sa.ForeignKeyConstraint(["conversation_id"], ["conversation.id"], name=op.f("outbox_conversation_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("outbox_pkey")),
        sa.UniqueConstraint("correlation", name=op.f("outbox_correlation_key")),
        sa.UniqueConstraint("request_key", name=op.f("outbox_request_key_key")),
    )
    op.create_index(
        "outbox_due_idx",
        "outbox",
        ["number_id", "priority", "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "outbox_one_in_flight_idx",
        "outbox",
        ["conversation_id"],
        unique=True,
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "outbox_open_idx",
        "outbox",
        ["conversation_id", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('queued', 'sending')"),
    )
    op.create_index(
        "outbox_unsettled_idx",
        "outbox",
        ["number_id", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('unknown', 'failed')"),
    )
    op.execute("INSERT INTO lane (lane) SELECT generate_series(0, 63)")
    # Rows that are rewritten for each batch stay on their page instead of growing the table.
    op.execute("ALTER TABLE lane SET (fillfactor = 10)")
    op.execute("ALTER TABLE daily_metric SET (fillfactor = 50)")
    op.execute("ALTER TABLE event SET (fillfactor = 90)")


def downgrade() -> None:
    op.drop_index(
        "outbox_unsettled_idx", table_name="outbox", postgresql_where=sa.text("state IN ('unknown', 'failed')")
    )
    op.drop_index("outbox_open_idx", table_name="outbox", postgresql_where=sa.text("state IN ('queued', 'sending')"))
    op.drop_index("outbox_one_in_flight_idx", table_name="outbox", postgresql_where=sa.text("state = 'sending'"))
    op.drop_index("outbox_due_idx", table_name="outbox", postgresql_where=sa.text("state = 'queued'"))
    op.drop_table("outbox")
    op.drop_index("message_occurred_idx", table_name="message")
    op.drop_index("message_conversation_idx", table_name="message")
    op.drop_table("message")
    op.drop_table("conversation")
    op.drop_table("number")
    op.drop_table("lane")
    op.drop_index("event_waiting_idx", table_name="event", postgresql_where=sa.text("state = 'waiting'"))
    op.drop_index("event_finished_idx", table_name="event", postgresql_using="brin")
    op.drop_index("event_dead_idx", table_name="event", postgresql_where=sa.text("state = 'dead'"))
    op.drop_index(
        "event_retried_idx", table_name="event", postgresql_where=sa.text("state = 'waiting' AND attempts > 0")
    )
    op.drop_table("event")
    op.drop_table("daily_metric")
    op.drop_table("contact")
