"""Adds indexes that are needed to claim events in equal shares by number.

Also adds a column that says which numbers' bots run in host processes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_WAITING = sa.text("state = 'waiting'")
_RETRIED = sa.text("state = 'waiting' AND attempts > 0")


def upgrade() -> None:
    op.add_column(
        "event",
        sa.Column(
            "detail",
            sa.Text(),
            nullable=True,
            comment="where the bot's code failed: files and lines; no message and no content",
        ),
    )
    op.add_column(
        "number",
        sa.Column(
            "hosted",
            sa.Boolean(),
            server_default="false",
            nullable=False,
            comment="its bot runs in host processes",
        ),
    )
    op.create_index(
        "event_waiting_number_idx", "event", ["lane", "number_id", "occurred_at", "id"], postgresql_where=_WAITING
    )
    op.create_index(
        "event_retried_contact_idx", "event", ["lane", "number_id", "contact_key"], postgresql_where=_RETRIED
    )
    op.drop_index("event_waiting_idx", table_name="event", postgresql_where=_WAITING)
    op.drop_index("event_retried_idx", table_name="event", postgresql_where=_RETRIED)


def downgrade() -> None:
    op.create_index("event_retried_idx", "event", ["lane"], postgresql_where=_RETRIED)
    op.create_index("event_waiting_idx", "event", ["lane", "occurred_at", "id"], postgresql_where=_WAITING)
    op.drop_index("event_retried_contact_idx", table_name="event", postgresql_where=_RETRIED)
    op.drop_index("event_waiting_number_idx", table_name="event", postgresql_where=_WAITING)
    op.drop_column("number", "hosted")
    op.drop_column("event", "detail")
