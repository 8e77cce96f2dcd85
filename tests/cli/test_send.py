"""`waypost send` checks its arguments, sends once for each `--key`, and finds the number and the contact."""

import pytest
from sqlalchemy import Engine, text

from waypost.cli import send
from waypost.cli.send import CannotSend
from waypost.cloudapi.messages import Text
from waypost.cloudapi.messages.recipient import Recipient
from waypost.store import numbers
from waypost.store.requests import KeyInUse

NUMBER = "106540352242922"


def rows(database: Engine) -> list[tuple[object, ...]]:
    """Returns the rows of the outbox."""
    with database.connect() as connection:
        return [
            tuple(row)
            for row in connection.execute(text("SELECT id, state, priority, body->>'type' FROM outbox ORDER BY id"))
        ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("+39 333 123 4567", Recipient("393331234567", None)),
        ("+393331234567", Recipient("393331234567", None)),
        ("US.13491208655302741918", Recipient(None, "US.13491208655302741918")),
    ],
)
def test_a_recipient_is_a_phone_number_or_a_bsuid(word: str, expected: Recipient) -> None:
    """A recipient is given as a phone number or as a BSUID. Spaces in a phone number do not matter."""
    assert send.recipient(word) == expected


@pytest.mark.parametrize("word", ["3331234567", "canary", "+39", "+390000000000000000", ""])
def test_an_invalid_recipient_is_refused_without_repeating_it(word: str) -> None:
    """An invalid recipient is refused. The error does not repeat the recipient, because it is personal data.

    A phone number without a country code is invalid, because Meta would assume the country code of the business.
    """
    with pytest.raises(CannotSend) as caught:
        send.recipient(word)
    assert not word or word not in str(caught.value).replace("+393331234567", "")


@pytest.mark.parametrize(("words", "template"), [(None, None), ("hello", "greeting:en"), (None, "greeting")])
def test_the_message_is_a_text_or_a_template_with_its_language(words: str | None, template: str | None) -> None:
    """A text or a template must be given, but not both. A template must have a language."""
    with pytest.raises(CannotSend):
        send.message(words, template)


def test_a_number_is_found_by_its_name_or_its_id(database: Engine) -> None:
    """A number is found by its name or its id. The error for an unknown number lists the existing numbers."""
    with database.begin() as connection:
        numbers.record(connection, [(NUMBER, "team-a", "support", "1")])

    assert send.number_id(database, "team-a/support") == NUMBER
    assert send.number_id(database, NUMBER) == NUMBER
    with pytest.raises(CannotSend, match="there are team-a/support"):
        send.number_id(database, "team-a/other")


def test_the_same_key_twice_is_one_row(database: Engine) -> None:
    """Two requests with the same key give one row. A script that is run again must not send a message twice."""
    to = Recipient("393331234567", None)
    first = send.request(database, NUMBER, to, Text("hello"), "monday")
    second = send.request(database, NUMBER, to, Text("hello"), "monday")

    assert first[1], "the first is new"
    assert second == (first[0], False)
    assert rows(database) == [(first[0], "queued", 0, "text")]


def test_without_a_key_every_request_is_a_new_message(database: Engine) -> None:
    """Without a key, every request is a new message. A user may want to send the same text twice."""
    to = Recipient("393331234567", None)
    for _ in range(2):
        send.request(database, NUMBER, to, Text("hello"), None)

    assert len(rows(database)) == 2


def test_a_key_that_was_used_for_another_contact_is_refused(database: Engine) -> None:
    """A key that was used for another contact is refused.

    The second message is not sent, so the answer must not be "sent".
    """
    send.request(database, NUMBER, Recipient("393331234567", None), Text("hello"), "monday")
    with pytest.raises(KeyInUse):
        send.request(database, NUMBER, Recipient("393331234568", None), Text("hello"), "monday")

    assert len(rows(database)) == 1


def test_a_contact_that_wrote_before_keeps_its_conversation(database: Engine) -> None:
    """A contact who has written before keeps the conversation, with its 24-hour window and the contact's consent."""
    to = Recipient("393331234567", None)
    for _ in range(2):
        send.request(database, NUMBER, to, Text("hello"), None)
    with database.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM conversation")).scalar_one() == 1


def test_the_outcome_is_returned_after_the_deadline_at_the_latest(database: Engine) -> None:
    """The outcome is returned when it is known, and at the deadline at the latest.

    Without a worker, the message is still queued at the deadline.
    """
    outbox_id, _ = send.request(database, NUMBER, Recipient("393331234567", None), Text("hello"), None)
    assert send.outcome(database, outbox_id, within_s=0.0).state == "queued"

    with database.begin() as connection:
        connection.execute(text("UPDATE outbox SET state = 'failed', reason = 'OptedOut'"))
    progress = send.outcome(database, outbox_id, within_s=5.0)
    assert (progress.state, progress.reason) == ("failed", "OptedOut")
