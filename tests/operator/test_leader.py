"""Exactly one of several operators works at a time."""

from datetime import UTC, datetime

import pytest

from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.cluster.leader import DURATION_S, NAME, RENEW_DEADLINE_S, Election, Leadership, LeaseLost, Move

from .apiserver import ApiServer, Fault, Manifest
from .running import RELEASE, TEAM, Fleet, Notes, number, until


def lease(holder: str, version: str = "1", lasts: int | None = DURATION_S) -> Manifest:
    """Returns a Lease as the API server returns it."""
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
def test_the_state_of_a_lease_decides_the_next_move(
    found: Manifest | None, later: Manifest | None, seconds: float, expected: Move
) -> None:
    """A process may take a Lease that it has seen unchanged for longer than the Lease's duration.

    The process does not rely on the clocks of other nodes.
    """
    election = Election("me")
    election.move(found, 100.0)
    assert election.move(later, 100.0 + seconds) == expected


def test_a_lease_that_is_taken_over_counts_the_change() -> None:
    """A takeover of a Lease changes its acquire time and its number of transitions. A renewal keeps both.

    `kubectl get lease` shows them.
    """
    election, at = Election("me"), datetime(2026, 1, 1, tzinfo=UTC)
    taken = election.claimed(lease("other"), RELEASE, at)
    assert (taken["spec"]["holderIdentity"], taken["spec"]["leaseTransitions"]) == ("me", 3)
    renewed = election.claimed(taken, RELEASE, datetime(2026, 1, 2, tzinfo=UTC))
    assert renewed["spec"]["acquireTime"] == taken["spec"]["acquireTime"]
    assert renewed["spec"]["leaseTransitions"] == 3
    assert renewed["spec"]["renewTime"] > taken["spec"]["renewTime"]


class Clock:
    """A clock that advances only by sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.most = 1000

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.most -= 1
        assert self.most, "it waits forever"


def candidate(cluster: KubernetesCluster, name: str, clock: Clock) -> Leadership:
    """Returns a candidate for leadership."""
    return Leadership(cluster, RELEASE, name, clock=clock, sleep=clock.sleep)


@pytest.mark.anyio
async def test_a_leader_that_died_is_replaced_when_its_lease_has_expired(
    api: ApiServer, cluster: KubernetesCluster
) -> None:
    """If a leader dies without releasing its Lease, the second candidate takes the Lease after it has expired.

    The candidate waits for the Lease's duration and at most one more interval.
    """
    clock = Clock()
    await candidate(cluster, "first", clock).acquire()
    began = clock.now
    await candidate(cluster, "second", clock).acquire()
    assert DURATION_S < clock.now - began <= DURATION_S + 5
    assert (api.get("Lease", RELEASE, NAME) or {})["spec"]["holderIdentity"] == "second"


@pytest.mark.anyio
async def test_a_leader_that_was_replaced_stops(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A leader stops when it finds another holder in the Lease. It may have been suspended for a while."""
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
    """A leader that cannot renew its Lease stops before another operator may begin.

    The API server may be unreachable for this leader but not for others.
    """
    clock = Clock()
    leader = candidate(cluster, "first", clock)
    await leader.acquire()
    api.faults.append(Fault(lambda _, kind, __: kind == "Lease", 503, 1000))
    began = clock.now
    with pytest.raises(LeaseLost):
        await leader.keep()
    assert RENEW_DEADLINE_S < clock.now - began < DURATION_S


@pytest.mark.anyio
async def test_a_leader_that_ends_releases_its_lease(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A leader that ends releases its Lease, so the next candidate can take it at once."""
    clock = Clock()
    leader = candidate(cluster, "first", clock)
    await leader.acquire()
    await leader.release()
    began = clock.now
    await candidate(cluster, "second", clock).acquire()
    assert clock.now == began


@pytest.mark.anyio
async def test_a_standby_releases_nothing(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A standby that ends does not release the leader's Lease."""
    clock = Clock()
    await candidate(cluster, "first", clock).acquire()
    await candidate(cluster, "second", clock).release()
    assert (api.get("Lease", RELEASE, NAME) or {})["spec"]["holderIdentity"] == "first"


def test_of_two_operators_one_works_and_the_other_takes_over(api: ApiServer, fleet: Fleet) -> None:
    """One of two operators works. The standby is ready and idle, and starts to work when the leader has ended."""
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
    assert holders == ["first", "first"], "the lease is still held while the budget is handed over"
    assert (api.get("WhatsAppNumber", TEAM, "before") or {})["status"]


def test_an_operator_that_lost_its_lease_stops_at_once_and_ends(api: ApiServer, fleet: Fleet) -> None:
    """An operator that lost its Lease notices this at once, and does not take the Lease back.

    The operator must notice the loss before its orderly end, because the new leader does not wait for this end.
    """

    def holder() -> str:
        return str((api.get("Lease", RELEASE, NAME) or {}).get("spec", {}).get("holderIdentity"))

    notes = fleet.begin(replicas=2, identity="first")
    until(lambda: holder() == "first", "it leads")
    until(lambda: fleet.not_ready() is None and api.watching("ConfigMap"), "it works")
    api.edit("Lease", RELEASE, NAME, lambda each: each["spec"].update(holderIdentity="other"))
    until(notes.lease_lost.is_set, "it notices")
    until(lambda: isinstance(fleet.take_error(), BaseExceptionGroup), "it ends")
    assert notes.handed_over == 2, "it hands over what it can"
    assert holder() == "other"
