"""The operator starts and ends its parts in order, and its probes report what it waits for."""

import asyncio
import threading
from collections.abc import Callable

from waypost.operator.api.kinds import KINDS, NUMBER
from waypost.operator.engine.object_cache import Key

from .apiserver import ApiServer, Fault
from .running import TEAM, Fleet, Notes, number, until


def test_an_operator_without_the_kinds_waits_and_says_so(api: ApiServer, fleet: Fleet) -> None:
    """An operator without its CRDs waits, and its probe says what is missing.

    The chart may be installed without CRDs. The operator continues by itself when they are installed.
    """
    missing = Fault(lambda verb, kind, _: (verb, kind) == ("list", "WhatsAppNumber"), 404, 1)
    api.faults.append(missing)
    api.put(number())
    notes = fleet.begin()
    until(lambda: "not installed" in (fleet.not_ready() or ""), "it says what is missing")
    until(lambda: notes.reconciled["support"], "it works once they are there")


def test_an_operator_without_permission_waits_and_says_so(api: ApiServer, fleet: Fleet) -> None:
    """If a Role is missing, the operator waits and its probe reports this. The operator does not crash in a loop."""
    api.faults.append(Fault(lambda verb, kind, _: (verb, kind) == ("list", "BotSchedule"), 403, 1))
    fleet.begin()
    until(lambda: "cannot be listed" in (fleet.not_ready() or ""), "it says what is missing")
    until(lambda: fleet.not_ready() is None and api.watching("BotSchedule"), "it works once it may")


def test_an_operator_that_is_stopped_while_it_waits_ends(api: ApiServer, fleet: Fleet) -> None:
    """SIGTERM also ends an operator that waits before it watches anything."""
    api.faults.append(Fault(lambda verb, *_: verb == "list", 503, 1000))
    fleet.begin()
    until(lambda: "cannot be listed" in (fleet.not_ready() or ""), "it waits")
    fleet.stop()


def test_a_reconciler_that_watches_something_else_wakes_objects(api: ApiServer, fleet: Fleet) -> None:
    """The state of bots is read from workers, and causes no event of the API server.

    The watch ends with the operator.
    """
    notes = Notes()

    async def wake_after_the_first_reconcile(wake: Callable[[Key], None]) -> None:
        while not notes.reconciled["support"]:  # noqa: ASYNC110 - a counter has no event
            await asyncio.sleep(0.01)
        wake((NUMBER, TEAM, "support"))

    notes.on_watch = wake_after_the_first_reconcile
    api.put(number())
    fleet.start(notes=notes)
    until(lambda: notes.reconciled["support"] >= 2, "the number was reconciled once more")
    assert notes.watches == 2
    fleet.stop()
    assert notes.watches == 0


def test_a_running_reconcile_is_finished_at_the_end(api: ApiServer, fleet: Fleet) -> None:
    """A running reconcile is finished when the operator is stopped, so that a rollout leaves no work half done."""
    entered, leave = threading.Event(), threading.Event()

    async def hold(_: object) -> None:
        entered.set()
        await asyncio.to_thread(leave.wait, 20)

    notes = Notes()
    notes.before_status = hold
    fleet.start(notes=notes)
    api.put(number())
    assert entered.wait(20)
    fleet.request_stop()
    until(lambda: fleet.not_ready() == "ending", "the stop was noticed")
    leave.set()
    fleet.stop()
    assert (api.get("WhatsAppNumber", TEAM, "support") or {})["status"]


def test_the_record_for_the_next_process_is_written_after_the_last_reconcile(api: ApiServer, fleet: Fleet) -> None:
    """The record for the next process is written after the last reconcile has ended.

    So no reconcile uses calls that the record hands over.
    """
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
    fleet.request_stop()
    until(lambda: fleet.not_ready() == "ending", "the stop was noticed")
    leave.set()
    fleet.stop()
    assert order == ["reconcile begins", "reconcile ends", "handed over", "handed over"]


def test_the_end_does_not_wait_for_a_record_that_cannot_be_written(fleet: Fleet) -> None:
    """If the record for the next process cannot be written, the operator ends after only some seconds.

    If the API server accepts the connection and never answers, the record is lost.
    """
    notes = Notes()
    notes.at_end = asyncio.Event().wait
    fleet.start(notes=notes)
    fleet.stop()
    assert notes.handed_over == 2


def test_children_without_their_object_are_swept_at_the_start(api: ApiServer, fleet: Fleet) -> None:
    """At the start, the operator sweeps children whose object is gone.

    An object may have lost its finalizer while no operator ran, and no event shows this.
    """
    notes = fleet.start()
    until(lambda: notes.sweeps == 2, "both reconcilers have swept")


def test_kinds_know_their_paths_in_the_api() -> None:
    """Each kind has the paths at which the API server serves it."""
    assert KINDS["WhatsAppNumber"].at("a", "b") == "/apis/waypost.dev/v1alpha1/namespaces/a/whatsappnumbers/b"
    assert KINDS["Secret"].within("a") == "/api/v1/namespaces/a/secrets"
    assert KINDS["CronJob"].collection == "/apis/batch/v1/cronjobs"
