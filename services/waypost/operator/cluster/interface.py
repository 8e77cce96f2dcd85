"""The interface to a cluster: exactly what reconciling needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True)
class Stored:
    """A Secret or ConfigMap as read: decoded `data`, labels and resource version."""

    namespace: str
    name: str
    data: dict[str, bytes] = field(repr=False)
    labels: dict[str, str] = field(default_factory=dict)
    resource_version: str = ""


class ClusterError(Exception):
    """The API server did not do what it was asked to do.

    ClusterError
    ├── ClusterAway       it does not answer, or answers 5xx/429: retry later
    ├── ClusterConflict   somebody else changed the object: read again, plan again
    └── ClusterRefused    it answered 4xx: `reason` and `message` say why; a retry alone changes nothing
    """


class ClusterAway(ClusterError):
    """No answer, a 5xx or 429. Retry later."""


class ClusterConflict(ClusterError):
    """409: the object changed since it was read. Read and plan again."""


class ClusterRefused(ClusterError):
    """4xx. `reason` is the API server's (`Invalid`, `Forbidden`, …), `message` its sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Cluster(Protocol):
    """The API server, or a stand-in for it. Every call may raise `ClusterError`."""

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Returns an object of one of our kinds or a child (CronJob, Job); None if it does not exist."""

    async def secret(self, namespace: str, name: str) -> Stored | None:
        """Returns a Secret; None if it does not exist. The caller checks the opt-in label before it reads `data`."""

    async def config_map(self, namespace: str, name: str) -> Stored | None:
        """Returns a ConfigMap; None if it does not exist."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Creates an object and returns it as stored. Raises `ClusterConflict` if it exists."""

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Applies (server-side, with force): owns exactly the fields given. Returns the object as stored.

        With a `resourceVersion` in its metadata, `ClusterConflict` if the object changed. One that is gone is created
        again.
        """

    async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
        """Sets or removes (None) one key of a Secret that also holds keys of others; theirs stay as they are.

        `secret` is what it is made from when it is not there: metadata with labels, and type.
        """

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object, if it exists."""

    async def write_status(self, manifest: Manifest, status: Manifest) -> Manifest:
        """Replaces the status of one of our objects, at the version read. Raises `ClusterConflict` if it changed."""

    async def write_metadata(self, manifest: Manifest, patch: Manifest) -> Manifest:
        """Merge-patches `metadata` (finalizers, annotations) at the resource version read."""

    async def objects(self, kind: str) -> list[Manifest]:
        """Returns all objects of one of our kinds that are watched: identity, spec without an action, conditions."""

    async def labelled(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Returns children (CronJob, Pod) in the release namespace that carry all of these labels."""

    async def emit(self, about: Manifest, *, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002 - the field's name in core/v1 Event
        """Emits a Kubernetes Event. It never fails a reconcile: the implementation logs what went wrong."""

    async def refresh_mounts(self) -> None:
        """Makes kubelets sync the registry's mounted Secrets soon (by an annotation on the data plane's pods)."""
