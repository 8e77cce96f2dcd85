"""How an operator starts and ends, and what its probes say meanwhile."""

from waypost.operator.kinds import KINDS

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
    until(lambda: fleet.not_ready() is None, "it works once it may")


def test_one_that_is_told_to_stop_while_it_waits_ends(api: ApiServer, fleet: Fleet) -> None:
    """SIGTERM is heard before anything is watched, too."""
    api.faults.append(Fault(lambda verb, *_: verb == "list", 503, 1000))
    fleet.begin()
    until(lambda: "cannot be listed" in (fleet.not_ready() or ""), "it waits")
    fleet.stop()


def test_what_is_under_way_is_finished_at_the_end(api: ApiServer, fleet: Fleet) -> None:
    """A rollout in the middle of a reconcile does not leave half of it."""
    import asyncio
    import threading

    entered, leave = threading.Event(), threading.Event()

    async def hold(_: object) -> None:
        entered.set()
        await asyncio.to_thread(leave.wait, 20)

    notes = Notes()
    notes.before_status = hold
    fleet.start(notes=notes)
    api.put(number())
    assert entered.wait(20)
    threading.Timer(0.5, leave.set).start()
    fleet.stop()
    assert (api.get("WhatsAppNumber", TEAM, "support") or {})["status"]


def test_leftovers_are_looked_for_at_the_start(api: ApiServer, fleet: Fleet) -> None:
    """What lost its finalizer while no operator ran is told by no event."""
    notes = fleet.start()
    until(lambda: notes.sweeps == 2, "both reconcilers have swept")


def test_the_kinds_are_those_of_the_models() -> None:
    """The paths are where the API server has them."""
    assert KINDS["WhatsAppNumber"].at("a", "b") == "/apis/waypost.dev/v1alpha1/namespaces/a/whatsappnumbers/b"
    assert KINDS["Secret"].within("a") == "/api/v1/namespaces/a/secrets"
    assert KINDS["CronJob"].collection == "/apis/batch/v1/cronjobs"
