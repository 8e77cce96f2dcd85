"""A `WhatsAppNumber` object while it is reconciled."""

from dataclasses import dataclass
from typing import Any

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api.conditions import is_true, reason_of
from waypost.operator.api.number_models import RECONCILE_REQUESTED, Metadata
from waypost.operator.cluster.interface import Manifest
from waypost.operator.number.claims import Claim


@dataclass
class NumberResource:
    """A `WhatsAppNumber` object, with access to its status. Each write to the object replaces `manifest`."""

    manifest: Manifest
    metadata: Metadata
    """The metadata as they were when the object was first read."""
    claim: Claim

    @property
    def status(self) -> dict[str, Any]:
        """The status in `manifest`, which is the last status that was written. It is empty if there is none."""
        found = self.manifest.get("status")
        return found if isinstance(found, dict) else {}

    @property
    def ready_reason(self) -> str:
        """The reason of the condition `Ready`, or an empty text if there is no such condition yet."""
        return reason_of(self.status, ConditionType.READY)

    @property
    def is_healthy(self) -> bool:
        """Whether the last reconcile found the number as desired."""
        return is_true(self.status, ConditionType.READY) and self.ready_reason != Reason.SUSPENDED

    @property
    def is_settled(self) -> bool:
        """Whether Meta need not be asked again, because the number is as desired or because a person must act."""
        return self.is_healthy or is_true(self.status, ConditionType.STALLED)

    @property
    def is_requested(self) -> bool:
        """Whether a user has asked, by annotation, for a reconcile that has not been done yet."""
        requested = self.metadata.annotations.get(RECONCILE_REQUESTED, "")
        return requested[:64] != str(self.status.get("lastHandledReconcileAt", ""))
