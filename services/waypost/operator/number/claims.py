"""Decides which object owns a phone number. If several objects name the same phone number, the oldest object
owns it.
"""

import asyncio
from dataclasses import dataclass

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import find, status_of
from waypost.operator.api.kinds import NUMBER
from waypost.operator.cluster.interface import Cluster, Manifest


@dataclass(frozen=True, order=True)
class Claim:
    """An object's claim on a phone number. Claims sort by age, the oldest first."""

    created: str
    """Time when the object was created. It is in RFC 3339, so sorting the strings sorts by time."""
    namespace: str
    name: str
    uid: str
    phone_number_id: str
    waba_id: str
    credentials: str


def claim_of(manifest: Manifest) -> Claim | None:
    """Returns the claim of an object, or None if its spec names no phone number."""
    metadata, spec = manifest.get("metadata") or {}, manifest.get("spec") or {}
    try:
        return Claim(
            str(metadata.get("creationTimestamp") or ""),
            str(metadata["namespace"]),
            str(metadata["name"]),
            str(metadata.get("uid") or ""),
            str(spec["phoneNumberId"]),
            str(spec["wabaId"]),
            str(spec["credentialsRef"]["name"]),
        )
    except (KeyError, TypeError):
        return None


class Claims:
    """Holds the claims of all objects.

    The objects are listed once, and each reconcile then updates its own claim. If each reconcile listed the
    objects, a thousand numbers would cause a million reads.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._by_object: dict[tuple[str, str], Claim] = {}
        self._by_number: dict[str, set[tuple[str, str]]] = {}
        self._is_loaded = False
        self._loading = asyncio.Lock()

    async def load(self) -> None:
        """Lists all objects on the first call. Later calls do nothing."""
        async with self._loading:
            if self._is_loaded:
                return
            for manifest in await self._cluster.objects(NUMBER):
                found = claim_of(manifest)
                if found is not None and (found.namespace, found.name) not in self._by_object:
                    self.put(found)
            self._is_loaded = True

    def put(self, new: Claim) -> None:
        """Adds or replaces an object's claim."""
        self.drop(new.namespace, new.name)
        key = (new.namespace, new.name)
        self._by_object[key] = new
        self._by_number.setdefault(new.phone_number_id, set()).add(key)

    def drop(self, namespace: str, name: str) -> None:
        """Removes the claim of an object that is gone."""
        old = self._by_object.pop((namespace, name), None)
        if old is None:
            return
        members = self._by_number[old.phone_number_id]
        members.discard((namespace, name))
        if not members:
            del self._by_number[old.phone_number_id]

    async def older_claim(self, mine: Claim) -> Claim | None:
        """Returns the oldest claim on the same phone number that is older than `mine`, or None.

        A claim does not count if Meta denied it because the object's token may not act for the phone number.
        Otherwise a user could keep a phone number from its owner by creating an object first.
        """
        others = sorted(self._by_object[key] for key in self._by_number.get(mine.phone_number_id, ()))
        for other in others:
            if other >= mine:
                return None
            # The object may have changed or gone since its last reconcile, so it is read.
            found = await self._cluster.read(NUMBER, other.namespace, other.name)
            now = claim_of(found) if found else None
            if now is None or now.phone_number_id != mine.phone_number_id:
                self.drop(other.namespace, other.name)
                continue
            if now < mine and found is not None and not _is_denied(found):
                return now
        return None

    def others(self, mine: Claim, *, account: str | None = None, credentials: str | None = None) -> list[Claim]:
        """Returns the claims of other objects that name the same account or the same credentials Secret.

        Two objects can name the same credentials Secret only if they are in the same namespace.
        """
        return [
            each
            for key, each in self._by_object.items()
            if key != (mine.namespace, mine.name)
            and (account is None or each.waba_id == account)
            and (credentials is None or (each.namespace == mine.namespace and each.credentials == credentials))
        ]


def _is_denied(manifest: Manifest) -> bool:
    registered = find(manifest.get("status"), ConditionType.REGISTERED)
    if registered is None or status_of(registered) is not ConditionStatus.FALSE:
        return False
    return bool(registered.get("reason") == Reason.NO_ACCESS)
