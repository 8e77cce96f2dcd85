"""Elects a leader among several operators by the rules of Kubernetes' client-go.

Only the operator that holds a Lease works. `kubernetes.aio.leaderelection` is not used, because it never
looks at the task that it started. If the operator crashed inside that task, it would keep the Lease for ever.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import structlog

from waypost.operator.cluster.interface import ClusterConflict, ClusterError, Manifest

log = structlog.get_logger(__name__)

NAME = "waypost-operator"
"""Name of the Lease in the release namespace."""

DURATION_S = 15
"""Seconds without a change after which another operator may take the Lease."""
RENEW_DEADLINE_S = 10.0
"""Seconds without a renewal after which a leader stops. The rest of `DURATION_S` is left to finish its work."""
RETRY_S = 2.0

Move = Literal["create", "take", "renew", "wait"]


class LeaseLost(Exception):
    """Another operator may be leading by now, so this process must end. A retry makes no sense."""


class Leases(Protocol):
    """The part of a cluster that leader election needs."""

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Returns the Lease, or None if it does not exist."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Creates the Lease. Raises `ClusterConflict` if the Lease already exists."""

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replaces the Lease. Raises `ClusterConflict` if the Lease changed since it was read."""


class Election:
    """Decides what to do about a Lease that was read. It does no I/O, but it remembers what it saw.

    Clocks of two machines are never compared. A Lease states a duration. The Lease counts as abandoned when this
    process has seen no change of the Lease for longer than this duration.
    """

    def __init__(self, me: str) -> None:
        self.me = me
        self._version: object = None
        self._seen_at = float("-inf")

    def move(self, lease: Manifest | None, now: float) -> Move:
        """Returns what to do about the Lease. `now` is in seconds of a clock that never jumps."""
        if lease is None:
            return "create"
        spec = lease.get("spec") or {}
        version = lease["metadata"].get("resourceVersion")
        if version != self._version:
            self._version, self._seen_at = version, now
        holder = spec.get("holderIdentity")
        if holder == self.me:
            return "renew"
        if not holder:
            return "take"
        lasts = spec.get("leaseDurationSeconds")
        abandoned = now - self._seen_at > (lasts if isinstance(lasts, int) and lasts > 0 else DURATION_S)
        return "take" if abandoned else "wait"

    def claimed(self, lease: Manifest | None, namespace: str, at: datetime) -> Manifest:
        """Returns the Lease that this process writes in order to take or renew the Lease."""
        moment = at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec: dict[str, Any] = dict((lease or {}).get("spec") or {})
        if spec.get("holderIdentity") != self.me:
            spec |= {"acquireTime": moment, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + bool(lease)}
        spec |= {"holderIdentity": self.me, "leaseDurationSeconds": DURATION_S, "renewTime": moment}
        base = lease or {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "namespace": namespace},
        }
        return {**base, "spec": spec}


class Leadership:
    """Holds the Lease for this process.

    Call `await acquire()` first, then `await keep()` beside the work, and `await release()` at the end.
    """

    def __init__(
        self,
        leases: Leases,
        namespace: str,
        me: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._leases = leases
        self._namespace = namespace
        self._election = Election(me)
        self._clock = clock
        self._sleep = sleep
        self._renewed_at = float("-inf")

    async def acquire(self) -> None:
        """Waits until this process leads."""
        waiting = False
        while not await self._try():
            if not waiting:
                log.info("another operator leads; waiting")
                waiting = True
            await self._sleep(RETRY_S)
        log.info("this operator leads", identity=self._election.me)

    async def keep(self) -> None:
        """Renews the Lease again and again.

        Raises `LeaseLost` when renewing has failed for too long or when another process has the Lease.
        """
        while True:
            await self._sleep(RETRY_S)
            held = await self._try()
            if held is None:
                raise LeaseLost("another operator holds the lease")
            if self._clock() - self._renewed_at > RENEW_DEADLINE_S:
                raise LeaseLost(f"the lease could not be renewed for {RENEW_DEADLINE_S:.0f} s")

    async def release(self) -> None:
        """Releases the Lease, so that another process can take over at once.

        If the release fails, the only effect is that the other process waits longer.
        """
        try:
            lease = await self._leases.read("Lease", self._namespace, NAME)
            if lease is None or self._election.move(lease, self._clock()) != "renew":
                return
            spec = {**lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
            await self._leases.replace({**lease, "spec": spec})
        except ClusterError as error:
            log.info("the lease was not released; it runs out by itself", error=str(error))

    async def _try(self) -> bool | None:
        """Tries once to take or renew the Lease.

        Returns True if this process holds the Lease, False if the attempt failed for now, and None if another process
        has the Lease.
        """
        try:
            async with asyncio.timeout(RENEW_DEADLINE_S / 2):
                lease = await self._leases.read("Lease", self._namespace, NAME)
                now = self._clock()  # before the write: what was renewed later counts from here
                move = self._election.move(lease, now)
                if move == "wait":
                    return None
                claimed = self._election.claimed(lease, self._namespace, datetime.now(UTC))
                await (self._leases.create(claimed) if lease is None else self._leases.replace(claimed))
        except ClusterConflict:
            return False  # another process was faster; the next look shows which
        except (ClusterError, TimeoutError) as error:
            log.warning("the lease cannot be reached", error=str(error) or "no answer in time")
            return False
        self._renewed_at = now
        return True
