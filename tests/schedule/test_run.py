"""Tests of runs: each recipient gets one message, and the report says so."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from waypost.contracts import order
from waypost.schedule import queueing
from waypost.schedule.actions.message import MessageAction
from waypost.schedule.context import RunContext
from waypost.schedule.run import ExitStatus, parse_action
from waypost.store import conversations, numbers, schedules
from waypost.store.conversations import Person
from waypost.store.schedules import Tick

from .conftest import NINE, NUMBER, UID, message_order, rows, runs

Run = Callable[..., tuple[int, dict[str, object]]]
ANNA, BRUNO, CARLA = "+393331234567", "+393331234568", "+12125550123"


def test_everybody_in_the_audience_gets_one_bulk_message(seen: Engine, run: Run) -> None:
    """Each contact of the audience gets one bulk message. Bulk messages are sent after replies."""
    status, report = run(message_order([ANNA, BRUNO, "IT.13491208655302741918"]))

    queued = rows(seen)
    assert [(row["wa_id"], row["user_id"]) for row in queued] == [
        (ANNA[1:], None),
        (BRUNO[1:], None),
        (None, "IT.13491208655302741918"),
    ]
    assert {(row["state"], row["priority"], row["number_id"]) for row in queued} == {("queued", 1, NUMBER)}
    assert queued[0]["body"] == {"type": "template", "template": {"name": "weekly_news", "language": {"code": "it"}}}
    assert (status, report["result"], report["recipients"], report["queued"]) == (ExitStatus.DONE, "Succeeded", 3, 3)


def test_the_same_tick_twice_is_one_run(seen: Engine, run: Run) -> None:
    """A CronJob may start a tick twice. The second run then sends nothing and reports the result of the first run."""
    first = run(message_order([ANNA, BRUNO]))
    second = run(message_order([ANNA, BRUNO]))

    assert len(rows(seen)) == 2
    assert second == first
    assert [each["attempts"] for each in runs(seen)] == [1]


def test_the_next_tick_is_another_run(seen: Engine, run: Run) -> None:
    """The next tick is another run, so weekly news goes out every week."""
    run(message_order([ANNA]))
    run(message_order([ANNA]), at=NINE + timedelta(days=7))
    assert len(rows(seen)) == 2


def test_an_interrupted_run_continues_where_it_stopped(seen: Engine, run: Run) -> None:
    """An interrupted run continues where it stopped. No recipient gets a second message, and none is left out."""
    with seen.begin() as connection:
        tick = Tick(UID, NINE)
        schedules.begin_or_resume(
            connection,
            tick,
            namespace="team-a",
            name="weekly-news",
            number_id=NUMBER,
            orders=message_order([ANNA, BRUNO]),
            traceparent=None,
        )
        conversation = conversations.load(connection, [Person(NUMBER, ANNA[1:], None, None, 0)])[0]
        body = {"type": "text", "text": {"body": "first"}}
        queued = [schedules.ScheduledMessage(conversation.id, conversation.contact_id, None)]
        schedules.queue_messages(connection, tick, queued, number_id=NUMBER, body=body, priority=1, traceparent=None)

    status, report = run(message_order([ANNA, BRUNO]))

    assert [(row["wa_id"], row["body"]["type"]) for row in rows(seen)] == [
        (ANNA[1:], "text"),
        (BRUNO[1:], "template"),
    ]
    assert (status, report["recipients"], report["skipped"]) == (ExitStatus.DONE, 2, 0)
    assert runs(seen)[0]["attempts"] == 2


def test_the_order_of_a_tick_is_fixed_when_it_is_first_claimed(seen: Engine, run: Run) -> None:
    """The order of a tick is fixed when the first pod claims the tick.

    If the spec changes between two pods of one run, the run must not mix the old order and the new one.
    """
    with seen.begin() as connection:
        schedules.begin_or_resume(
            connection,
            Tick(UID, NINE),
            namespace="team-a",
            name="weekly-news",
            number_id=NUMBER,
            orders=message_order([ANNA]),
            traceparent=None,
        )
    run(message_order([BRUNO, CARLA]))
    assert [row["wa_id"] for row in rows(seen)] == [ANNA[1:]]


def test_a_run_that_has_ended_stores_no_contacts_and_no_text(seen: Engine, run: Run) -> None:
    """A run that has ended stores no contacts and no text, so erasing a contact does not have to search the runs."""
    run(message_order([ANNA]))
    assert runs(seen)[0]["orders"] is None


def test_the_order_of_an_abandoned_run_is_deleted_by_a_later_one(seen: Engine, run: Run) -> None:
    """A later run deletes the order of an abandoned run, because the order names people.

    A run of the last days may still be continued, so its order is kept.
    """
    with seen.begin() as connection:
        connection.execute(text("DELETE FROM number"))
    for days in (0, 6.5):
        assert run(message_order([ANNA]), at=NINE + timedelta(days=days))[0] == ExitStatus.AGAIN
    with seen.begin() as connection:
        numbers.record(connection, [(NUMBER, "team-a", "support", "102290129340398")])
    run(message_order([ANNA]), at=NINE + timedelta(days=7))
    assert [each["orders"] is None for each in sorted(runs(seen), key=lambda each: each["planned_at"])] == [
        True,
        False,
        True,
    ]


def test_one_person_named_in_two_ways_gets_one_message(seen: Engine, run: Run) -> None:
    """A person who is listed twice gets one message.

    The person is listed by phone number and by BSUID, or by an old spelling of the phone number.
    """
    with seen.begin() as connection:
        people = [
            Person(NUMBER, ANNA[1:], "IT.13491208655302741918", None, 0),
            Person(NUMBER, "5215512345678", None, None, 0),
        ]
        conversations.load(connection, people)

    _, report = run(message_order([ANNA, ANNA, "IT.13491208655302741918", "+525512345678"]))

    assert [row["wa_id"] for row in rows(seen)] == [ANNA[1:], "5215512345678"]
    assert (report["recipients"], report["queued"], report["skipped"]) == (3, 2, 2)
    assert report["message"] == "2 Duplicate"


def test_an_invalid_contact_does_not_stop_the_others(seen: Engine, run: Run) -> None:
    """An invalid contact is counted as skipped, and the other contacts get their message."""
    _, report = run(message_order(["+1000000", ANNA]))
    assert [row["wa_id"] for row in rows(seen)] == [ANNA[1:]]
    assert (report["skipped"], report["message"]) == (1, "1 InvalidContact")


def test_an_audience_above_the_limit_sends_nothing(seen: Engine, run: Run) -> None:
    """If an audience is larger than the limit, no contact gets a message, because the list may be wrong."""
    status, report = run(message_order([ANNA, BRUNO, CARLA], maxRecipients=2))
    assert rows(seen) == []
    assert (status, report["result"], report["recipients"]) == (ExitStatus.NEVER, "TooManyRecipients", 3)


def test_quiet_hours_defer_by_the_recipients_clock(seen: Engine, tmp_path: Path) -> None:
    """A message is deferred to the end of quiet hours in the recipient's zone.

    In this test, it is quiet for one contact of two.
    """
    orders = order.convert(message_order([ANNA, CARLA], quietHours={"from": "21:00", "to": "08:00"}))
    evening = datetime(2026, 11, 23, 20, 30, tzinfo=UTC)
    _, _, action = parse_action(orders).chosen
    assert isinstance(action, MessageAction)
    context = RunContext(seen, orders, Tick(UID, NINE), evening, None, tmp_path, lambda: pytest.fail("no Graph call"))

    queueing.queue(context, action)

    anna, carla = rows(seen)
    assert anna["not_before"] == datetime(2026, 11, 24, 7, 0, tzinfo=UTC), "eight in the morning in Rome"
    assert carla["not_before"] - carla["created_at"] < timedelta(minutes=5), "half past three in New York: at once"


def test_a_number_that_no_worker_has_recorded_is_tried_again(database: Engine, run: Run) -> None:
    """A run for a number that no worker has recorded queues nothing and is tried again.

    Just after an installation, no worker has recorded the number yet.
    """
    with database.begin() as connection:
        connection.execute(text("DELETE FROM number"))
    status, report = run(message_order([ANNA]))
    assert (status, report["result"], rows(database)) == (ExitStatus.AGAIN, "Waiting", [])


def test_a_number_of_another_namespace_is_never_used(seen: Engine, run: Run) -> None:
    """A schedule may use only the numbers of its own namespace."""
    status, report = run(message_order([ANNA]) | {"namespace": "team-b"})
    assert (status, report["result"], rows(seen)) == (ExitStatus.NEVER, "NumberOfAnother", [])


def test_the_counts_show_the_outcome_of_the_messages(seen: Engine, run: Run) -> None:
    """The counts in the report show which messages were sent, failed at Meta or were refused by the gate."""
    run(message_order([ANNA, BRUNO, CARLA, "+393331234569"]))
    with seen.begin() as connection:
        for contact, change in (
            (ANNA, "state = 'sent'"),
            (BRUNO, "state = 'failed', error_code = 131026, reason = 'undeliverable'"),
            (CARLA, "state = 'failed', reason = 'OptedOut'"),
        ):
            connection.execute(
                text(f"""
                    UPDATE outbox SET {change} FROM conversation JOIN contact ON contact.id = conversation.contact_id
                    WHERE conversation.id = outbox.conversation_id AND contact.wa_id = :phone
                """),
                {"phone": contact[1:]},
            )

    _, report = run(message_order([ANNA]))

    counts = {name: report[name] for name in ("recipients", "queued", "sent", "failed", "skipped", "message")}
    assert counts == {"recipients": 4, "queued": 1, "sent": 1, "failed": 1, "skipped": 1, "message": "1 OptedOut"}


def test_rows_of_other_runs_are_not_counted(seen: Engine, run: Run) -> None:
    """Rows of other ticks and of other schedules are not counted, because their keys have other prefixes."""
    run(message_order([ANNA]))
    run(message_order([ANNA, BRUNO]), at=NINE + timedelta(minutes=1))
    run(message_order([ANNA, BRUNO, CARLA]) | {"uid": UID + "1"})
    with seen.connect() as connection:
        assert schedules.sends_of_run(connection, Tick(UID, NINE)).total == 1


def test_the_rows_of_a_run_are_found_by_an_index(seen: Engine, run: Run) -> None:
    """PostgreSQL finds the rows of a run by an index.

    The outbox contains the messages of all runs, so a scan would be slow.
    """
    with seen.begin() as connection:
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = connection.execute(
            text("""
                EXPLAIN SELECT count(*) FROM outbox
                WHERE request_key IS NOT NULL AND request_key COLLATE "C" >= 'schedule:a:1:'
                    AND request_key COLLATE "C" < 'schedule:a:1;'
            """)
        ).scalars()
        assert "outbox_request_idx" in "\n".join(plan)


def test_the_report_names_no_contact(run: Run) -> None:
    """The report names no contact, because it becomes part of a status that many people can read."""
    _, report = run(message_order([ANNA, "+1000000", BRUNO]))
    assert not any(contact.lstrip("+") in str(report) for contact in (ANNA, BRUNO))
