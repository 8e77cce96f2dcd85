"""The sender against a real outbox, a real Redis, and a small strict Graph."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from waypost.contracts.registry import Number
from waypost.sending.sender import Sender

from .conftest import NUMBER, OTHER_NUMBER, TEMPLATE, Book, Graph, number, refusal

pytestmark = pytest.mark.anyio

Start = Callable[..., Sender]
Eventually = Callable[..., Awaitable[object]]


async def test_messages_of_a_conversation_go_out_in_order_and_one_at_a_time(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G3: the next row starts when the one before it has its answer."""
    conversation = book.conversation()
    for word in ("one", "two", "three", "four"):
        book.queue(conversation, word)
    start().wake([conversation])
    await eventually(lambda: set(book.states()) == {"sent"})
    assert graph.said == ["one", "two", "three", "four"]
    assert not graph.overlapped


async def test_conversations_overlap(book: Book, graph: Graph, start: Start, eventually: Eventually) -> None:
    """Calls of different conversations are in flight together."""
    together = asyncio.Barrier(10)

    async def meet(_said: str) -> None:
        await together.wait()

    graph.before = meet
    conversations = [book.conversation() for _ in range(10)]
    for conversation in conversations:
        book.queue(conversation)
    start().wake(conversations)
    await eventually(lambda: book.states() == ["sent"] * 10)


async def test_a_sent_row_becomes_a_message_of_its_conversation(
    book: Book, start: Start, eventually: Eventually
) -> None:
    """What went out is kept with Meta's id, for the console and for the statuses to come."""
    conversation = book.conversation()
    row = book.queue(conversation, "hi there", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    start().wake([conversation])
    await eventually(lambda: book.row(row).state == "sent")
    kept = book.one("SELECT row_to_json(message) FROM message WHERE outbox_id = :id", id=row)
    assert kept["wamid"] == book.row(row).wamid
    assert (kept["direction"], kept["type"], kept["body"]) == ("out", "text", "hi there")
    assert kept["traceparent"] == book.row(row).traceparent
    assert kept["status"] is None


async def test_rows_whose_wake_up_was_lost_are_swept_up(book: Book, start: Start, eventually: Eventually) -> None:
    """Nobody calls `wake`: a sweep finds the row."""
    row = book.queue(book.conversation())
    start()
    await eventually(lambda: book.row(row).state == "sent")


async def test_two_senders_never_send_a_row_twice_or_out_of_order(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """Both are woken for everything, and sweep besides; each message goes out once, in its conversation's order."""
    first, second = start("a"), start("b")
    conversations = [book.conversation() for _ in range(12)]
    for turn in range(4):
        for conversation in conversations:
            book.queue(conversation, f"{conversation}:{turn}")
        first.wake(conversations)
        second.wake(reversed(conversations))
    await eventually(lambda: book.states() == ["sent"] * 48)
    assert len(graph.said) == 48
    for conversation in conversations:
        mine = [said for said in graph.said if said.startswith(f"{conversation}:")]
        assert mine == [f"{conversation}:{turn}" for turn in range(4)]
    assert not graph.overlapped


async def test_a_lost_answer_makes_the_row_unknown_and_is_never_sent_again(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G4: the connection was reset after Meta had the message. The conversation goes on without a second try."""

    async def reset(said: str) -> None:
        if said == "lost":
            graph.said.append(said)
            raise httpx.ReadError("reset")

    graph.before = reset
    conversation = book.conversation()
    lost, after = book.queue(conversation, "lost"), book.queue(conversation, "after")
    start().wake([conversation])
    await eventually(lambda: book.row(after).state == "sent")
    assert book.row(lost).state == "unknown"
    assert graph.said == ["lost", "after"]


async def test_an_unreachable_graph_is_tried_again_and_nothing_overtakes(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """No connection means nothing was sent: the row waits its back-off, and those behind it wait with it."""
    tries: list[str] = []

    async def refuse_twice(said: str) -> None:
        tries.append(said)
        if len(tries) <= 2:
            raise httpx.ConnectError("refused")

    graph.before = refuse_twice
    conversation = book.conversation()
    first, second = book.queue(conversation, "first"), book.queue(conversation, "second")
    start(draw=lambda: 0.05).wake([conversation])
    await eventually(lambda: book.row(second).state == "sent")
    assert tries == ["first", "first", "first", "second"]
    assert book.row(first).attempts == 2


async def test_a_rate_limit_is_obeyed_and_the_row_is_sent_later(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """130429 with Retry-After: rejected before processing, so it comes back, and not before Meta said."""
    moments: list[float] = []

    async def busy_once(_said: str) -> httpx.Response | None:
        moments.append(asyncio.get_running_loop().time())
        return refusal(130429, 400, retry_after="1") if len(moments) == 1 else None

    graph.before = busy_once
    conversation = book.conversation()
    row = book.queue(conversation)
    start(draw=lambda: 0.0).wake([conversation])
    await eventually(lambda: book.row(row).state == "sent")
    assert moments[1] - moments[0] >= 1.0


async def test_a_final_refusal_fails_once_and_the_conversation_goes_on(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G7: a code that can never work is not repeated."""
    tries: list[str] = []

    async def refuse(said: str) -> httpx.Response | None:
        tries.append(said)
        return refusal(131026) if said == "bad" else None

    graph.before = refuse
    conversation = book.conversation()
    bad, good = book.queue(conversation, "bad"), book.queue(conversation, "good")
    start().wake([conversation])
    await eventually(lambda: book.row(good).state == "sent")
    assert (book.row(bad).state, book.row(bad).error_code) == ("failed", 131026)
    assert tries == ["bad", "good"]


async def test_a_revoked_token_pauses_its_number_drops_nothing_and_resumes_with_the_next_token(
    book: Book, graph: Graph, start: Start, eventually: Eventually, registry: dict[str, Number]
) -> None:
    """190 (G5): messages wait, other numbers go on, and a rotated Secret is noticed without a restart."""
    revoked: list[str] = []

    async def only_new_token(said: str) -> httpx.Response | None:
        if graph.payloads[-1]["text"]["body"].startswith("mine") and graph.tokens[-1] == "Bearer token-1":
            revoked.append(said)
            return refusal(190, 401)
        return None

    graph.before = only_new_token
    mine = [book.conversation() for _ in range(5)]
    rows = [book.queue(conversation, f"mine {conversation}") for conversation in mine]
    sender = start()
    sender.wake(mine[:1])
    await eventually(lambda: book.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER))
    met = len(revoked)
    other = book.queue(book.conversation(OTHER_NUMBER), "other")
    sender.wake(mine)
    await eventually(lambda: book.row(other).state == "sent")
    assert len(revoked) == met
    assert [book.row(row).state for row in rows] == ["queued"] * 5
    assert book.one("SELECT pause_code FROM number WHERE number_id = :n", n=NUMBER) == 190
    registry[NUMBER] = number(access_token="token-2")
    await eventually(lambda: [book.row(row).state for row in rows] == ["sent"] * 5)
    assert book.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER) is None
    assert {book.row(row).attempts for row in rows} == {0}


async def test_a_refused_proof_pauses_its_number_drops_nothing_and_resumes_with_the_next_proof(
    book: Book, graph: Graph, start: Start, eventually: Eventually, registry: dict[str, Number]
) -> None:
    """The app secret was changed at Meta: messages wait for the proof by the new one, made for the same token."""
    registry[NUMBER] = number(app_secret_proof="0" * 64)

    async def only_the_new_proof(_said: str) -> httpx.Response | None:
        if graph.proofs[-1] == "1" * 64:
            return None
        return refusal(100, said="Invalid appsecret_proof provided in the API argument")

    graph.before = only_the_new_proof
    mine = [book.conversation() for _ in range(5)]
    rows = [book.queue(conversation) for conversation in mine]
    sender = start()
    sender.wake(mine)
    await eventually(lambda: book.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER))
    await eventually(lambda: book.states() == ["queued"] * 5)
    reason = book.one("SELECT pause_reason FROM number WHERE number_id = :n", n=NUMBER)
    assert reason == "proof of the app secret is missing or wrong"
    registry[NUMBER] = number(app_secret_proof="1" * 64)
    await eventually(lambda: [book.row(row).state for row in rows] == ["sent"] * 5)
    assert book.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER) is None
    assert {book.row(row).attempts for row in rows} == {0}


@pytest.mark.parametrize(
    "proofs",
    [(None, "0" * 64), ("0" * 64, None), ("0" * 64, "1" * 64)],
    ids=["none, then one", "one, then none", "one, then another"],
)
async def test_a_sender_that_knows_another_proof_leaves_a_blocked_number_alone(
    book: Book, graph: Graph, start: Start, eventually: Eventually, proofs: tuple[str | None, str | None]
) -> None:
    """131048 has nothing to do with proofs, and more traffic makes it longer: each row is tried once, by one of two."""
    mine = [book.conversation() for _ in range(5)]
    for conversation in mine:
        book.queue(conversation, "blocked")
    all_asked = asyncio.Event()

    async def block(said: str) -> httpx.Response | None:
        if said != "blocked":
            return None
        if graph.active == len(mine):
            all_asked.set()
        await all_asked.wait()
        return refusal(131048)

    graph.before = block
    start("a", numbers={NUMBER: number(app_secret_proof=proofs[0])}.get)
    await eventually(lambda: book.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER))
    await eventually(lambda: book.states() == ["queued"] * 5)
    paused_until = book.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER)

    known = {NUMBER: number(app_secret_proof=proofs[1]), OTHER_NUMBER: number(OTHER_NUMBER)}
    start("b", numbers=known.get).wake(mine)
    for said in ("found by a sweep", "found by another"):
        row = book.queue(book.conversation(OTHER_NUMBER), said)
        await eventually(lambda row=row: book.row(row).state == "sent")
    assert book.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER) == paused_until
    assert len(graph.payloads) == len(mine) + 2


async def test_after_a_pause_one_probe_goes_and_the_rest_waits_for_its_success(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """The pause has run out: one message tries, the others follow only when it worked."""
    probe = asyncio.Event()

    async def hold(_said: str) -> None:
        await probe.wait()

    graph.before = hold
    book.run(
        "UPDATE number SET paused_until = now() - interval '1 s', pause_code = 131042 WHERE number_id = :n", n=NUMBER
    )
    conversations = [book.conversation() for _ in range(6)]
    for conversation in conversations:
        book.queue(conversation)
    sender = start()
    sender.wake(conversations)
    other = book.queue(book.conversation(OTHER_NUMBER), "marker")
    await eventually(lambda: graph.active == 2 and book.row(other).state == "sending")
    sender.wake(conversations)
    later = book.queue(book.conversation(OTHER_NUMBER), "later marker")
    await eventually(lambda: book.row(later).state == "sending")
    assert book.states().count("sending") == 3
    probe.set()
    await eventually(lambda: set(book.states()) == {"sent"})
    assert book.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER) is None


async def test_a_pair_limit_makes_only_that_pair_wait(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """131056: this contact is left alone for at least 6 s; others are served, and the order within the pair holds."""
    refused: list[str] = []

    async def refuse_first(said: str) -> httpx.Response | None:
        if said == "first" and not refused:
            refused.append(said)
            return refusal(131056)
        return None

    graph.before = refuse_first
    conversation, other = book.conversation(), book.conversation()
    first, second = book.queue(conversation, "first"), book.queue(conversation, "second")
    sender = start()
    sender.wake([conversation])
    await eventually(lambda: book.row(first).attempts == 1)
    served = book.queue(other, "other")
    sender.wake([other, conversation])
    await eventually(lambda: book.row(served).state == "sent")
    assert (book.row(first).state, book.row(second).state) == ("queued", "queued")
    wait = "SELECT extract(epoch FROM paused_until - now()) FROM conversation WHERE id = :id"
    assert 4 < float(book.one(wait, id=conversation)) <= 6
    book.run("UPDATE conversation SET paused_until = NULL WHERE id = :id", id=conversation)
    book.run("UPDATE outbox SET not_before = now() WHERE id = :id", id=first)
    await eventually(lambda: book.row(second).state == "sent")
    assert graph.said == ["other", "first", "second"]


async def test_a_closed_window_turns_a_reply_into_the_template_of_the_number(
    book: Book, graph: Graph, start: Start, eventually: Eventually, registry: dict[str, Number]
) -> None:
    """Meta may know better than we that 24 h are over (131047): the reply goes out as the template."""
    registry[NUMBER] = number(outside_window=TEMPLATE)

    async def closed(said: str) -> httpx.Response | None:
        return refusal(131047) if said == "late reply" else None

    graph.before = closed
    conversation = book.conversation()
    row = book.queue(conversation, "late reply")
    start().wake([conversation])
    await eventually(lambda: book.row(row).state == "sent")
    assert graph.said == ["follow_up"]
    assert book.one("SELECT type FROM message WHERE outbox_id = :id", id=row) == "template"


async def test_meta_telling_of_an_opt_out_stops_marketing_to_that_contact(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """131050: this message fails, and further bulk messages are not even tried."""

    async def stopped(said: str) -> httpx.Response | None:
        return refusal(131050) if said == "offer" else None

    graph.before = stopped
    conversation = book.conversation()
    row, later = book.queue(conversation, "offer", priority=1), book.queue(conversation, "offer 2", priority=1)
    start().wake([conversation])
    await eventually(lambda: book.row(later).state == "failed")
    assert (book.row(row).state, book.row(row).error_code) == ("failed", 131050)
    assert book.row(later).reason == "MarketingStopped"
    assert len(graph.payloads) == 1


async def test_a_refused_row_fails_with_its_reason_and_without_a_call(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """The gate (G5) stands before Graph, and those behind a refused row are looked at next."""
    conversation = book.conversation(contact_opted_out_at="sql:now()")
    row = book.queue(conversation, "hello")
    notice = book.queue(conversation, "you will not hear from us", consent_notice=True)
    start().wake([conversation])
    await eventually(lambda: book.row(notice).state == "sent")
    assert (book.row(row).state, book.row(row).reason) == ("failed", "OptedOut")
    assert graph.said == ["you will not hear from us"]


async def test_a_crash_between_claim_and_answer_leaves_the_row_unknown(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G4: whoever claimed it is gone, so nobody knows; it is not sent, and the conversation goes on."""
    conversation = book.conversation()
    row = book.queue(
        conversation,
        "perhaps sent",
        state="sending",
        claimed_by="dead",
        claim_expires_at="sql:now() - interval '1 s'",
    )
    after = book.queue(conversation, "after")
    start()
    await eventually(lambda: book.row(after).state == "sent")
    assert (book.row(row).state, book.row(row).reason) == ("unknown", "ClaimExpired")
    assert graph.said == ["after"]


async def test_the_late_answer_of_a_zombie_settles_an_unknown_row_and_overwrites_no_other(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A process that stood still answers after its claims were given up: an acceptance counts, a refusal does not."""
    proceed = asyncio.Event()

    async def hold(said: str) -> httpx.Response | None:
        await proceed.wait()
        return refusal(131026) if said == "refused" else None

    graph.before = hold
    accepted = book.queue(book.conversation(), "accepted")
    refused = book.queue(book.conversation(), "refused")
    start()
    await eventually(lambda: graph.active == 2)
    book.run("UPDATE outbox SET state = 'unknown', reason = 'ClaimExpired', claimed_by = NULL")
    proceed.set()
    await eventually(lambda: book.row(accepted).state == "sent")
    assert book.row(accepted).wamid is not None
    marker = book.queue(book.conversation(), "marker")
    await eventually(lambda: book.row(marker).state == "sent")
    assert (book.row(refused).state, book.row(refused).error_code) == ("unknown", None)


async def test_a_read_mark_is_sent_first_and_its_failure_is_harmless(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """Mark as read, with typing: whatever becomes of it, the reply behind it goes out."""

    async def refuse_read(said: str) -> httpx.Response | None:
        return refusal(131000, 500) if said.startswith("read") else None

    graph.before = refuse_read
    conversation = book.conversation()
    read = book.queue(conversation, kind="read", body='{"message_id": "wamid.in", "typing": true}')
    reply = book.queue(conversation, "reply")
    start().wake([conversation])
    await eventually(lambda: book.row(reply).state == "sent")
    assert book.row(read).state == "failed"
    assert graph.payloads[0]["typing_indicator"] == {"type": "text"}
    assert book.one("SELECT count(*) FROM message") == 1


async def test_replies_go_before_bulk_that_was_there_first(
    book: Book, graph: Graph, start: Start, eventually: Eventually, registry: dict[str, Number]
) -> None:
    """G6: a campaign fills the number's limit; a reply that comes in the middle of it does not queue behind."""
    registry[NUMBER] = number(messages_per_second=20)
    crowd = [book.conversation() for _ in range(40)]
    for conversation in crowd:
        book.queue(conversation, "news", priority=1)
    sender = start()
    sender.wake(crowd)
    await eventually(lambda: len(graph.said) >= 5)
    conversation = book.conversation()
    reply = book.queue(conversation, "reply")
    sender.wake([conversation])
    await eventually(lambda: book.row(reply).state == "sent")
    assert book.states().count("queued") > 15


async def test_a_reply_overtakes_bulk_of_its_own_conversation(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A campaign message that waits for the morning must not silence the bot until then."""
    conversation = book.conversation()
    bulk = book.queue(conversation, "good morning", priority=1, not_before="sql:now() + interval '8 hours'")
    reply = book.queue(conversation, "reply")
    start().wake([conversation])
    await eventually(lambda: book.row(reply).state == "sent")
    assert book.row(bulk).state == "queued"


async def test_a_row_due_later_is_sent_then(book: Book, graph: Graph, start: Start, eventually: Eventually) -> None:
    """`not_before` is kept, and met by a timer or a sweep."""
    row = book.queue(book.conversation(), not_before="sql:now() + interval '0.7 s'")
    start()
    await eventually(lambda: book.row(row).state == "sent")
    assert book.one("SELECT finished_at >= not_before FROM outbox WHERE id = :id", id=row)


async def test_sends_go_on_while_redis_is_away_and_share_limits_again_after(
    book: Book, graph: Graph, start: Start, eventually: Eventually, redis_server: Any
) -> None:
    """G6 without Redis: this process keeps to its share by itself."""
    sender = start()
    first, second = book.conversation(), book.conversation()
    row = book.queue(first)
    sender.wake([first])
    await eventually(lambda: book.row(row).state == "sent")
    redis_server.kill()
    row = book.queue(second)
    sender.wake([second])
    await eventually(lambda: book.row(row).state == "sent")


async def test_hanging_calls_of_one_number_leave_room_for_the_others(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A number whose calls hang takes three quarters of the slots, and no more."""
    release = asyncio.Event()

    async def hang(said: str) -> None:
        if said == "hang":
            await release.wait()

    graph.before = hang
    hanging = [book.conversation() for _ in range(30)]
    for conversation in hanging:
        book.queue(conversation, "hang")
    sender = start(concurrency=8)
    sender.wake(hanging)
    await eventually(lambda: graph.active == 6)
    others = [book.conversation(OTHER_NUMBER) for _ in range(5)]
    rows = [book.queue(conversation, "quick") for conversation in others]
    sender.wake(others)
    await eventually(lambda: all(book.row(row).state == "sent" for row in rows))
    assert graph.most_active <= 8
    release.set()
    await eventually(lambda: set(book.states()) == {"sent"})


async def test_long_queues_of_slow_numbers_keep_no_other_number_from_being_swept_up(
    book: Book, start: Start, registry: dict[str, Number], eventually: Eventually
) -> None:
    """Rows of schedules, and those whose wake-up was lost, are only ever found by a sweep."""
    slow = [NUMBER, "306540352242922"]
    for number_id in slow:
        registry[number_id] = number(number_id, messages_per_second=1)
        for _ in range(300):
            book.queue(book.conversation(number_id), "campaign", priority=1)
    start()
    await eventually(lambda: "sent" in book.states())  # the others are parked by now
    row = book.queue(book.conversation(OTHER_NUMBER), "forgotten")
    await eventually(lambda: book.row(row).state == "sent", 20)
    book.run("UPDATE outbox SET state = 'failed' WHERE state = 'queued'")


async def test_an_outage_of_graph_is_not_met_with_a_stream_of_messages(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G1: after a few ambiguous 503s in a row the number waits, so that not every message ends up unknown."""
    down = True

    async def fail(said: str) -> httpx.Response | None:
        return httpx.Response(503) if down and said == "hello" else None

    graph.before = fail
    conversations = [book.conversation() for _ in range(60)]
    for conversation in conversations:
        book.queue(conversation)
    sender = start(concurrency=4, draw=lambda: 0.0)
    sender.wake(conversations)
    await eventually(lambda: book.states().count("unknown") >= 5)
    for _ in range(20):  # another number is served one message after the other, which gives the first one time
        other = book.conversation(OTHER_NUMBER)
        row = book.queue(other, "other")
        sender.wake([other])
        await eventually(lambda row=row: book.row(row).state == "sent")
    # Five failures open the circuit, two more may have been in flight; what comes after are single tries.
    assert book.states().count("unknown") <= 12
    down = False
    await eventually(lambda: book.states().count("queued") == 0)
    assert book.states().count("sent") >= 60 - 12 + 20


async def test_a_stopped_sender_finishes_the_calls_it_has_begun_and_begins_no_other(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """SIGTERM: an answer that is under way is waited for and written down."""
    proceed = asyncio.Event()

    async def hold(_said: str) -> None:
        await proceed.wait()

    graph.before = hold
    conversation = book.conversation()
    begun, waiting = book.queue(conversation, "begun"), book.queue(conversation, "waiting")
    sender = start()
    await eventually(lambda: graph.active == 1)
    sender.stop()
    proceed.set()
    await eventually(lambda: book.row(begun).state == "sent")
    assert book.row(waiting).state == "queued"


async def test_a_killed_database_connection_loses_nothing(
    book: Book, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """Connections that PostgreSQL closes under the sender cost a moment, never a message."""
    conversations = [book.conversation() for _ in range(30)]
    for conversation in conversations:
        for turn in range(3):
            book.queue(conversation, f"{conversation}:{turn}")
    sender = start()
    sender.wake(conversations)
    for enough in (20, 50):
        await eventually(lambda enough=enough: len(graph.said) >= enough)
        book.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'a'"
        )
    await eventually(lambda: set(book.states()) == {"sent"})
    assert len(graph.said) == len(set(graph.said)) == 90
