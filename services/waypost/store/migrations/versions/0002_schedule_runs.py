"""Creates the table for runs of schedules, and a way to find the outbox rows of a run."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "schedule_run",
        sa.Column("schedule_uid", sa.Text(), nullable=False, comment="uid of the BotSchedule"),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False, comment="the tick, a full minute"),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("number_id", sa.Text(), nullable=False),
        sa.Column(
            "orders",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="the order as it was at the first attempt; deleted when the run ends",
        ),
        sa.Column(
            "attempts",
            sa.SmallInteger(),
            server_default="1",
            nullable=False,
            comment="processes that have worked on it",
        ),
        sa.Column("recipients", sa.Integer(), server_default="0", nullable=False),
        sa.Column(
            "skipped",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default="{}",
            nullable=False,
            comment="how many of the audience got no message, by reason",
        ),
        sa.Column("result", sa.Text(), nullable=True, comment="Succeeded, or why nothing was done"),
        sa.Column("detail", sa.Text(), server_default="", nullable=False, comment="for people; no contact, no text"),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(finished_at IS NULL) = (result IS NULL)", name=op.f("schedule_run_finished_check")),
        sa.PrimaryKeyConstraint("schedule_uid", "planned_at", name=op.f("schedule_run_pkey")),
    )
    op.create_index(
        "outbox_request_idx",
        "outbox",
        [sa.text('request_key COLLATE "C"')],
        unique=False,
        postgresql_where=sa.text("request_key IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("outbox_request_idx", table_name="outbox", postgresql_where=sa.text("request_key IS NOT NULL"))
    op.drop_table("schedule_run")
