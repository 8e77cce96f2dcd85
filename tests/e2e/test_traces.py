"""A collector in the cluster receives one trace for the whole way of a message, without the message's content."""

import base64
import time
from collections.abc import Callable

import pytest

from tools.cluster import traces

from ..ledger import Ledger
from ..telemetry.spellings import found_in, spellings, spellings_of_number
from ..telemetry.way import ANSWERED, Record, linked_to, steps, trace_id_of, violations, way_to_each_send
from . import planned
from .installed import NAMESPACE, TEAM, Installed

pytestmark = pytest.mark.timeout(600)

CONTACT = "15558675313"
WORDS = "canary words & more of a person"
PLANNED_SEND = [("INTERNAL", "schedule run", "waypost-schedule"), ANSWERED[-1]]


def test_one_trace_shows_a_message_from_its_delivery_to_the_reply_and_its_statuses_are_linked(
    installed: Installed,
) -> None:
    """One trace across the pods shows how a message is received, stored, handled in a turn, and answered.

    The later statuses of the reply have links to the turn.
    """
    ledger = _exchange(installed)
    (row,) = installed.query(f"SELECT traceparent FROM event WHERE event_key = '{ledger.acknowledged[0]}'")
    trace = trace_id_of(row["traceparent"])

    def delivered(spans: list[Record]) -> bool:
        ways = way_to_each_send(spans, trace)
        return len(ways) == 1 and _statuses(spans, ways[0]) >= {"sent", "delivered"}

    spans = _received(installed, delivered, what="the reply and its statuses to be traced")
    ((*way, send),) = way_to_each_send(spans, trace)
    assert steps([*way, send]) == ANSWERED
    assert way[0]["parent_id"] is None
    assert _statuses(spans, [*way, send]) == {"sent", "delivered"}
    assert trace not in {span["trace_id"] for span in linked_to(spans, way[-1])}


def test_a_run_of_a_schedule_is_a_trace_of_its_own_and_linked_to_the_reconcile_that_made_it(
    installed: Installed,
) -> None:
    """A run of a schedule has its own trace, which also contains the sending of its messages.

    The run has a link to the reconcile that applied the schedule.
    """
    uid = installed.get("botschedule", planned.NAME, namespace=TEAM)["metadata"]["uid"]
    ran = f"SELECT traceparent FROM schedule_run WHERE schedule_uid = '{uid}' AND finished_at IS NOT NULL"
    installed.wait(lambda: installed.query(ran), what="a run to have ended", deadline_s=300)
    trace = trace_id_of(installed.query(ran)[0]["traceparent"])
    spans = _received(
        installed,
        lambda spans: len(way_to_each_send(spans, trace)) == len(planned.CONTACTS),
        what="the run and its messages to be traced",
    )
    ways = way_to_each_send(spans, trace)
    assert [steps(way) for way in ways] == [PLANNED_SEND] * len(planned.CONTACTS)
    run = ways[0][0]
    (reconcile,) = [span for span in spans if run in linked_to([run], span)]
    assert run["parent_id"] is None
    assert (reconcile["name"], reconcile["service"]) == ("reconcile BotSchedule", "waypost-operator")
    assert reconcile["attributes"]["waypost.name"] == planned.NAME


def test_every_span_of_every_service_keeps_to_the_conventions(installed: Installed) -> None:
    """All spans of all services follow the conventions. They include a refused send and the operator's calls."""
    began_ns = time.time_ns()
    installed.reconcile("ledger", namespace=TEAM)
    installed.fault(match={"path": "messages", "to": CONTACT}, status=400, code=131026, times=1)
    _exchange(installed)
    services = {"waypost-webhook", "waypost-worker", "waypost-operator"}

    def since(spans: list[Record]) -> list[Record]:
        return [span for span in spans if span["start_ns"] >= began_ns]

    spans = _received(
        installed,
        lambda spans: services <= {span["service"] for span in since(spans)} and _refused(since(spans)),
        what="spans of all services, and of the refused send",
    )
    assert [each for span in since(spans) for each in violations(span)] == []


@pytest.mark.fault("X4")
def test_the_collector_receives_no_secret_no_phone_number_and_no_text(installed: Installed) -> None:
    """The collector's data contains no contact, no message text and no value of a Secret that our pods read.

    The test searches the data in every encoding.
    """
    ledger = _exchange(installed)
    (row,) = installed.query(f"SELECT traceparent FROM event WHERE event_key = '{ledger.acknowledged[0]}'")
    trace = trace_id_of(row["traceparent"])
    _received(installed, lambda spans: way_to_each_send(spans, trace), what="the reply to be traced")
    raw = traces.read_raw().encode()
    assert trace.encode() in raw

    canaries = {"contact": spellings_of_number(CONTACT), "words": spellings(WORDS), "name": {"plain": b"Ada"}}
    canaries |= {f"contact {number}": spellings_of_number(each) for number, each in enumerate(planned.CONTACTS)}
    canaries |= {"planned": spellings(planned.TEXT), "a wamid": {"plain": b"wamid."}}
    named = _secrets(installed) | _message_ids(installed, ledger)
    canaries |= {name: spellings(each) for name, each in named.items()}
    assert found_in(raw, canaries) == []


def _exchange(installed: Installed) -> Ledger:
    """Delivers a message, waits until it is answered, and returns the ledger."""
    installed.greet([CONTACT])
    ledger = Ledger(installed)
    ledger.deliver([ledger.message(CONTACT, f"{WORDS}, {ledger.run}")], ["webhook"])
    installed.quiesce()
    ledger.assert_nothing_lost()
    return ledger


def _received(installed: Installed, complete: Callable[[list[Record]], object], *, what: str) -> list[Record]:
    """Waits until the spans are complete, and returns all of them. Each process exports its spans every few seconds."""
    spans: list[Record] = []

    def look() -> object:
        spans[:] = traces.read_spans()
        return complete(spans)

    installed.wait(look, what=what)
    return spans


def _refused(spans: list[Record]) -> list[Record]:
    return [span for span in spans if span["kind"] == "CLIENT" and span["attributes"].get("waypost.error_code")]


def _statuses(spans: list[Record], way: list[Record]) -> set[str]:
    """Returns the statuses of a send. They come from the deliveries whose spans link to the turn in `way`."""
    return {span["attributes"]["waypost.status"] for span in linked_to(spans, way[-2])}


def _message_ids(installed: Installed, ledger: Ledger) -> dict[str, str]:
    """Returns the ids of our message and of every reply to its contact, without their common prefix."""
    sent = [str(each["wamid"]) for each in installed.sent() if str(each["to"]).lstrip("+") == CONTACT]
    assert sent
    return {f"wamid {number}": each.removeprefix("wamid.") for number, each in enumerate((*ledger.acknowledged, *sent))}


def _secrets(installed: Installed) -> dict[str, str]:
    """Returns every value of the numbers' Secrets and of the connections Secret, except app ids."""
    found: dict[str, str] = {}
    for namespace, prefixes in ((NAMESPACE, ("waypost-number-", "waypost-connections")), (TEAM, ("ledger-meta",))):
        for secret in installed.get("secrets", namespace=namespace):
            name = secret["metadata"]["name"]
            if name.startswith(prefixes):
                found |= {f"{name} {key}": base64.b64decode(each).decode() for key, each in secret["data"].items()}
    kinds = {name.split()[1] for name in found}
    assert kinds >= {"verifyToken", "appSecret", "accessToken", "database-password", "redis-password"}
    return {name: each for name, each in found.items() if not name.endswith(" appId")}
