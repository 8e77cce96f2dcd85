"""Decides which object holds a phone number, if several objects claim it.

A claim counts only once it is proven, which means that Meta has shown that the object's credentials may act
for the number. The lasting proof is the registry entry, because an entry is only published after a proof, and
only the operator can write it. So an object that was never proven cannot hold a number, however old it is. An
object that is published keeps its number while it is suspended, while its Secret is missing or mistyped, and
while Meta does not answer.

The published credentials of a holder can lose their access at Meta. If another object is proven, Meta is
asked about the holder's credentials. Once Meta has refused them for `YIELD_S`, the other object gets the
number.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api.conditions import reason_of
from waypost.operator.cluster.interface import Manifest
from waypost.operator.cluster.registry_secrets import Published, Registry
from waypost.operator.number.claims import Claim, Claims, was_proven
from waypost.operator.number.meta_view import MetaView

YIELD_S = 3600.0
"""Seconds for which Meta must refuse the published credentials of a holder before another object gets the phone number.
In this time an app secret or a token can be replaced without losing the number."""


@dataclass(frozen=True, order=True)
class Standing:
    """A proven claim on a phone number. Standings can be compared, and the least standing holds the number."""

    is_unpublished: bool
    order: int
    """Position among the proofs of this process, for an object that is not published yet; otherwise 0."""
    claim: Claim


def standing(
    claim: Claim, published: Published, status: Mapping[str, Any] | None, order: int | None
) -> Standing | None:
    """Returns the standing of a claim, or None if the claim is not proven.

    A status that says that Meta accepted the object counts as a proof, too. Otherwise a number could go to another
    object when the registry's Secrets are lost. The function has no side effects.
    """
    entries = (published.route, published.number)
    if any(entry is not None and entry.phone_number_id == claim.phone_number_id for entry in entries):
        return Standing(False, 0, claim)
    if was_proven(status):
        return Standing(True, 0, claim)
    return None if order is None else Standing(True, order, claim)


def holder(mine: Standing | None, others: Iterable[Standing]) -> Claim | None:
    """Returns the claim of the other object that holds the phone number, or None. The function has no side effects."""
    first = min(others, default=None)
    return None if first is None or (mine is not None and mine < first) else first.claim


class Holders:
    """Knows which object holds which phone number."""

    def __init__(
        self, claims: Claims, registry: Registry, view: MetaView, clock: Callable[[], float], *, fresh_s: float
    ) -> None:
        self._claims = claims
        self._registry = registry
        self._view = view
        self._clock = clock
        self._fresh_s = fresh_s
        self._proven: dict[str, int] = {}
        self._next = itertools.count(1)
        self._published: dict[str, Claim] = {}
        """The claim that was found to hold each phone number, by the number's id, of objects that were published."""
        self._refused_since: dict[str, float] = {}

    def note(self, claim: Claim, *, is_proven: bool) -> None:
        """Notes whether Meta accepts the object's credentials for its phone number.

        Two objects may be proven at the same time, before either is published. In that case the object that was
        proven first holds the number.
        """
        if not is_proven:
            self._proven.pop(claim.uid, None)
        elif claim.uid not in self._proven:
            self._proven[claim.uid] = next(self._next)

    def forget(self, claim: Claim) -> None:
        """Drops an object that is gone."""
        self._proven.pop(claim.uid, None)
        self._refused_since.pop(claim.uid, None)
        if self._published.get(claim.phone_number_id) == claim:
            del self._published[claim.phone_number_id]

    async def holder(self, mine: Claim, manifest: Manifest) -> Claim | None:
        """Returns the claim of the other object that holds the phone number, or None. Raises `ClusterError`.

        All claims are compared only if the object that held the number before does not hold it any more. Otherwise
        the work would be too much, because there may be any number of claims and each of their reconciles calls this
        method.
        """
        if not self._claims.is_contested(mine):
            return None
        before = self._published.get(mine.phone_number_id)
        if before is not None and await self._is_published(before):
            if before == mine:
                return None
            found = await self._claims.read(before)
            if found is not None and found[0] == before:
                return before
        self._published.pop(mine.phone_number_id, None)
        return await self._compared(mine, manifest)

    async def _is_published(self, claim: Claim) -> bool:
        published = await self._registry.read(claim.namespace, claim.name)
        return standing(claim, published, None, None) is not None

    async def _compared(self, mine: Claim, manifest: Manifest) -> Claim | None:
        others = []
        for each in self._claims.competing(mine):
            published = await self._registry.read(each.namespace, each.name)
            # Objects that cannot hold the number are not read: there may be any number of them.
            is_published = published.route is not None or published.number is not None
            if not is_published and each.uid not in self._proven and not self._claims.may_be_proven(each):
                continue
            other = await self._claims.read(each)
            if other is not None and (found := self._standing(*other, published)) is not None:
                others.append(found)
        published = await self._registry.read(mine.namespace, mine.name)
        own = self._standing(mine, manifest, published)
        first = min([*others, *((own,) if own else ())], default=None)
        if first is not None and not first.is_unpublished:
            self._published[mine.phone_number_id] = first.claim
        return holder(own, others)

    def _standing(self, claim: Claim, manifest: Manifest, published: Published) -> Standing | None:
        return standing(claim, published, manifest.get("status"), self._proven.get(claim.uid))

    async def is_waited_for(self, mine: Claim) -> bool:
        """Returns whether another object that is proven at Meta waits for the phone number.

        Raises `ClusterError`.
        """
        for each in self._claims.competing(mine):
            other = await self._claims.read(each)
            if other is not None and reason_of(other[1].get("status"), ConditionType.READY) == Reason.CONFLICT:
                return True
        return False

    async def yields(self, holder: Claim) -> bool:
        """Returns whether the holder loses the phone number to a proven object.

        The holder loses the number if Meta has refused its published credentials for `YIELD_S`. A failure at Meta
        that ends by itself is no refusal. Raises `ClusterError`.
        """
        published = await self._registry.read(holder.namespace, holder.name)
        if published.route is None or published.number is None or not published.route.app_secrets:
            return False
        # The answer is shared, so that claims of others cannot use up the calls of the holder's app.
        accepted = await self._view.still_accepts(published.route, published.number, max_age_s=self._fresh_s)
        if accepted:
            self._refused_since.pop(holder.uid, None)
        elif accepted is False:
            since = self._refused_since.setdefault(holder.uid, self._clock())
            return self._clock() - since >= YIELD_S
        return False
