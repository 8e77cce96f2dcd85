"""Creates Meta's rate limits: their state, and the function that grants starts under them.

The state is unlogged: it is worth nothing after a few seconds, and a grant must not wait for a disk. The
function has a version in its name, because workers of two versions ask during an upgrade. A later migration
that changes its arguments or its answer adds a function beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# The same arithmetic as State in sending/gcra.py, in whole microseconds; a test compares the two. Only here, a row that
# has just been granted a start is not granted another one: senders that sweep at the same time ask for the same rows.
_GRANT_STARTS = """
CREATE FUNCTION grant_starts_v1(
    numbers text[], intervals bigint[], tolerances bigint[], reply_horizons bigint[], bulk_horizons bigint[],
    incoming bigint[], slow_down smallint[],
    conversations bigint[], row_ids bigint[], row_numbers smallint[], row_conversations smallint[], row_bulk smallint[],
    pair_interval_tolerance_repeat bigint[], test_clock bigint[]
) RETURNS bigint[] LANGUAGE plpgsql
-- A session plans the statements once, maybe while the tables are empty.
SET enable_seqscan TO off
AS $$
DECLARE
    clock bigint;
    complete_since bigint;
    stored record;
    rate bigint;
    arrivals bigint[] := '{}';
    factors bigint[] := '{}';
    factor_times bigint[] := '{}';
    steps bigint[] := '{}';
    bursts bigint[] := '{}';
    pair_interval bigint := pair_interval_tolerance_repeat[1];
    pair_tolerance bigint := pair_interval_tolerance_repeat[2];
    repeat_after bigint := pair_interval_tolerance_repeat[3];
    pairs_before bigint[];
    pairs_after bigint[];
    granted_rows bigint[];
    granted_starts bigint[];
    answer bigint[] := array_fill(0::bigint, ARRAY[1 + 2 * cardinality(row_numbers)]);
    n integer;
    pair integer;
    horizon bigint;
    next_start bigint;
    repeat_at bigint;
    pair_start bigint;
BEGIN
    -- New numbers get a row before any row is locked, in the order of locking, so that callers cannot deadlock.
    IF NOT (SELECT bool_and(EXISTS (SELECT FROM rate_limit WHERE number_id = asked.number_id))
            FROM unnest(numbers) AS asked (number_id)) THEN
        clock := coalesce(test_clock[1], (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
        -- The row without a number says since when the table is complete. A crash of the server empties the table.
        INSERT INTO rate_limit (number_id, arrival) VALUES ('', clock) ON CONFLICT (number_id) DO NOTHING;
        SELECT arrival INTO complete_since FROM rate_limit WHERE number_id = '';
        -- Starts that were granted before the crash may lie ahead by the horizon. The first new one comes after them.
        INSERT INTO rate_limit (number_id, arrival)
        SELECT numbers[i],
               CASE WHEN clock < complete_since + 3000000 THEN clock + reply_horizons[i] + intervals[i] ELSE 0 END
        FROM generate_subscripts(numbers, 1) AS i
        ON CONFLICT (number_id) DO NOTHING;
    END IF;

    FOR n IN 1 .. cardinality(numbers) LOOP
        SELECT arrival, factor, factor_at INTO STRICT stored
        FROM rate_limit WHERE number_id = numbers[n] FOR NO KEY UPDATE;
        arrivals[n] := stored.arrival;
        factors[n] := stored.factor;
        factor_times[n] := stored.factor_at;
    END LOOP;
    -- Read under the locks: the call that held them before has read an earlier time.
    clock := coalesce(test_clock[1], (extract(epoch FROM clock_timestamp()) * 1000000)::bigint);
    answer[1] := clock;

    FOR n IN 1 .. cardinality(numbers) LOOP
        -- A state further ahead than any grant can make it was written before the clock went back.
        factor_times[n] := least(factor_times[n], clock);
        rate := least(1000, factors[n] + (clock - factor_times[n]) * 1000 / 60000000);
        IF slow_down[n] = 1 AND clock - factor_times[n] >= 1000000 THEN
            rate := greatest(62, rate / 2);
            factors[n] := rate;
            factor_times[n] := clock;
        END IF;
        steps[n] := intervals[n] * 1000 / rate;
        bursts[n] := tolerances[n] * 1000 / rate;
        arrivals[n] := least(arrivals[n], clock + greatest(1000000, reply_horizons[n] + bursts[n]));
        IF incoming[n] > 0 THEN
            arrivals[n] := greatest(
                arrivals[n], least(greatest(arrivals[n], clock) + incoming[n] * steps[n], clock + 1000000)
            );
        END IF;
    END LOOP;

    IF cardinality(row_numbers) > 0 THEN
        SELECT array_agg(known.arrival ORDER BY asked.position), array_agg(known.outbox_id ORDER BY asked.position),
               array_agg(known.start ORDER BY asked.position)
        INTO pairs_before, granted_rows, granted_starts
        FROM unnest(conversations) WITH ORDINALITY AS asked (conversation_id, position)
        LEFT JOIN LATERAL (
            -- OFFSET makes each look-up one by the primary key.
            SELECT arrival, outbox_id, start FROM pair_limit
            WHERE conversation_id = asked.conversation_id OFFSET 0
        ) AS known ON true;
        pairs_after := pairs_before;
        FOR pair IN 1 .. cardinality(conversations) LOOP
            IF pairs_after[pair] > clock + pair_tolerance THEN
                pairs_after[pair] := clock + pair_tolerance;
            END IF;
        END LOOP;

        FOR i IN 1 .. cardinality(row_numbers) LOOP
            n := row_numbers[i];
            pair := row_conversations[i];
            next_start := greatest(clock, arrivals[n] + steps[n] - bursts[n]);
            pair_start := coalesce(pairs_after[pair], 0) + pair_interval - pair_tolerance;
            horizon := CASE WHEN row_bulk[i] = 1 THEN bulk_horizons[n] ELSE reply_horizons[n] END;
            repeat_at := granted_starts[pair] + greatest(repeat_after, intervals[n]);
            IF granted_rows[pair] = row_ids[i] AND repeat_at > clock
                AND granted_starts[pair] - clock <= reply_horizons[n] THEN
                answer[2 * i] := 3;
                answer[2 * i + 1] := repeat_at - clock;
            ELSIF pair_start > clock THEN
                answer[2 * i] := 2;
                answer[2 * i + 1] := pair_start - clock;
            ELSIF next_start - clock > horizon THEN
                -- Ask again before the start itself: a late question would leave a gap in the pace.
                answer[2 * i] := 1;
                answer[2 * i + 1] := next_start - clock - horizon / 2;
            ELSE
                arrivals[n] := greatest(arrivals[n], next_start) + steps[n];
                pairs_after[pair] := greatest(coalesce(pairs_after[pair], 0), next_start) + pair_interval;
                granted_rows[pair] := row_ids[i];
                granted_starts[pair] := next_start;
                answer[2 * i + 1] := next_start - clock;
            END IF;
        END LOOP;

        INSERT INTO pair_limit (conversation_id, arrival, outbox_id, start)
        SELECT asked.conversation_id, asked.after, asked.outbox_id, asked.started
        FROM unnest(conversations, pairs_before, pairs_after, granted_rows, granted_starts)
            AS asked (conversation_id, before, after, outbox_id, started)
        WHERE asked.after IS DISTINCT FROM asked.before
        ON CONFLICT (conversation_id) DO UPDATE
        SET arrival = excluded.arrival, outbox_id = excluded.outbox_id, start = excluded.start;
    END IF;

    FOR n IN 1 .. cardinality(numbers) LOOP
        UPDATE rate_limit SET arrival = arrivals[n], factor = factors[n], factor_at = factor_times[n]
        WHERE number_id = numbers[n]
          AND (arrival <> arrivals[n] OR factor <> factors[n] OR factor_at <> factor_times[n]);
    END LOOP;
    RETURN answer;
END $$
"""


def upgrade() -> None:
    op.create_table(
        "rate_limit",
        sa.Column("number_id", sa.Text(), nullable=False),
        sa.Column(
            "arrival",
            sa.BigInteger(),
            nullable=False,
            comment="theoretical arrival time of the next start, in unix microseconds",
        ),
        sa.Column("factor", sa.BigInteger(), server_default="1000", nullable=False, comment="rate in per mille"),
        sa.Column(
            "factor_at",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="when the factor was set, in unix microseconds",
        ),
        sa.PrimaryKeyConstraint("number_id", name=op.f("rate_limit_pkey")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "pair_limit",
        sa.Column("conversation_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "arrival",
            sa.BigInteger(),
            nullable=False,
            comment="theoretical arrival time of the next start, in unix microseconds",
        ),
        sa.Column("outbox_id", sa.BigInteger(), nullable=False, comment="the row that was granted the last start"),
        sa.Column("start", sa.BigInteger(), nullable=False, comment="that start, in unix microseconds"),
        sa.PrimaryKeyConstraint("conversation_id", name=op.f("pair_limit_pkey")),
        prefixes=["UNLOGGED"],
    )
    # Rows that are rewritten for each batch stay on their page instead of growing the table.
    op.execute("ALTER TABLE rate_limit SET (fillfactor = 10)")
    op.execute("ALTER TABLE pair_limit SET (fillfactor = 70)")
    # Complete since ever: nothing was lost.
    op.execute("INSERT INTO rate_limit (number_id, arrival) VALUES ('', 0)")
    op.execute(_GRANT_STARTS)


def downgrade() -> None:
    op.execute("DROP FUNCTION grant_starts_v1")
    op.drop_table("pair_limit")
    op.drop_table("rate_limit")
