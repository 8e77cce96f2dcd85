"""G6: Meta's limits are not exceeded from many processes together."""

from .installation import Installation, Ledger


def test_two_workers_stay_below_the_pair_limit(running: Installation) -> None:
    """One contact, sixty replies, two workers: Meta's pair limit (45 at once) refuses none, the rest waits."""
    contact = "15557000001"
    running.greet([contact])
    ledger = Ledger(running)
    ledger.deliver([ledger.message(contact) for _ in range(60)], ["webhook-1"])
    running.wait(lambda: len(running.sent()) >= 44, what="the burst to be sent")
    refused = running.http.get(f"{running.url('simulator')}/_sim/refusals").json()
    assert refused == []
