"""What reconciling needs of a cluster, and nothing more."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True)
class Stored:
    """A Secret or ConfigMap as read: decoded `data`, labels, and what tells one version from another."""

    namespace: str
    name: str
    data: dict[str, bytes] = field(repr=False)
    labels: dict[str, str] = field(default_factory=dict)
    resource_version: str = ""


class ClusterError(Exception):
    """The API server did not do what was asked.

    ClusterError
    ├── ClusterAway       it does not answer, or answers 5xx/429: retry later
    ├── ClusterConflict   somebody else changed the object: read again, plan again
    └── ClusterRefused    it answered 4xx: `reason` and `message` say why; a retry alone changes nothing
    """


class ClusterAway(ClusterError):
    """No answer, a 5xx or 429. Retry later."""


class ClusterConflict(ClusterError):
    """409: the object changed meanwhile. Read and plan again."""


class ClusterRefused(ClusterError):
    """4xx. `reason` is the API server's (`Invalid`, `Forbidden`, …), `message` its sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Cluster(Protocol):
    """The API server, or something that plays it. Every call may raise `ClusterError`."""

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """An object of one of our kinds or a child (CronJob, Job), None when it is not there."""

    async def secret(self, namespace: str, name: str) -> Stored | None:
        """A Secret, None when it is not there. The caller checks the opt-in label before it looks at `data`."""

    async def config_map(self, namespace: str, name: str) -> Stored | None:
        """A ConfigMap, None when it is not there."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object, and return it as it is then. `ClusterConflict` when there is one."""

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Server-side apply with force: own exactly the fields given. Returns the object as it is then.

        With a `resourceVersion` in its metadata, `ClusterConflict` if the object moved; what is gone is made anew.
        """

    async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
        """Set one key of a Secret that others have keys in, or remove it (None), and leave theirs alone.

        `secret` is what it is made from when it is not there: metadata with labels, and type.
        """

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete; that it is gone already is fine."""

    async def write_status(self, manifest: Manifest, status: Manifest) -> Manifest:
        """Replace the status of one of our objects, at the resource version read. `ClusterConflict` if it moved."""

    async def write_metadata(self, manifest: Manifest, patch: Manifest) -> Manifest:
        """Merge-patch `metadata` (finalizers, annotations) at the resource version read."""

    async def objects(self, kind: str) -> list[Manifest]:
        """All objects of one of our kinds in the namespaces watched: identity, spec without an action, conditions."""

    async def labelled(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Children (CronJob, Pod) in the release namespace that carry all of these labels."""

    async def emit(self, about: Manifest, *, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002 - the field's name in core/v1 Event
        """A Kubernetes Event. Never fails a reconcile: the implementation logs what went wrong."""

    async def refresh_mounts(self) -> None:
        """Have kubelets sync the registry's mounted Secrets soon (an annotation on the data plane's pods)."""
