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
    ├── ClusterAway       no answer, or an answer of 5xx or 429: retry later
    ├── ClusterConflict   the object changed since it was read: read again, plan again
    └── ClusterRefused    an answer of 4xx: `reason` and `message` say why; a retry alone changes nothing
    """


class ClusterAway(ClusterError):
    """The API server gave no answer, or answered 5xx or 429. Retry later."""


class ClusterConflict(ClusterError):
    """The API server answered 409: the object changed since it was read. Read and plan again."""


class ClusterRefused(ClusterError):
    """The API server answered 4xx.

    `reason` is the API server's word for the cause (`Invalid`, `Forbidden`, …). `message` is the sentence that it
    gave.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Cluster(Protocol):
    """The API server, or a stand-in for it. Every call may raise `ClusterError`."""

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Returns an object of one of our kinds or a child object (CronJob, Job). Returns None if it does not exist."""

    async def secret(self, namespace: str, name: str) -> Stored | None:
        """Returns a Secret, or None if it does not exist.

        The caller checks the opt-in label before it reads `data`.
        """

    async def config_map(self, namespace: str, name: str) -> Stored | None:
        """Returns a ConfigMap, or None if it does not exist."""

    async def namespace_annotations(self, namespace: str) -> Mapping[str, str]:
        """Returns the annotations of a Namespace. The result is empty if the Namespace does not exist."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Creates an object and returns it as stored. Raises `ClusterConflict` if the object already exists."""

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Applies an object on the server side with force, so that `manager` owns exactly the given fields.

        Returns the object as stored. If the metadata has a `resourceVersion` and the object changed after that
        version, raises `ClusterConflict`. If the object does not exist any more, it is created again.
        """

    async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
        """Sets one key of a Secret, or removes the key if `content` is None.

        The other keys of the Secret have other owners and stay as they are. If the Secret does not exist, it is
        created with the type and the metadata (including labels) of `secret`.
        """

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object, if it exists."""

    async def write_status(self, manifest: Manifest, status: Manifest) -> Manifest:
        """Replaces the status of one of our objects.

        Raises `ClusterConflict` if the object changed since `manifest` was read.
        """

    async def write_metadata(self, manifest: Manifest, patch: Manifest) -> Manifest:
        """Merge-patches `metadata` (finalizers, annotations).

        Raises `ClusterConflict` if the object changed since `manifest` was read.
        """

    async def objects(self, kind: str) -> list[Manifest]:
        """Returns all watched objects of one of our kinds.

        Each returned object has only its identity, its conditions, and its spec without the action.
        """

    async def labelled(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Returns children (CronJob, Pod) in the release namespace that carry all of these labels."""

    async def emit(self, about: Manifest, *, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002 - the field's name in core/v1 Event
        """Emits a Kubernetes Event. If this fails, the implementation logs the failure, and the reconcile goes on."""

    async def refresh_mounts(self) -> None:
        """Makes the kubelets sync the mounted Secrets of the registry soon.

        To do so, it changes an annotation on the pods of the data plane.
        """
