"""Reports that two objects claim one phone number.

A user of one namespace may not learn the names of objects in another namespace. So conditions and Events name
the other object only if it is in the same namespace. The operator's log names both objects. Only the people
who run the platform read this log.
"""

from collections.abc import Callable

import structlog

from waypost.contracts.condition_types import Reason
from waypost.operator.api.kinds import NUMBER
from waypost.operator.cluster.interface import Cluster
from waypost.operator.number.claims import Claim

log = structlog.get_logger(__name__)

REPORT_AGAIN_S = 3600.0
ASK = "Ask the people who run the platform: the operator's log names both objects."


def message(mine: Claim, holder: Claim) -> str:
    """Returns the message of the condition `Ready` of an object whose phone number another object holds."""
    if holder.namespace == mine.namespace:
        return f"WhatsAppNumber {holder.name} holds this phone number. Delete one of the two."
    return f"An object in another namespace holds this phone number. Delete one of the two. {ASK}"


def message_to_holder(mine: Claim, claimant: Claim) -> str:
    """Returns the message of the Event for the object that holds the phone number while `claimant` claims it."""
    if claimant.namespace == mine.namespace:
        other, remedy = f"WhatsAppNumber {claimant.name}", "Delete one of the two."
    else:
        other, remedy = "An object in another namespace", f"If you do not expect that: {ASK[0].lower()}{ASK[1:]}"
    return (
        f"{other} claims the phone number, too, with credentials that Meta accepts. The number stays with this object. "
        f"{remedy}"
    )


class ConflictReporter:
    """Reports conflicts of one operator."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._reported_at: dict[tuple[str, str], float] = {}

    async def report(self, claimant: Claim, holder: Claim) -> None:
        """Logs a new conflict and emits an Event for the holder, at most once an hour per namespace of a claimant.

        Without this limit, a team could flood another team with Events by creating its object again and again. Raises
        `ClusterError`.
        """
        now, key = self._clock(), (holder.uid, claimant.namespace)
        self._reported_at = {each: at for each, at in self._reported_at.items() if now - at < REPORT_AGAIN_S}
        if key in self._reported_at:
            return
        self._reported_at[key] = now
        log.warning("two objects claim one phone number", holder=_name(holder), claimant=_name(claimant))
        manifest = await self._cluster.read(NUMBER, holder.namespace, holder.name)
        if manifest is not None:
            text = message_to_holder(holder, claimant)
            await self._cluster.emit(manifest, type="Warning", reason=Reason.CONFLICT, message=text)

    async def report_takeover(self, claimant: Claim, holder: Claim) -> None:
        """Logs that a phone number went to another object, and emits an Event about the object that held it.

        Raises `ClusterError`.
        """
        log.warning("a phone number went to another object", before=_name(holder), now=_name(claimant))
        manifest = await self._cluster.read(NUMBER, holder.namespace, holder.name)
        if manifest is not None:
            whose = f"WhatsAppNumber {claimant.name}" if claimant.namespace == holder.namespace else "another namespace"
            text = (
                "Meta has refused the credentials with which this number was published for an hour, so the phone "
                f"number went to {whose}, whose credentials Meta accepts."
            )
            await self._cluster.emit(manifest, type="Warning", reason=Reason.CONFLICT, message=text)


def _name(claim: Claim) -> str:
    return f"{claim.namespace}/{claim.name}"
