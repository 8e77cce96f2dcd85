"""One of several operators works."""

from datetime import UTC, datetime

import pytest

from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.cluster.leader import DURATION_S, NAME, RENEW_DEADLINE_S, Election, Leadership, LeaseLost, Move

from .apiserver import ApiServer, Fault, Manifest
from .running import RELEASE, TEAM, Fleet, Notes, number, until


def lease(holder: str, version: str = "1", lasts: int | None = DURATION_S) -> Manifest:
    """A Lease as read."""
    spec = {"holderIdentity": holder, "leaseDurationSeconds": lasts, "leaseTransitions": 2}
    return {"kind": "Lease", "metadata": {"name": NAME, "resourceVersion": version}, "spec": spec}


@pytest.mark.parametrize(
    ("found", "later", "seconds", "expected"),
    [
        (None, None, 0.0, "create"),
        (lease("me"), lease("me"), 0.0, "renew"),
        (lease(""), lease(""), 0.0, "take"),
        (lease("other"), lease("other"), DURATION_S, "wait"),
        (lease("other"), lease("other"), DURATION_S + 0.1, "take"),
        (lease("other"), lease("other", version="2"), DURATION_S + 0.1, "wait"),
        (lease("other", lasts=60), lease("other", lasts=60), DURATION_S + 0.1, "wait"),
        (lease("other", lasts=None), lease("other", lasts=None), DURATION_S + 0.1, "take"),
    ],
)
def test_what_is_done_about_a_lease(
    found: Manifest | None, later: Manifest | None, seconds: float, expected: Move
) -> None:
    """A Lease is abandoned when we ourselves saw it unchanged for as long as it lasts; no clock of another counts."""
    election = Election("me")
    election.move(found, 100.0)
    assert election.move(later, 100.0 + seconds) == expected


def test_a_lease_that_is_taken_over_counts_the_change() -> None:
    """`kubectl get lease` shows when and how often leaders changed; renewing keeps both."""
    election, at = Election("me"), datetime(2026, 1, 1, tzinfo=UTC)
    taken = election.claimed(lease("other"), RELEASE, at)
    assert (taken["spec"]["holderIdentity"], taken["spec"]["leaseTransitions"]) == ("me", 3)
    renewed = election.claimed(taken, RELEASE, datetime(2026, 1, 2, tzinfo=UTC))
    assert renewed["spec"]["acquireTime"] == taken["spec"]["acquireTime"]
    assert renewed["spec"]["leaseTransitions"] == 3
    assert renewed["spec"]["renewTime"] > taken["spec"]["renewTime"]


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.most = 1000

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.most -= 1
        assert self.most, "it waits for ever"


def candidate(cluster: KubernetesCluster, name: str, clock: Clock) -> Leadership:
    """Somebody who wants to lead."""
    return Leadership(cluster, RELEASE, name, clock=clock, sleep=clock.sleep)


@pytest.mark.anyio
async def test_a_leader_that_died_is_replaced_when_its_lease_has_run_out(
    api: ApiServer, cluster: KubernetesCluster
) -> None:
    """Nobody releases it: the second waits for its duration, not longer than one more look."""
    clock = Clock()
    await candidate(cluster, "first", clock).acquire()
    began = clock.now
    await candidate(cluster, "second", clock).acquire()
    assert DURATION_S < clock.now - began <= DURATION_S + 5
    assert (api.get("Lease", RELEASE, NAME) or {})["spec"]["holderIdentity"] == "second"


@pytest.mark.anyio
async def test_a_leader_that_was_replaced_stops(api: ApiServer, cluster: KubernetesCluster) -> None:
    """It was suspended for a while, say; what it finds makes it end."""
    clock = Clock()
    first = candidate(cluster, "first", clock)
    await first.acquire()
    await candidate(cluster, "second", clock).acquire()
    with pytest.raises(LeaseLost):
        await first.keep()


@pytest.mark.anyio
async def test_a_leader_that_cannot_renew_stops_before_another_may_begin(
    api: ApiServer, cluster: KubernetesCluster
) -> None:
    """The API server is away for it, and perhaps not for others."""
    clock = Clock()
    leader = candidate(cluster, "first", clock)
    await leader.acquire()
    api.faults.append(Fault(lambda _, kind, __: kind == "Lease", 503, 1000))
    began = clock.now
    with pytest.raises(LeaseLost):
        await leader.keep()
    assert RENEW_DEADLINE_S < clock.now - began < DURATION_S


@pytest.mark.anyio
async def test_a_leader_that_ends_lets_go(api: ApiServer, cluster: KubernetesCluster) -> None:
    """The next one begins at its next look."""
    clock = Clock()
    leader = candidate(cluster, "first", clock)
    await leader.acquire()
    await leader.release()
    began = clock.now
    await candidate(cluster, "second", clock).acquire()
    assert clock.now == began


@pytest.mark.anyio
async def test_who_does_not_lead_releases_nothing(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A standby that ends leaves the leader alone."""
    clock = Clock()
    await candidate(cluster, "first", clock).acquire()
    await candidate(cluster, "second", clock).release()
    assert (api.get("Lease", RELEASE, NAME) or {})["spec"]["holderIdentity"] == "first"


def test_of_two_operators_one_works_and_the_other_takes_over(api: ApiServer, fleet: Fleet) -> None:
    """The standby is ready and idle; when the leader ends, it does what comes up."""
    first, second = Notes(), Notes()
    holders: list[object] = []

    async def hand_over() -> None:
        holders.append((api.get("Lease", RELEASE, NAME) or {})["spec"]["holderIdentity"])

    first.at_end = hand_over
    fleet.start(notes=first, replicas=2, identity="first")
    until(lambda: (api.get("Lease", RELEASE, NAME) or {}).get("spec", {}).get("holderIdentity") == "first", "it leads")
    fleet.start(notes=second, replicas=2, identity="second")
    api.put(number("before"))
    until(lambda: first.reconciled["before"], "the leader works")
    fleet.stop_first()
    api.put(number("after"))
    until(lambda: second.reconciled["after"], "the other takes over")
    assert first.reconciled["after"] == 0
    assert holders == ["first", "first"], "the one that takes over finds what was left"
    assert (api.get("WhatsAppNumber", TEAM, "before") or {})["status"]


def test_an_operator_that_lost_its_lease_says_so_at_once_and_ends(api: ApiServer, fleet: Fleet) -> None:
    """Before its orderly end, for which the other one does not wait; and it does not take the lease back."""

    def holder() -> str:
        return str((api.get("Lease", RELEASE, NAME) or {}).get("spec", {}).get("holderIdentity"))

    notes = fleet.begin(replicas=2, identity="first")
    until(lambda: holder() == "first", "it leads")
    until(lambda: fleet.not_ready() is None and api.watching("ConfigMap"), "it works")
    api.edit("Lease", RELEASE, NAME, lambda each: each["spec"].update(holderIdentity="other"))
    until(notes.lease_lost.is_set, "it notices")
    until(lambda: isinstance(fleet.take_error(), BaseExceptionGroup), "it ends")
    assert notes.handed_over == 2, "it leaves what it can all the same"
    assert holder() == "other"
