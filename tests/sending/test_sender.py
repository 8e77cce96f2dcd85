"""Tests of the sender with a real outbox, and a small strict Graph API."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from waypost.contracts.registry import Number
from waypost.sending.sender import Sender

from .conftest import NUMBER, OTHER_NUMBER, TEMPLATE, Graph, Tables, number, refusal

pytestmark = pytest.mark.anyio

Start = Callable[..., Sender]
Eventually = Callable[..., Awaitable[object]]


async def test_messages_of_a_conversation_go_out_in_order_and_one_at_a_time(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G3: messages of a conversation go out in order. Each one starts when the one before it has its answer."""
    conversation = tables.conversation()
    for word in ("one", "two", "three", "four"):
        tables.queue(conversation, word)
    start().wake([conversation])
    await eventually(lambda: set(tables.states()) == {"sent"})
    assert graph.said == ["one", "two", "three", "four"]
    assert not graph.overlapped


async def test_conversations_overlap(tables: Tables, graph: Graph, start: Start, eventually: Eventually) -> None:
    """Calls of different conversations are in flight at the same time."""
    together = asyncio.Barrier(10)

    async def meet(_said: str) -> None:
        await together.wait()

    graph.before = meet
    conversations = [tables.conversation() for _ in range(10)]
    for conversation in conversations:
        tables.queue(conversation)
    start().wake(conversations)
    await eventually(lambda: tables.states() == ["sent"] * 10)


async def test_a_sent_row_becomes_a_message_of_its_conversation(
    tables: Tables, start: Start, eventually: Eventually
) -> None:
    """A sent message is stored with Meta's id, because the console and later statuses need it."""
    conversation = tables.conversation()
    row = tables.queue(conversation, "hi there", traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    start().wake([conversation])
    await eventually(lambda: tables.row(row).state == "sent")
    stored = tables.one("SELECT row_to_json(message) FROM message WHERE outbox_id = :id", id=row)
    assert stored["wamid"] == tables.row(row).wamid
    assert (stored["direction"], stored["type"], stored["body"]) == ("out", "text", "hi there")
    assert stored["traceparent"] == tables.row(row).traceparent
    assert stored["status"] is None


async def test_a_sweep_finds_rows_whose_wake_up_was_lost(tables: Tables, start: Start, eventually: Eventually) -> None:
    """A sweep finds a row for which no process called `wake`, and the row is sent."""
    row = tables.queue(tables.conversation())
    start()
    await eventually(lambda: tables.row(row).state == "sent")


async def test_two_senders_never_send_a_row_twice_or_out_of_order(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """Two senders send each message once and in the order of its conversation.

    Both are woken for every conversation, and both also sweep.
    """
    first, second = start("a"), start("b")
    conversations = [tables.conversation() for _ in range(12)]
    for turn in range(4):
        for conversation in conversations:
            tables.queue(conversation, f"{conversation}:{turn}")
        first.wake(conversations)
        second.wake(reversed(conversations))
    await eventually(lambda: tables.states() == ["sent"] * 48)
    assert len(graph.said) == 48
    for conversation in conversations:
        mine = [said for said in graph.said if said.startswith(f"{conversation}:")]
        assert mine == [f"{conversation}:{turn}" for turn in range(4)]
    assert not graph.overlapped


@pytest.mark.fault("G6")
async def test_a_lost_answer_makes_the_row_unknown_and_is_never_sent_again(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G4: if the connection is reset after Meta got the message, the row becomes unknown and is not sent again.

    The conversation goes on with its next message.
    """

    async def reset(said: str) -> None:
        if said == "lost":
            graph.said.append(said)
            raise httpx.ReadError("reset")

    graph.before = reset
    conversation = tables.conversation()
    lost, after = tables.queue(conversation, "lost"), tables.queue(conversation, "after")
    start().wake([conversation])
    await eventually(lambda: tables.row(after).state == "sent")
    assert tables.row(lost).state == "unknown"
    assert graph.said == ["lost", "after"]


async def test_an_unreachable_graph_is_tried_again_and_nothing_overtakes(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """If the Graph API cannot be reached, nothing was sent. The row waits for its back-off and is tried again.

    The rows behind it in the conversation wait too.
    """
    tries: list[str] = []

    async def refuse_twice(said: str) -> None:
        tries.append(said)
        if len(tries) <= 2:
            raise httpx.ConnectError("refused")

    graph.before = refuse_twice
    conversation = tables.conversation()
    first, second = tables.queue(conversation, "first"), tables.queue(conversation, "second")
    start(draw=lambda: 0.05).wake([conversation])
    await eventually(lambda: tables.row(second).state == "sent")
    assert tries == ["first", "first", "first", "second"]
    assert tables.row(first).attempts == 2


@pytest.mark.fault("G2")
async def test_a_rate_limit_is_obeyed_and_the_row_is_sent_later(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A row that Meta refused with 130429 is sent again, but not before the time in Retry-After.

    Meta refuses such a message before processing it, so it cannot go out twice.
    """
    moments: list[float] = []

    async def busy_once(_said: str) -> httpx.Response | None:
        moments.append(asyncio.get_running_loop().time())
        return refusal(130429, 400, retry_after="1") if len(moments) == 1 else None

    graph.before = busy_once
    conversation = tables.conversation()
    row = tables.queue(conversation)
    start(draw=lambda: 0.0).wake([conversation])
    await eventually(lambda: tables.row(row).state == "sent")
    assert moments[1] - moments[0] >= 1.0


@pytest.mark.fault("G7")
async def test_a_final_refusal_fails_once_and_the_conversation_goes_on(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G7: a message that Meta will never accept is tried once, and the conversation goes on."""
    tries: list[str] = []

    async def refuse(said: str) -> httpx.Response | None:
        tries.append(said)
        return refusal(131026) if said == "bad" else None

    graph.before = refuse
    conversation = tables.conversation()
    bad, good = tables.queue(conversation, "bad"), tables.queue(conversation, "good")
    start().wake([conversation])
    await eventually(lambda: tables.row(good).state == "sent")
    assert (tables.row(bad).state, tables.row(bad).error_code) == ("failed", 131026)
    assert tries == ["bad", "good"]


@pytest.mark.fault("G5")
async def test_a_revoked_token_pauses_its_number_drops_nothing_and_resumes_with_the_next_token(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually, registry: dict[str, Number]
) -> None:
    """G5: if Meta answers 190, the number's messages wait for the next token. Other numbers go on.

    The sender notices a rotated Secret without a restart.
    """
    revoked: list[str] = []

    async def only_new_token(said: str) -> httpx.Response | None:
        if graph.payloads[-1]["text"]["body"].startswith("mine") and graph.tokens[-1] == "Bearer token-1":
            revoked.append(said)
            return refusal(190, 401)
        return None

    graph.before = only_new_token
    mine = [tables.conversation() for _ in range(5)]
    rows = [tables.queue(conversation, f"mine {conversation}") for conversation in mine]
    sender = start()
    sender.wake(mine[:1])
    await eventually(lambda: tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER))
    met = len(revoked)
    other = tables.queue(tables.conversation(OTHER_NUMBER), "other")
    sender.wake(mine)
    await eventually(lambda: tables.row(other).state == "sent")
    assert len(revoked) == met
    assert [tables.row(row).state for row in rows] == ["queued"] * 5
    assert tables.one("SELECT pause_code FROM number WHERE number_id = :n", n=NUMBER) == 190
    registry[NUMBER] = number(access_token="token-2")
    await eventually(lambda: [tables.row(row).state for row in rows] == ["sent"] * 5)
    assert tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER) is None
    assert {tables.row(row).attempts for row in rows} == {0}


async def test_a_refused_proof_pauses_its_number_drops_nothing_and_resumes_with_the_next_proof(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually, registry: dict[str, Number]
) -> None:
    """If the app secret was changed at Meta, messages wait for the new proof and none is dropped.

    The new proof is made with the new app secret for the same token.
    """
    registry[NUMBER] = number(app_secret_proof="0" * 64)

    async def only_the_new_proof(_said: str) -> httpx.Response | None:
        if graph.proofs[-1] == "1" * 64:
            return None
        return refusal(100, said="Invalid appsecret_proof provided in the API argument")

    graph.before = only_the_new_proof
    mine = [tables.conversation() for _ in range(5)]
    rows = [tables.queue(conversation) for conversation in mine]
    sender = start()
    sender.wake(mine)
    await eventually(lambda: tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER))
    await eventually(lambda: tables.states() == ["queued"] * 5)
    reason = tables.one("SELECT pause_reason FROM number WHERE number_id = :n", n=NUMBER)
    assert reason == "proof of the app secret is missing or wrong"
    registry[NUMBER] = number(app_secret_proof="1" * 64)
    await eventually(lambda: [tables.row(row).state for row in rows] == ["sent"] * 5)
    assert tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER) is None
    assert {tables.row(row).attempts for row in rows} == {0}


@pytest.mark.parametrize(
    "proofs",
    [(None, "0" * 64), ("0" * 64, None), ("0" * 64, "1" * 64)],
    ids=["none, then one", "one, then none", "one, then another"],
)
async def test_a_sender_with_another_proof_sends_nothing_from_a_blocked_number(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually, proofs: tuple[str | None, str | None]
) -> None:
    """If a number is blocked by 131048, a second sender sends nothing from it, even with a different proof.

    The block has nothing to do with proofs, and more traffic would prolong it. So each row is tried only once.
    """
    mine = [tables.conversation() for _ in range(5)]
    for conversation in mine:
        tables.queue(conversation, "blocked")
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
    await eventually(lambda: tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER))
    await eventually(lambda: tables.states() == ["queued"] * 5)
    paused_until = tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER)

    numbers = {NUMBER: number(app_secret_proof=proofs[1]), OTHER_NUMBER: number(OTHER_NUMBER)}
    start("b", numbers=numbers.get).wake(mine)
    for said in ("found by a sweep", "found by another"):
        row = tables.queue(tables.conversation(OTHER_NUMBER), said)
        await eventually(lambda row=row: tables.row(row).state == "sent")
    assert tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER) == paused_until
    assert len(graph.payloads) == len(mine) + 2


@pytest.mark.fault("G5")
async def test_after_a_pause_one_probe_goes_and_the_rest_waits_for_its_success(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """After a pause one message tests the number. The other messages follow only when Meta has accepted this one."""
    probe = asyncio.Event()

    async def hold(_said: str) -> None:
        await probe.wait()

    graph.before = hold
    tables.run(
        "UPDATE number SET paused_until = now() - interval '1 s', pause_code = 131042 WHERE number_id = :n", n=NUMBER
    )
    conversations = [tables.conversation() for _ in range(6)]
    for conversation in conversations:
        tables.queue(conversation)
    sender = start()
    sender.wake(conversations)
    other = tables.queue(tables.conversation(OTHER_NUMBER), "marker")
    await eventually(lambda: graph.active == 2 and tables.row(other).state == "sending")
    sender.wake(conversations)
    later = tables.queue(tables.conversation(OTHER_NUMBER), "later marker")
    await eventually(lambda: tables.row(later).state == "sending")
    assert tables.states().count("sending") == 3
    probe.set()
    await eventually(lambda: set(tables.states()) == {"sent"})
    assert tables.one("SELECT paused_until FROM number WHERE number_id = :n", n=NUMBER) is None


@pytest.mark.fault("G3")
async def test_a_pair_limit_makes_only_that_pair_wait(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """After 131056 the contact gets nothing for at least 6 s. Other contacts are served.

    The order within the pair is kept.
    """
    refused: list[str] = []

    async def refuse_first(said: str) -> httpx.Response | None:
        if said == "first" and not refused:
            refused.append(said)
            return refusal(131056)
        return None

    graph.before = refuse_first
    conversation, other = tables.conversation(), tables.conversation()
    first, second = tables.queue(conversation, "first"), tables.queue(conversation, "second")
    sender = start()
    sender.wake([conversation])
    await eventually(lambda: tables.row(first).attempts == 1)
    served = tables.queue(other, "other")
    sender.wake([other, conversation])
    await eventually(lambda: tables.row(served).state == "sent")
    assert (tables.row(first).state, tables.row(second).state) == ("queued", "queued")
    wait = "SELECT extract(epoch FROM paused_until - now()) FROM conversation WHERE id = :id"
    assert 4 < float(tables.one(wait, id=conversation)) <= 6
    tables.run("UPDATE conversation SET paused_until = NULL WHERE id = :id", id=conversation)
    tables.run("UPDATE outbox SET not_before = now() WHERE id = :id", id=first)
    await eventually(lambda: tables.row(second).state == "sent")
    assert graph.said == ["other", "first", "second"]


async def test_a_closed_window_turns_a_reply_into_the_template_of_the_number(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually, registry: dict[str, Number]
) -> None:
    """If Meta answers a reply with 131047, the reply is sent as the number's template.

    Meta may know better than this process that 24 h are over.
    """
    registry[NUMBER] = number(outside_window=TEMPLATE)

    async def closed(said: str) -> httpx.Response | None:
        return refusal(131047) if said == "late reply" else None

    graph.before = closed
    conversation = tables.conversation()
    row = tables.queue(conversation, "late reply")
    start().wake([conversation])
    await eventually(lambda: tables.row(row).state == "sent")
    assert graph.said == ["follow_up"]
    assert tables.one("SELECT type FROM message WHERE outbox_id = :id", id=row) == "template"


async def test_an_opt_out_that_meta_reports_stops_marketing_to_that_contact(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """After 131050 the message fails, and the sender does not even try further bulk messages to that contact."""

    async def stopped(said: str) -> httpx.Response | None:
        return refusal(131050) if said == "offer" else None

    graph.before = stopped
    conversation = tables.conversation()
    row, later = tables.queue(conversation, "offer", priority=1), tables.queue(conversation, "offer 2", priority=1)
    start().wake([conversation])
    await eventually(lambda: tables.row(later).state == "failed")
    assert (tables.row(row).state, tables.row(row).error_code) == ("failed", 131050)
    assert tables.row(later).reason == "MarketingStopped"
    assert len(graph.payloads) == 1


async def test_a_refused_row_fails_with_its_reason_and_without_a_call(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """The gate (G5) is asked before each call. A refused row fails with its reason, and the next row is looked at."""
    conversation = tables.conversation(contact_opted_out_at="sql:now()")
    row = tables.queue(conversation, "hello")
    notice = tables.queue(conversation, "you will not hear from us", consent_notice=True)
    start().wake([conversation])
    await eventually(lambda: tables.row(notice).state == "sent")
    assert (tables.row(row).state, tables.row(row).reason) == ("failed", "OptedOut")
    assert graph.said == ["you will not hear from us"]


@pytest.mark.fault("P1")
async def test_a_crash_between_claim_and_answer_leaves_the_row_unknown(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G4: if the process that claimed a row has died, the row is unknown and is not sent again.

    The conversation goes on.
    """
    conversation = tables.conversation()
    row = tables.queue(
        conversation,
        "perhaps sent",
        state="sending",
        claimed_by="dead",
        claim_expires_at="sql:now() - interval '1 s'",
    )
    after = tables.queue(conversation, "after")
    start()
    await eventually(lambda: tables.row(after).state == "sent")
    assert (tables.row(row).state, tables.row(row).reason) == ("unknown", "ClaimExpired")
    assert graph.said == ["after"]


@pytest.mark.fault("P3")
async def test_the_late_answer_of_a_zombie_settles_an_unknown_row_and_overwrites_no_other(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A process that was suspended may get answers after its claims expired.

    If Meta accepted the message, its row becomes `sent`. If Meta refused it, the row does not change.
    """
    proceed = asyncio.Event()

    async def hold(said: str) -> httpx.Response | None:
        await proceed.wait()
        return refusal(131026) if said == "refused" else None

    graph.before = hold
    accepted = tables.queue(tables.conversation(), "accepted")
    refused = tables.queue(tables.conversation(), "refused")
    start()
    await eventually(lambda: graph.active == 2)
    tables.run("UPDATE outbox SET state = 'unknown', reason = 'ClaimExpired', claimed_by = NULL")
    proceed.set()
    await eventually(lambda: tables.row(accepted).state == "sent")
    assert tables.row(accepted).wamid is not None
    marker = tables.queue(tables.conversation(), "marker")
    await eventually(lambda: tables.row(marker).state == "sent")
    assert (tables.row(refused).state, tables.row(refused).error_code) == ("unknown", None)


async def test_a_read_mark_is_sent_first_and_its_failure_is_harmless(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A mark as read is sent before the reply. The reply goes out even if Meta refuses the mark."""

    async def refuse_read(said: str) -> httpx.Response | None:
        return refusal(131000, 500) if said.startswith("read") else None

    graph.before = refuse_read
    conversation = tables.conversation()
    read = tables.queue(conversation, kind="read", body='{"message_id": "wamid.in", "typing": true}')
    reply = tables.queue(conversation, "reply")
    start().wake([conversation])
    await eventually(lambda: tables.row(reply).state == "sent")
    assert tables.row(read).state == "failed"
    assert graph.payloads[0]["typing_indicator"] == {"type": "text"}
    assert tables.one("SELECT count(*) FROM message") == 1


async def test_replies_go_before_bulk_that_was_there_first(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually, registry: dict[str, Number]
) -> None:
    """G6: a reply does not wait behind a campaign that fills the number's limit."""
    registry[NUMBER] = number(messages_per_second=20)
    crowd = [tables.conversation() for _ in range(40)]
    for conversation in crowd:
        tables.queue(conversation, "news", priority=1)
    sender = start()
    sender.wake(crowd)
    await eventually(lambda: len(graph.said) >= 5)
    conversation = tables.conversation()
    reply = tables.queue(conversation, "reply")
    sender.wake([conversation])
    await eventually(lambda: tables.row(reply).state == "sent")
    assert tables.states().count("queued") > 15


async def test_a_reply_overtakes_bulk_of_its_own_conversation(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A reply overtakes a bulk message of its conversation.

    If a campaign message waits for the morning, the bot must be able to answer before.
    """
    conversation = tables.conversation()
    bulk = tables.queue(conversation, "good morning", priority=1, not_before="sql:now() + interval '8 hours'")
    reply = tables.queue(conversation, "reply")
    start().wake([conversation])
    await eventually(lambda: tables.row(reply).state == "sent")
    assert tables.row(bulk).state == "queued"


async def test_a_row_due_later_is_sent_then(tables: Tables, graph: Graph, start: Start, eventually: Eventually) -> None:
    """A row is not sent before `not_before`. After that a timer or a sweep finds it."""
    row = tables.queue(tables.conversation(), not_before="sql:now() + interval '0.7 s'")
    start()
    await eventually(lambda: tables.row(row).state == "sent")
    assert tables.one("SELECT finished_at >= not_before FROM outbox WHERE id = :id", id=row)


@pytest.mark.fault("P6")
async def test_a_row_from_before_the_clock_went_back_is_sent(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A row that was due when it was queued is sent, although by the database's clock it is from the future."""
    row = tables.queue(tables.conversation(), not_before="sql:now() + interval '10 min'")
    tables.run("UPDATE outbox SET created_at = not_before")
    start()
    await eventually(lambda: tables.row(row).state == "sent")


async def test_hanging_calls_of_one_number_leave_room_for_the_others(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A number whose calls hang takes at most three quarters of the slots, so other numbers can still send."""
    release = asyncio.Event()

    async def hang(said: str) -> None:
        if said == "hang":
            await release.wait()

    graph.before = hang
    hanging = [tables.conversation() for _ in range(30)]
    for conversation in hanging:
        tables.queue(conversation, "hang")
    sender = start(concurrency=8)
    sender.wake(hanging)
    await eventually(lambda: graph.active == 6)
    others = [tables.conversation(OTHER_NUMBER) for _ in range(5)]
    rows = [tables.queue(conversation, "quick") for conversation in others]
    sender.wake(others)
    await eventually(lambda: all(tables.row(row).state == "sent" for row in rows))
    assert graph.most_active <= 8
    release.set()
    await eventually(lambda: set(tables.states()) == {"sent"})


async def test_long_queues_of_slow_numbers_hide_no_other_number_from_a_sweep(
    tables: Tables, start: Start, registry: dict[str, Number], eventually: Eventually
) -> None:
    """Long queues of slow numbers do not hide the rows of another number from a sweep.

    Rows of schedules, and rows whose wake-up was lost, are found by a sweep only.
    """
    slow = [NUMBER, "306540352242922"]
    for number_id in slow:
        registry[number_id] = number(number_id, messages_per_second=1)
        for _ in range(300):
            tables.queue(tables.conversation(number_id), "campaign", priority=1)
    start()
    await eventually(lambda: "sent" in tables.states())  # the others are queued in the process by now
    row = tables.queue(tables.conversation(OTHER_NUMBER), "forgotten")
    await eventually(lambda: tables.row(row).state == "sent", 20)
    tables.run("UPDATE outbox SET state = 'failed' WHERE state = 'queued'")


async def test_an_outage_of_graph_is_not_met_with_a_stream_of_messages(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """G1: after a few ambiguous 503s in a row the number waits. Otherwise every message would become unknown."""
    down = True

    async def fail(said: str) -> httpx.Response | None:
        return httpx.Response(503) if down and said == "hello" else None

    graph.before = fail
    conversations = [tables.conversation() for _ in range(60)]
    for conversation in conversations:
        tables.queue(conversation)
    sender = start(concurrency=4, draw=lambda: 0.0)
    sender.wake(conversations)
    await eventually(lambda: tables.states().count("unknown") >= 5)
    for _ in range(20):  # another number sends one message after the other, which gives the first one time
        other = tables.conversation(OTHER_NUMBER)
        row = tables.queue(other, "other")
        sender.wake([other])
        await eventually(lambda row=row: tables.row(row).state == "sent")
    # Five failures open the circuit, two more may have been in flight; after that there are single tries only.
    assert tables.states().count("unknown") <= 12
    down = False
    await eventually(lambda: tables.states().count("queued") == 0)
    assert tables.states().count("sent") >= 60 - 12 + 20


async def test_a_stopped_sender_finishes_the_calls_it_has_begun_and_begins_no_other(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """A stopped sender begins no new call. It waits for the answers of its calls and writes them."""
    proceed = asyncio.Event()

    async def hold(_said: str) -> None:
        await proceed.wait()

    graph.before = hold
    conversation = tables.conversation()
    begun, waiting = tables.queue(conversation, "begun"), tables.queue(conversation, "waiting")
    sender = start()
    await eventually(lambda: graph.active == 1)
    sender.stop()
    proceed.set()
    await eventually(lambda: tables.row(begun).state == "sent")
    assert tables.row(waiting).state == "queued"


async def test_a_killed_database_connection_loses_nothing(
    tables: Tables, graph: Graph, start: Start, eventually: Eventually
) -> None:
    """If PostgreSQL closes the sender's connections, messages are delayed but none is lost."""
    conversations = [tables.conversation() for _ in range(30)]
    for conversation in conversations:
        for turn in range(3):
            tables.queue(conversation, f"{conversation}:{turn}")
    sender = start()
    sender.wake(conversations)
    for enough in (20, 50):
        await eventually(lambda enough=enough: len(graph.said) >= enough)
        tables.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'a'"
        )
    await eventually(lambda: set(tables.states()) == {"sent"})
    assert len(graph.said) == len(set(graph.said)) == 90
