"""How an operator starts and ends, and what its probes say meanwhile."""

import asyncio
import threading

from waypost.operator.api.kinds import KINDS

from .apiserver import ApiServer, Fault
from .running import TEAM, Fleet, Notes, number, until


def test_without_the_kinds_it_waits_and_says_so(api: ApiServer, fleet: Fleet) -> None:
    """The chart may be installed without CRDs; the probe names what is missing, and the operator goes on by itself."""
    missing = Fault(lambda verb, kind, _: (verb, kind) == ("list", "WhatsAppNumber"), 404, 1)
    api.faults.append(missing)
    api.put(number())
    notes = fleet.begin()
    until(lambda: "not installed" in (fleet.not_ready() or ""), "it says what is missing")
    until(lambda: notes.reconciled["support"], "it works once they are there")


def test_without_permission_it_waits_and_says_so(api: ApiServer, fleet: Fleet) -> None:
    """A missing Role is told by the probe, not by a crash loop."""
    api.faults.append(Fault(lambda verb, kind, _: (verb, kind) == ("list", "BotSchedule"), 403, 1))
    fleet.begin()
    until(lambda: "cannot be listed" in (fleet.not_ready() or ""), "it says what is missing")
    until(lambda: fleet.not_ready() is None and api.watching("BotSchedule"), "it works once it may")


def test_one_that_is_told_to_stop_while_it_waits_ends(api: ApiServer, fleet: Fleet) -> None:
    """SIGTERM is heard before anything is watched, too."""
    api.faults.append(Fault(lambda verb, *_: verb == "list", 503, 1000))
    fleet.begin()
    until(lambda: "cannot be listed" in (fleet.not_ready() or ""), "it waits")
    fleet.stop()


def test_what_is_under_way_is_finished_at_the_end(api: ApiServer, fleet: Fleet) -> None:
    """A rollout in the middle of a reconcile does not leave half of it."""
    entered, leave = threading.Event(), threading.Event()

    async def hold(_: object) -> None:
        entered.set()
        await asyncio.to_thread(leave.wait, 20)

    notes = Notes()
    notes.before_status = hold
    fleet.start(notes=notes)
    api.put(number())
    assert entered.wait(20)
    fleet.tell_to_stop()
    until(lambda: fleet.not_ready() == "ending", "it was heard")
    leave.set()
    fleet.stop()
    assert (api.get("WhatsAppNumber", TEAM, "support") or {})["status"]


def test_what_the_next_process_goes_on_with_is_written_after_the_last_reconcile(api: ApiServer, fleet: Fleet) -> None:
    """Nothing is used of it any more by then."""
    order: list[str] = []
    leave = threading.Event()

    async def reconciles(_: object) -> None:
        order.append("reconcile begins")
        await asyncio.to_thread(leave.wait, 20)
        order.append("reconcile ends")

    async def ends() -> None:
        order.append("handed over")

    notes = Notes()
    notes.before_status, notes.at_end = reconciles, ends
    fleet.start(notes=notes)
    api.put(number())
    until(lambda: order, "a reconcile is under way")
    fleet.tell_to_stop()
    until(lambda: fleet.not_ready() == "ending", "it was heard")
    leave.set()
    fleet.stop()
    assert order == ["reconcile begins", "reconcile ends", "handed over", "handed over"]


def test_an_end_does_not_wait_for_what_cannot_be_handed_over(fleet: Fleet) -> None:
    """An API server that takes the connection and never answers costs the record, and some seconds."""
    notes = Notes()
    notes.at_end = asyncio.Event().wait
    fleet.start(notes=notes)
    fleet.stop()
    assert notes.handed_over == 2


def test_leftovers_are_looked_for_at_the_start(api: ApiServer, fleet: Fleet) -> None:
    """What lost its finalizer while no operator ran is told by no event."""
    notes = fleet.start()
    until(lambda: notes.sweeps == 2, "both reconcilers have swept")


def test_the_kinds_are_those_of_the_models() -> None:
    """The paths are where the API server has them."""
    assert KINDS["WhatsAppNumber"].at("a", "b") == "/apis/waypost.dev/v1alpha1/namespaces/a/whatsappnumbers/b"
    assert KINDS["Secret"].within("a") == "/api/v1/namespaces/a/secrets"
    assert KINDS["CronJob"].collection == "/apis/batch/v1/cronjobs"
