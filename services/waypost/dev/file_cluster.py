"""A cluster in memory, which `waypost dev` uses in place of an API server.

It implements the features that reconciling relies on: server-side apply with field ownership, resource
versions, conflicts, finalizers, the status as a separate part, and the size limit of Secrets. It has no schema,
no admission and no garbage collection.
"""

import base64
import datetime
import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import structlog

from waypost.operator.cluster.interface import ClusterConflict, ClusterRefused, Manifest, Stored

log = structlog.get_logger(__name__)

Path = tuple[str, ...]

LONGEST_SECRET = 1_048_576
"""Most bytes of a Secret's data, as in an API server."""


class FileCluster:
    """Stores objects by kind, namespace and name.

    `changed` is called after each change with the object and whether it still exists.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.time,
        changed: Callable[[Manifest, bool], None] | None = None,
        release_namespace: str = "waypost",
    ) -> None:
        self._clock = clock
        self._changed = changed or (lambda _manifest, _exists: None)
        self._objects: dict[tuple[str, str, str], Manifest] = {}
        self._owners: dict[tuple[str, str, str], dict[Path, set[str]]] = {}
        self._version = 0
        self.release_namespace = release_namespace
        self.events: list[tuple[str, str, str]] = []
        """(type, reason, message) of the Kubernetes Events that were emitted, oldest first."""

    # For users

    def put(self, manifest: Manifest) -> Manifest:
        """Creates or replaces an object as `kubectl apply` would.

        The object's status and the server's metadata are kept.
        """
        key = _key(manifest)
        before = self._objects.get(key)
        desired = _copy(manifest)
        metadata = desired.setdefault("metadata", {})
        metadata.setdefault("namespace", "default")
        if before is None:
            metadata |= {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": _timestamp(self._clock())}
            desired.pop("status", None)
        else:
            for name in ("uid", "generation", "creationTimestamp", "finalizers", "resourceVersion"):
                if name in before["metadata"]:
                    metadata[name] = before["metadata"][name]
            if "status" in before:
                desired["status"] = before["status"]
            if desired == before:
                return _copy(before)
            if desired.get("spec") != before.get("spec"):
                metadata["generation"] += 1
        return self._store(key, desired)

    def remove(self, kind: str, namespace: str, name: str) -> None:
        """Deletes an object as a user would.

        If the object has finalizers, it is only marked as deleted. It is removed when it has no finalizers left.
        """
        key = (kind, namespace, name)
        found = self._objects.get(key)
        if found is None:
            return
        if found["metadata"].get("finalizers"):
            if "deletionTimestamp" not in found["metadata"]:
                marked = _copy(found)
                marked["metadata"]["deletionTimestamp"] = _timestamp(self._clock())
                self._store(key, marked)
            return
        self._drop(key)

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Returns a copy of an object, or None if the object does not exist."""
        found = self._objects.get((kind, namespace, name))
        return _copy(found) if found is not None else None

    def all(self, kind: str | None = None) -> list[Manifest]:
        """Returns copies of all objects, or of all objects of one kind, sorted by name."""
        keys = sorted(key for key in self._objects if kind is None or key[0] == kind)
        return [_copy(self._objects[key]) for key in keys]

    # For reconciling: the protocol `Cluster`

    async def read(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """Implements `Cluster.read`."""
        return self.get(kind, namespace, name)

    async def secret(self, namespace: str, name: str) -> Stored | None:
        """Implements `Cluster.secret`."""
        found = self.get("Secret", namespace, name)
        if found is None:
            return None
        data = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
        data |= {key: value.encode() for key, value in (found.get("stringData") or {}).items()}
        return _stored(found, data)

    async def config_map(self, namespace: str, name: str) -> Stored | None:
        """Implements `Cluster.config_map`."""
        found = self.get("ConfigMap", namespace, name)
        if found is None:
            return None
        return _stored(found, {key: value.encode() for key, value in (found.get("data") or {}).items()})

    async def namespace_annotations(self, namespace: str) -> Mapping[str, str]:
        """Implements `Cluster.namespace_annotations`."""
        found = self.get("Namespace", "default", namespace)
        return (found["metadata"].get("annotations") or {}) if found else {}

    async def create(self, manifest: Manifest) -> Manifest:
        """Implements `Cluster.create`."""
        if _key(manifest) in self._objects:
            raise ClusterConflict("the object already exists")
        return self.put(manifest)

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Implements `Cluster.apply`."""
        key = _key(manifest)
        found = self._objects.get(key)
        now = _copy(found) if found is not None else {}
        owners = self._owners.setdefault(key, {})
        applied = dict(_leaves({name: value for name, value in manifest.items() if name != "status"}))
        if applied.pop(("metadata", "resourceVersion"), None) is not None and found is not None:
            self._at_version(manifest)
        for path in [path for path, managers in owners.items() if manager in managers and path not in applied]:
            owners[path].discard(manager)
            if not owners[path]:
                del owners[path]
                _delete_at(now, path)
        for path, value in applied.items():
            before = _value_at(now, path)
            holders = owners.setdefault(path, set())
            if before != value and not (value == {} and isinstance(before, dict)):
                holders.clear()
                _set_at(now, path, _copied(value))
            holders.add(manager)
        if found is None:
            now.setdefault("metadata", {}).update(
                {"uid": str(uuid.uuid4()), "generation": 1, "creationTimestamp": _timestamp(self._clock())}
            )
        elif now == found:
            return now
        elif now.get("spec") != found.get("spec"):
            now["metadata"]["generation"] = now["metadata"].get("generation", 1) + 1
        return self._store(key, now)

    async def write_entry(self, secret: Manifest, key: str, content: bytes | None) -> None:
        """Implements `Cluster.write_entry`."""
        found = self._objects.get(_key(secret))
        if found is None and content is None:
            return
        data = dict((found or secret).get("data") or {})
        if content is None:
            data.pop(key, None)
        else:
            data[key] = base64.b64encode(content).decode()
        if sum(map(len, data.values())) * 3 // 4 > LONGEST_SECRET:
            raise ClusterRefused("Invalid", f"data: Too long: may not be more than {LONGEST_SECRET} bytes")
        if found is None:
            self.put({**secret, "data": data})
        elif data.get(key) != (found.get("data") or {}).get(key):
            self._version += 1
            metadata = {**found["metadata"], "resourceVersion": str(self._version)}
            self._objects[_key(secret)] = {**found, "metadata": metadata, "data": data}
            # Not `_store`, which copies each of a thousand keys twice.
            self._changed({**found, "metadata": dict(metadata), "data": dict(data)}, True)

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Implements `Cluster.delete`."""
        self.remove(kind, namespace, name)

    async def write_status(self, manifest: Manifest, status: Manifest) -> Manifest:
        """Implements `Cluster.write_status`."""
        now = self._at_version(manifest)
        if now.get("status") == status:
            return now
        return self._store(_key(manifest), now | {"status": _copy(status)})

    async def write_metadata(self, manifest: Manifest, patch: Manifest) -> Manifest:
        """Implements `Cluster.write_metadata`."""
        now = self._at_version(manifest)
        merged = _merged(now["metadata"], patch)
        if merged == now["metadata"]:
            return now
        written = now | {"metadata": merged}
        if merged.get("deletionTimestamp") and not merged.get("finalizers"):
            self._drop(_key(manifest))
            return written
        return self._store(_key(manifest), written)

    async def objects(self, kind: str) -> list[Manifest]:
        """Implements `Cluster.objects`."""
        return self.all(kind)

    async def labelled(self, kind: str, labels: Mapping[str, str]) -> list[Manifest]:
        """Implements `Cluster.labelled`."""
        within = [each for each in self.all(kind) if each["metadata"]["namespace"] == self.release_namespace]
        return [each for each in within if labels.items() <= (each["metadata"].get("labels") or {}).items()]

    async def emit(self, about: Manifest, *, type: Literal["Normal", "Warning"], reason: str, message: str) -> None:  # noqa: A002 - as in the protocol
        """Implements `Cluster.emit`."""
        self.events.append((type, reason, message))
        del self.events[:-1000]
        metadata = about["metadata"]
        log.info("event", kind=about["kind"], name=f"{metadata['namespace']}/{metadata['name']}", reason=reason)

    async def refresh_mounts(self) -> None:
        """Does nothing, because the processes read the files directly and see the changes."""

    def _at_version(self, manifest: Manifest) -> Manifest:
        found = self._objects.get(_key(manifest))
        if found is None:
            raise ClusterRefused("NotFound", "the object does not exist")
        if found["metadata"]["resourceVersion"] != manifest["metadata"].get("resourceVersion"):
            raise ClusterConflict("the object has changed")
        return _copy(found)

    def _store(self, key: tuple[str, str, str], manifest: Manifest) -> Manifest:
        self._version += 1
        manifest["metadata"]["resourceVersion"] = str(self._version)
        self._objects[key] = manifest
        self._changed(_copy(manifest), True)
        return _copy(manifest)

    def _drop(self, key: tuple[str, str, str]) -> None:
        deleted = self._objects.pop(key)
        self._owners.pop(key, None)
        self._version += 1
        self._changed(deleted, False)

    # For the next process

    def dump(self) -> str:
        """Returns all objects and owners as text for `load`. The text contains secrets."""
        owners = [
            [list(key), [[list(path), sorted(who)] for path, who in paths.items()]]
            for key, paths in self._owners.items()
        ]
        return json.dumps({"version": self._version, "objects": self.all(), "owners": owners})

    def load(self, text: str) -> None:
        """Restores the state from a text that `dump` returned. Raises `ValueError` for any other text."""
        try:
            state = json.loads(text)
            self._objects = {_key(each): each for each in state["objects"]}
            self._owners = {
                (key[0], key[1], key[2]): {tuple(path): set(who) for path, who in paths}
                for key, paths in state["owners"]
            }
            self._version = int(state["version"])
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError("not the state of a cluster") from error


def _key(manifest: Manifest) -> tuple[str, str, str]:
    metadata = manifest.get("metadata") or {}
    return str(manifest["kind"]), str(metadata.get("namespace") or "default"), str(metadata["name"])


def _stored(found: Manifest, data: dict[str, bytes]) -> Stored:
    metadata = found["metadata"]
    return Stored(
        metadata["namespace"], metadata["name"], data, dict(metadata.get("labels") or {}), metadata["resourceVersion"]
    )


def _copy(value: Manifest) -> Manifest:
    """Returns a copy of a document.

    For a Secret with a thousand keys, `copy.deepcopy` would take twenty times as long.
    """
    copied: Manifest = _copied(value)
    return copied


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _copied(inner) if isinstance(inner, dict | list) else inner for name, inner in value.items()}
    if isinstance(value, list):
        return [_copied(inner) for inner in value]
    return value


def _leaves(value: Manifest, prefix: Path = ()) -> Iterable[tuple[Path, Any]]:
    """Yields the path and the value of everything in a document that is not a mapping. A list counts as one value."""
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from _leaves(inner, (*prefix, name))
        else:
            yield (*prefix, name), inner


def _value_at(value: Any, path: Path) -> Any:
    for name in path:
        if not isinstance(value, dict) or name not in value:
            return None
        value = value[name]
    return value


def _set_at(value: Manifest, path: Path, to: Any) -> None:
    for name in path[:-1]:
        value = value.setdefault(name, {})
    value[path[-1]] = to


def _delete_at(value: Manifest, path: Path) -> None:
    parent = _value_at(value, path[:-1]) if len(path) > 1 else value
    if isinstance(parent, dict):
        parent.pop(path[-1], None)


def _merged(value: Manifest, patch: Manifest) -> Manifest:
    """Returns `value` with the JSON merge patch `patch` applied (RFC 7386)."""
    merged = dict(value)
    for name, inner in patch.items():
        if inner is None:
            merged.pop(name, None)
        elif isinstance(inner, dict):
            merged[name] = _merged(merged.get(name) or {}, inner)
        else:
            merged[name] = inner
    return merged


def _timestamp(now: float) -> str:
    return datetime.datetime.fromtimestamp(int(now), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
