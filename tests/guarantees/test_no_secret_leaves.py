"""G8: logs, traces, metrics and Redis contain no secret, token, phone number or message text."""

import pytest

from ..ledger import Ledger
from ..telemetry.spellings import found_in, spellings, spellings_of_number
from .installation import PROOF, SECRET, TOKEN, VERIFY, Installation

CONTACT = "15558675309"
WORDS = "canary words of a person"


@pytest.mark.fault("X3")
@pytest.mark.fault("X4")
def test_planted_canaries_are_in_no_output(running: Installation) -> None:
    """No output contains a planted text.

    Before the search, the installation handles messages, a failing bot, a delivery with a wrong signature, and a
    refusal by Meta.
    """
    running.greet([CONTACT])
    ledger = Ledger(running)
    ledger.deliver([ledger.message(CONTACT, WORDS), ledger.message(CONTACT, "raise")], ["webhook-1"])
    body = ledger.body([ledger.message(CONTACT, WORDS)])
    wrong = {"X-Hub-Signature-256": "sha256=" + "0" * 64}
    hook = f"{running.url('webhook-1')}/webhooks/team/support"
    assert running.http.post(hook, content=body, headers=wrong).status_code == 400
    params = {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": VERIFY}
    assert running.http.get(hook, params=params).status_code == 200
    running.fault(match={"path": "messages"}, status=400, code=131026, times=1)
    ledger.deliver([ledger.message(CONTACT, WORDS)], ["webhook-2"])
    running.quiesce()
    redis = running.redis.client()
    stored = b"".join(key + (redis.dump(key) or b"") for key in redis.scan_iter())
    for process in ("webhook-1", "webhook-2", "worker-1", "worker-2"):
        running.terminate(process)
    outputs = {
        str(path): path.read_bytes() for path in [*running.folder.glob("*.log"), *running.folder.glob("traces/*")]
    }
    assert any(b"process message" in content for content in outputs.values()), "traces were written"
    outputs["redis"] = stored
    canaries = {"contact": spellings_of_number(CONTACT), "name": {"plain": b"Ada"}, "a wamid": {"plain": b"wamid."}}
    canaries |= {f"canary {each[:6]}": spellings(each) for each in (WORDS, SECRET, TOKEN, PROOF, VERIFY)}
    canaries |= {f"id {number}": spellings(each) for number, each in enumerate(_message_ids(running, ledger))}
    found = {where: found_in(content, canaries) for where, content in outputs.items() if "simulator" not in where}
    assert {where: each for where, each in found.items() if each} == {}


def _message_ids(running: Installation, ledger: Ledger) -> list[str]:
    """Returns the ids of the contact's messages and of our replies, without their common prefix."""
    sent = [str(each["wamid"]) for each in running.sent() if str(each["to"]).lstrip("+") == CONTACT]
    assert sent
    return [each.removeprefix("wamid.") for each in (*ledger.acknowledged, *sent)]
