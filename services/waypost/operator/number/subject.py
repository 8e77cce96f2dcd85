"""One object while it is being reconciled."""

from dataclasses import dataclass
from typing import Any

from waypost.operator.api.conditions import find
from waypost.operator.api.number_models import RECONCILE_REQUESTED, Metadata
from waypost.operator.cluster.interface import Manifest
from waypost.operator.number.claims import Claim


@dataclass
class Subject:
    """`manifest` is replaced by every write to it; `metadata` is as it was read first."""

    manifest: Manifest
    metadata: Metadata
    claim: Claim

    @property
    def status(self) -> dict[str, Any]:
        """As it was written last."""
        found = self.manifest.get("status")
        return found if isinstance(found, dict) else {}

    @property
    def ready_reason(self) -> str:
        """Of the condition `Ready`; empty if there is none yet."""
        return str((find(self.status, "Ready") or {}).get("reason") or "")

    @property
    def is_healthy(self) -> bool:
        """As desired when it was last looked at."""
        ready = find(self.status, "Ready") or {}
        return bool(ready.get("status") == "True") and self.ready_reason != "Suspended"

    @property
    def is_settled(self) -> bool:
        """As desired, or a person must act: nothing that another look at Meta would further."""
        return self.is_healthy or (find(self.status, "Stalled") or {}).get("status") == "True"

    @property
    def is_requested(self) -> bool:
        """Somebody asked for a reconcile that was not done yet."""
        requested = self.metadata.annotations.get(RECONCILE_REQUESTED, "")
        return requested[:64] != str(self.status.get("lastHandledReconcileAt", ""))
