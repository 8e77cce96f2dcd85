"""The interface to a cluster, which contains exactly the calls that reconciling needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Manifest = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True)
class Stored:
    """A Secret or ConfigMap as it was read: its decoded `data`, its labels and its resource version."""

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
    """The API server gave no answer, or answered 5xx or 429. Retry later."""


class ClusterConflict(ClusterError):
    """The API server answered 409: the object changed since it was read. Read and plan again."""


class ClusterRefused(ClusterError):
    """The API server answered 4xx. `reason` is its word for the cause (`Invalid`, `Forbidden`, …), `message` its
    sentence.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Cluster(Protocol):
    """The API server, or a stand-in for it. Every call may raise `ClusterError`."""

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Returns an object of one of our kinds, or a child (CronJob, Job); None if it does not exist."""

    async def secret(self, namespace: str, name: str) -> Stored | None:
        """Returns a Secret; None if it does not exist. The caller checks the opt-in label before it reads `data`."""

    async def config_map(self, namespace: str, name: str) -> Stored | None:
        """Returns a ConfigMap; None if it does not exist."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Creates an object and returns it as stored. Raises `ClusterConflict` if it exists."""

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Applies an object (server-side, with force), so that `manager` owns exactly the given fields. Returns the
        object as stored.

        If its metadata has a `resourceVersion`, raises `ClusterConflict` when the object has changed since. An object
        that is gone is created again.
        """

    async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
        """Sets one key of a Secret, or removes it if `content` is None. The Secret's other keys belong to others and
        stay as they are.

        If the Secret does not exist, it is created from `secret`: its type, and its metadata with labels.
        """

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object, if it exists."""

    async def write_status(self, manifest: Manifest, status: Manifest) -> Manifest:
        """Replaces the status of one of our objects. Raises `ClusterConflict` if the object changed since `manifest`
        was read.
        """

    async def write_metadata(self, manifest: Manifest, patch: Manifest) -> Manifest:
        """Merge-patches `metadata` (finalizers, annotations). Raises `ClusterConflict` if the object changed since
        `manifest` was read.
        """

    async def objects(self, kind: str) -> list[Manifest]:
        """Returns all watched objects of one of our kinds. Of each it has identity, conditions, and the spec without
        the action.
        """

    async def labelled(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Returns children (CronJob, Pod) in the release namespace that carry all of these labels."""

    async def emit(self, about: Manifest, *, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002 - the field's name in core/v1 Event
        """Emits a Kubernetes Event. A failure never fails the reconcile: the implementation logs it."""

    async def refresh_mounts(self) -> None:
        """Makes kubelets sync the registry's mounted Secrets soon, by an annotation on the pods of the data plane."""
