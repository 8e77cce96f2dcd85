"""Records which objects claim which phone number.

Several objects may claim the same number. `holders.py` decides which of them holds it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import find, is_true, reason_of, status_of
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
        self._proven: set[tuple[str, str]] = set()
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
                    self.put(found, manifest)
            self._is_loaded = True

    def put(self, new: Claim, manifest: Manifest) -> None:
        """Adds or replaces the claim of the object `manifest`."""
        self.drop(new.namespace, new.name)
        key = (new.namespace, new.name)
        self._by_object[key] = new
        self._by_number.setdefault(new.phone_number_id, set()).add(key)
        if was_proven(manifest.get("status")):
            self._proven.add(key)

    def drop(self, namespace: str, name: str) -> None:
        """Removes the claim of an object that is gone."""
        old = self._by_object.pop((namespace, name), None)
        if old is None:
            return
        self._proven.discard((namespace, name))
        members = self._by_number[old.phone_number_id]
        members.discard((namespace, name))
        if not members:
            del self._by_number[old.phone_number_id]

    def is_contested(self, mine: Claim) -> bool:
        """Returns whether another object claims the same phone number."""
        return bool(self._by_number.get(mine.phone_number_id, set()) - {(mine.namespace, mine.name)})

    def competing(self, mine: Claim) -> list[Claim]:
        """Returns the claims of other objects on the same phone number, as they were when they were last reconciled."""
        keys = self._by_number.get(mine.phone_number_id, set()) - {(mine.namespace, mine.name)}
        return [self._by_object[key] for key in sorted(keys)]

    def may_be_proven(self, claim: Claim) -> bool:
        """Returns whether the object's status said that Meta accepts the object's credentials.

        The status is the one that was seen at the object's last reconcile.
        """
        return (claim.namespace, claim.name) in self._proven

    async def read(self, claim: Claim) -> tuple[Claim, Manifest] | None:
        """Returns the claim and its object as they are now.

        Returns None if the object is gone or claims another number. Raises `ClusterError`.
        """
        manifest = await self._cluster.read(NUMBER, claim.namespace, claim.name)
        now = claim_of(manifest) if manifest else None
        if now is None or manifest is None or now.phone_number_id != claim.phone_number_id:
            self.drop(claim.namespace, claim.name)
            return None
        return now, manifest

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


def was_proven(status: Mapping[str, Any] | None) -> bool:
    """Returns whether the status of an object says that its claim is proven.

    The claim is proven if both of these are true: Meta accepted the credentials for the phone number when it was
    last asked, and no other object held the number.
    """
    # Meta is not asked about a suspended object. If it is not published either, its old conditions prove nothing.
    is_idle = reason_of(status, ConditionType.READY) in (Reason.CONFLICT, Reason.SUSPENDED)
    if is_idle and not is_true(status, ConditionType.READY):
        return False
    if not all(is_true(status, each) for each in (ConditionType.CREDENTIALS_VALID, ConditionType.TOKEN_VALID)):
        return False
    registered = find(status, ConditionType.REGISTERED)
    is_known = status_of(registered) is not ConditionStatus.UNKNOWN
    return is_known and reason_of(status, ConditionType.REGISTERED) != Reason.NO_ACCESS
