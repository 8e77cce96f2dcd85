"""An event that cannot be handled (poison) becomes dead with a reason, and stops no other event."""

from collections.abc import Callable

import msgspec
import pytest
from sqlalchemy import text

from waypost.cloudapi.inbound.signature import sign

from ..ledger import Ledger
from ..traffic import percentile
from .installation import SECRET, Installation

CONTACTS = ["15554000001", "15554000002", "15554000003"]


@pytest.mark.fault("P5")
@pytest.mark.parametrize("poison", ["raise", "hang", "crash"])
def test_a_poisonous_message_is_dead_and_its_conversation_goes_on(running: Installation, poison: str) -> None:
    """A message that makes the bot raise, hang or end its process is dead after three attempts.

    All other messages are answered. When the process ends, a call for another conversation may be cut off before
    Meta receives it. The reply in that call is then `unknown`, and is never sent again.
    """
    running.greet(CONTACTS)
    ledger = Ledger(running)
    planted = ledger.message(CONTACTS[0], poison)
    after = ledger.message(CONTACTS[0])
    others = [ledger.message(contact) for contact in CONTACTS[1:]]
    ledger.deliver([planted, after, *others], ["webhook-1"])

    def quiet() -> bool:
        for worker in ("worker-1", "worker-2"):
            if not running.running(worker):
                running.start(worker)
        return running.is_quiet()

    running.wait(quiet, what="the poison to be dead")
    ledger.assert_nothing_lost(dead=[str(planted["id"])])
    cut_off = running.unsettled() & set(ledger.acknowledged)
    ledger.assert_replies(missing=[str(planted["id"]), *cut_off])
    assert poison == "crash" or not cut_off


@pytest.fixture(scope="module")
def patient(apart: Callable[..., Installation]) -> Installation:
    """Returns an installation whose turns have time enough on a busy machine: a late one counts as failed."""
    return apart(WAYPOST_TURN_TIMEOUT_S="4")


@pytest.mark.fault("P5")
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("poison", ["segfault", "memory", "hang"])
def test_other_conversations_are_answered_beside_poison(
    patient: Installation, figure: Callable[..., None], poison: str
) -> None:
    """While messages crash their process, loop for ever or use up memory, other conversations are answered as before.

    The same load runs without poison first, and the times from receipt to reply are compared.
    """
    running = patient
    others = [f"1555198{number:04}" for number in range(30)]
    running.greet([*CONTACTS, *others])
    running.quiesce()
    ledger = Ledger(running)
    seconds = []
    planted: list[str] = []
    for poisonous in ((), CONTACTS):
        begun = len(ledger.acknowledged)
        for _ in range(2):
            for contact in poisonous:
                message = ledger.message(contact, poison)
                ledger.deliver([message], ["webhook-1"])
                planted.append(str(message["id"]))
            for contact in others:
                ledger.deliver([ledger.message(contact)], ["webhook-2"])
        running.quiesce()
        harmless = [key for key in ledger.acknowledged[begun:] if key not in planted]
        seconds.append(percentile(running.reply_seconds(harmless), 99))
    ledger.assert_nothing_lost(dead=planted)
    ledger.assert_replies(missing=planted)
    figure("receipt to reply, p99, beside poison", seconds[1] * 1000, "ms")
    figure("ratio to the same without poison", seconds[1] / seconds[0], "×", aim="at most 2 ×, or 250 ms more")


@pytest.mark.fault("D7")
@pytest.mark.parametrize(
    "item",
    [
        rb'{"from":"15554000001","id":"wamid.P","timestamp":"1","type":"text","text":{"body":"nul \u0000 in it"}}',
        rb'{"from":"15554000001","id":"wamid.P","timestamp":"1","type":"text","text":{"body":"lone \ud800"}}',
        rb'{"from":"15554000001","id":"wamid.P","timestamp":NaN,"type":"text","text":{"body":"x"}}',
        b'{"from":"15554000001","id":"wamid.P","timestamp":' + b"9" * 5000 + b',"type":"text"}',
        b'{"id":"wamid.P","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"id":"wamid.P","text":"\xff\xfe"}',
        b"",
        b"[1,2",
    ],
    ids=["nul", "surrogate", "nan", "huge int", "depth", "invalid utf-8", "empty", "cut off"],
)
def test_hostile_content_with_a_good_signature_is_acknowledged_and_blocks_no_message(
    running: Installation, item: bytes
) -> None:
    """A delivery with hostile content and a good signature gets a 200 and is stored.

    Content that cannot be read is stored as dead. A good message in the same delivery is handled.
    """
    running.greet(CONTACTS[:1])
    ledger = Ledger(running)
    good = ledger.message(CONTACTS[0])
    whole = ledger.body([good])
    assert (
        running.http.post(
            f"{running.url('webhook-1')}/webhooks/team/support",
            content=item,
            headers={"X-Hub-Signature-256": sign(SECRET, item)},
        ).status_code
        == 200
    )
    mixed = whole.replace(b'"messages":[', b'"messages":[' + item + b",") if item[:1] == b"{" else whole
    assert ledger.post(mixed, "webhook-2") == 200
    ledger.acknowledged.append(str(good["id"]))
    running.quiesce()
    ledger.assert_nothing_lost()


@pytest.mark.fault("D9")
def test_what_meta_adds_later_is_stored_and_delays_nothing(running: Installation) -> None:
    """A field, a message type, a status and members that Waypost does not know yet get a 200 and are done.

    The messages of the same delivery are answered.
    """
    running.greet(CONTACTS[:1])
    running.quiesce()
    dead_before = _dead(running)
    ledger = Ledger(running)
    good = ledger.message(CONTACTS[0])
    new_type = {"from": CONTACTS[1], "id": f"wamid.N{ledger.run}", "timestamp": "1750030073", "type": "hologram"}
    new_status = {"id": "wamid.OUT", "status": "pondered", "timestamp": "1750030074", "recipient_id": CONTACTS[1]}
    body = ledger.body([good, {**new_type, "hologram": {"depth": 3}, "mood": "good"}])
    document = msgspec.json.decode(body)
    changes = document["entry"][0]["changes"]
    changes[0]["value"]["statuses"] = [new_status]
    changes.append(
        {"field": "unheard_of", "value": {**changes[0]["value"], "messages": [], "statuses": [], "news": [1]}}
    )

    assert ledger.post(msgspec.json.encode(document), "webhook-1") == 200
    ledger.acknowledged.append(str(good["id"]))
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    assert _dead(running) == dead_before
    assert running.event_states()[str(new_type["id"])] == "done"


def _dead(running: Installation) -> set[int]:
    """Returns the ids of dead events."""
    with running.engine.connect() as connection:
        return set(connection.execute(text("SELECT id FROM event WHERE state = 'dead'")).scalars())
