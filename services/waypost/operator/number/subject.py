"""One object while it is being reconciled."""

from dataclasses import dataclass
from typing import Any

from waypost.operator.api.condition_types import ConditionType, Reason
from waypost.operator.api.conditions import is_true, reason_of
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
        return reason_of(self.status, ConditionType.READY)

    @property
    def is_healthy(self) -> bool:
        """As desired when it was last looked at."""
        return is_true(self.status, ConditionType.READY) and self.ready_reason != Reason.SUSPENDED

    @property
    def is_settled(self) -> bool:
        """As desired, or a person must act: nothing that another look at Meta would further."""
        return self.is_healthy or is_true(self.status, ConditionType.STALLED)

    @property
    def is_requested(self) -> bool:
        """Somebody asked for a reconcile that was not done yet."""
        requested = self.metadata.annotations.get(RECONCILE_REQUESTED, "")
        return requested[:64] != str(self.status.get("lastHandledReconcileAt", ""))
