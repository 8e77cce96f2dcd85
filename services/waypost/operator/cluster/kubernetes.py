"""Implements `interface.Cluster` on the API of a real Kubernetes cluster."""

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import structlog

from waypost.operator.api.kinds import KINDS, NAMESPACE, Kind
from waypost.operator.cluster.api_calls import APPLY, MERGE, METADATA, KubernetesCalls, NotThere
from waypost.operator.cluster.interface import ClusterAway, ClusterConflict, ClusterError, Manifest, Stored
from waypost.operator.cluster.shared_secret import SharedSecret
from waypost.operator.engine.object_cache import ObjectCache, slim

log = structlog.get_logger(__name__)

COMPONENT = "waypost-operator"
"""Source of the Events that the operator emits, and field manager of its writes of status and metadata."""

DATA_PLANE = "app.kubernetes.io/part-of=waypost,app.kubernetes.io/component in (webhook,worker)"
"""Label selector of the pods that mount the registry's Secrets."""
REFRESHED = "waypost.dev/registry-refreshed-at"
"""Annotation on these pods. Its change makes their kubelet sync mounted Secrets at once instead of within a minute."""
REFRESH_DELAY_S = 1.0
"""Seconds for which changes of the registry are collected before one round over the pods."""
REFRESH_SPACING_S = 3.0
"""Seconds between two rounds while changes keep coming. In each round, a kubelet writes the mounted Secrets again."""

PAGE = 25
"""Objects in one answer of a list. Dozens of lists may be read at the start, and an object takes about 10 kB while it
is read. With 500 objects per answer, the operator would need 25 MB more for good, since the heap does not shrink again.
"""
REPEATED_S = 600.0
"""Seconds within which the same Event about the same object is not posted again."""
REMEMBERED_EVENTS = 4096


class KubernetesCluster:
    """The API of a Kubernetes cluster. Every call may raise `ClusterError`.

    If `namespaces` is None, the cluster object covers all namespaces. `objects` answers from `cache`, because
    reconciles often ask for all objects.
    """

    def __init__(
        self,
        calls: KubernetesCalls,
        cache: ObjectCache,
        *,
        release_namespace: str,
        namespaces: Sequence[str] | None = None,
        instance: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._calls = calls
        self._cache = cache
        self._release_namespace = release_namespace
        self._namespaces = namespaces
        self._instance = instance
        self._sleep = sleep
        self._clock = clock
        self._said: dict[tuple[str, str, str], float] = {}
        self._refresh: asyncio.Task[None] | None = None
        self._next_refresh_at = float("-inf")
        self._shared: dict[tuple[str, str], SharedSecret] = {}

    async def close(self) -> None:
        """Finishes the requests under way and closes the connections."""
        if self._refresh is not None:
            await asyncio.wait([self._refresh], timeout=5)
        await self._calls.close()

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Returns the current state of an object from the API server, or None if the object does not exist."""
        found = KINDS[kind]
        try:
            return await self._calls.call("GET", found.at(namespace, name), found, about=(namespace, name))
        except NotThere:
            return None

    async def secret(self, namespace: str, name: str) -> Stored | None:
        """Returns a Secret, or None if it does not exist.

        The caller checks the opt-in label before it reads `data`.
        """
        return _stored(await self.read("Secret", namespace, name), encoded=True)

    async def config_map(self, namespace: str, name: str) -> Stored | None:
        """Returns a ConfigMap, or None if it does not exist."""
        return _stored(await self.read("ConfigMap", namespace, name), encoded=False)

    async def namespace_annotations(self, namespace: str) -> Mapping[str, str]:
        """Returns the annotations of a Namespace. The result is empty if the Namespace does not exist."""
        try:
            found = await self._calls.call("GET", NAMESPACE.named(namespace), NAMESPACE, accept=METADATA)
        except NotThere:
            return {}
        return found["metadata"].get("annotations") or {}

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Applies an object on the server side with force. Returns the object as stored.

        If the manifest has a resource version, it must be the current version of the object.
        """
        kind, namespace, name = _identity(manifest)
        return await self._calls.call(
            "PATCH",
            kind.at(namespace, name),
            kind,
            query={"fieldManager": manager, "force": "true"},
            body=manifest,
            content_type=APPLY,
            verb="apply",
            about=(namespace, name),
        )

    async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
        """Sets one key of a Secret, or removes the key if `content` is None.

        The keys of other owners stay as they are; see `shared_secret.py`.
        """
        kind, namespace, name = _identity(secret)
        shared = self._shared.get((namespace, name))
        if shared is None:

            async def patch(body: Manifest) -> bool:
                query = {"fieldManager": COMPONENT}
                where = kind.at(namespace, name)
                try:
                    await self._calls.call(
                        "PATCH",
                        where,
                        kind,
                        query=query,
                        body=body,
                        content_type=MERGE,
                        accept=METADATA,
                        about=(namespace, name),
                    )
                except NotThere:
                    return False
                return True

            shared = self._shared[namespace, name] = SharedSecret(
                secret, patch, self.create, sleep=self._sleep, clock=self._clock
            )
        await shared.write(key, content)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object if it exists. Its children are deleted in the background."""
        found = KINDS[kind]
        try:
            await self._calls.call(
                "DELETE",
                found.at(namespace, name),
                found,
                body={"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"},
                about=(namespace, name),
            )
        except NotThere:
            return

    async def write_status(self, manifest: Manifest, status: Manifest) -> Manifest:
        """Replaces the status. Raises `ClusterConflict` if the object is gone or changed since `manifest` was read."""
        kind, namespace, name = _identity(manifest)
        metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
        return await self._change(
            "PUT",
            f"{kind.at(namespace, name)}/status",
            kind,
            body={**manifest, "metadata": metadata, "status": status},
            about=(namespace, name),
        )

    async def write_metadata(self, manifest: Manifest, patch: Manifest) -> Manifest:
        """Merge-patches `metadata`.

        Raises `ClusterConflict` if the object is gone or changed since `manifest` was read.
        """
        kind, namespace, name = _identity(manifest)
        version = manifest["metadata"]["resourceVersion"]
        return await self._change(
            "PATCH",
            kind.at(namespace, name),
            kind,
            body={"metadata": {**patch, "resourceVersion": version}},
            content_type=MERGE,
            about=(namespace, name),
        )

    async def objects(self, kind: str) -> list[Manifest]:
        """Returns all watched objects of one of our kinds, in the short form of the cache.

        The objects are shared with other callers, so never change one.
        """
        if self._cache.is_complete:
            return self._cache.all(kind)
        return [slim(item) async for item in self.listed(kind)]

    async def listed(self, kind: str, selector: str | None = None) -> AsyncIterator[Manifest]:
        """Yields the current objects from the API server, page by page."""
        found = KINDS[kind]
        paths = [found.within(each) for each in self._namespaces] if self._namespaces else [found.collection]
        for path in paths:
            async for item in self._pages(path, found, selector):
                yield item

    async def labelled(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Returns the current children in the release namespace that carry all of these labels, from the API server."""
        found = KINDS[kind]
        selector = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
        return [item async for item in self._pages(found.within(self._release_namespace), found, selector)]

    async def emit(self, about: Manifest, *, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002 - the field's name in core/v1 Event
        """Posts a Kubernetes Event. A failure to post it does not fail the reconcile.

        The same Event is not posted again within ten minutes.
        """
        metadata = about["metadata"]
        if not self._is_news((metadata.get("uid", ""), reason, message)):
            return
        now = datetime.now(UTC)
        moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        namespace = metadata.get("namespace", "default")
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{metadata['name'][:200]}.", "namespace": namespace},
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": namespace,
                "name": metadata["name"],
                "uid": metadata.get("uid", ""),
                "resourceVersion": metadata.get("resourceVersion", ""),
            },
            "type": type,
            "reason": reason,
            "message": message[:1024],
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._instance,
        }
        kind = KINDS["Event"]
        try:
            await self._calls.call("POST", kind.within(namespace), kind, body=event)
        except ClusterError as error:
            log.warning("an event was not posted", reason=reason, error=error.__class__.__name__)

    async def refresh_mounts(self) -> None:
        """Makes the kubelets sync the mounted Secrets of the registry soon. Returns at once.

        Requests that come shortly after each other share one round over the pods.
        """
        if self._refresh is None or self._refresh.done():
            self._refresh = asyncio.create_task(self._refresh_soon(), name="refresh mounts")

    async def create(self, manifest: Manifest) -> Manifest:
        """Creates an object. Raises `ClusterConflict` if the object already exists."""
        kind, namespace, name = _identity(manifest)
        return await self._calls.call("POST", kind.within(namespace), kind, body=manifest, about=(namespace, name))

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replaces an object.

        Raises `ClusterConflict` if the object is gone or if the given resource version is not current.
        """
        kind, namespace, name = _identity(manifest)
        return await self._change("PUT", kind.at(namespace, name), kind, body=manifest, about=(namespace, name))

    async def _change(self, method: str, path: str, kind: Kind, **how: Any) -> Manifest:
        try:
            return await self._calls.call(method, path, kind, query={"fieldManager": COMPONENT}, **how)
        except NotThere as error:
            raise ClusterConflict(f"the {kind.name} is gone ({error.reason})") from None

    async def _pages(self, path: str, kind: Kind, selector: str | None) -> AsyncIterator[Manifest]:
        query = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        while True:
            page = await self._calls.call("GET", path, kind, query=query, verb="list")
            for item in page.get("items") or ():
                yield {"apiVersion": kind.api_version, "kind": kind.name, **item}
            following = page.get("metadata", {}).get("continue")
            if not following:
                return
            query["continue"] = following

    async def _refresh_soon(self) -> None:
        await self._sleep(max(REFRESH_DELAY_S, self._next_refresh_at - self._clock()))
        self._next_refresh_at = self._clock() + REFRESH_SPACING_S
        self._refresh = None  # what changes from here on needs another round
        pods = KINDS["Pod"]
        patch = {"metadata": {"annotations": {REFRESHED: datetime.now(UTC).isoformat(timespec="milliseconds")}}}
        try:
            async for pod in self._pages(pods.within(self._release_namespace), pods, DATA_PLANE):
                name = pod["metadata"]["name"]
                try:
                    await self._calls.call(
                        "PATCH",
                        pods.at(self._release_namespace, name),
                        pods,
                        body=patch,
                        content_type=MERGE,
                        about=(self._release_namespace, name),
                    )
                except NotThere:
                    continue  # the pod has ended
        except ClusterError as error:
            log.warning(
                "pods were not asked to reread the registry; kubelets sync the files within a minute", error=str(error)
            )

    def _is_news(self, event: tuple[str, str, str]) -> bool:
        now = self._clock()
        if now - self._said.get(event, float("-inf")) < REPEATED_S:
            return False
        if len(self._said) >= REMEMBERED_EVENTS:
            self._said = {each: at for each, at in self._said.items() if now - at < REPEATED_S}
        if len(self._said) >= REMEMBERED_EVENTS:
            self._said.clear()
        self._said[event] = now
        return True


def _identity(manifest: Manifest) -> tuple[Kind, str, str]:
    metadata = manifest["metadata"]
    return KINDS[manifest["kind"]], metadata["namespace"], metadata["name"]


def _stored(manifest: Manifest | None, *, encoded: bool) -> Stored | None:
    if manifest is None:
        return None
    metadata = manifest["metadata"]
    data: dict[str, bytes] = {}
    for key, value in (manifest.get("data") or {}).items():
        try:
            data[key] = base64.b64decode(value, validate=True) if encoded else str(value).encode()
        except (binascii.Error, ValueError):
            raise ClusterAway(f"key {key} of a Secret is not base64: no API server sends that") from None
    return Stored(
        metadata["namespace"],
        metadata["name"],
        data,
        metadata.get("labels") or {},
        metadata.get("resourceVersion", ""),
    )
