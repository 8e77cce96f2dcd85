"""Caches our own objects as the watch streams last reported them: which objects exist, and their conditions."""

import sys

from waypost.operator.api.kinds import OURS
from waypost.operator.api.number_models import GROUP
from waypost.operator.cluster.interface import Manifest

Key = tuple[str, str, str]
"""Kind, namespace and name of an object."""


def key_of(manifest: Manifest) -> Key:
    """Returns the key of an object."""
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


class ObjectCache:
    """Holds the part of each of our objects that reconciles of other objects need: identity, spec and conditions.

    Entries are small, because there may be thousands. A caller that needs more of an object reads it from the API
    server.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Manifest]] = {kind: {} for kind in OURS}
        self.is_complete = False
        """Whether all objects have been listed at least once."""

    def put(self, manifest: Manifest) -> None:
        """Adds or replaces an object."""
        kind, namespace, name = key_of(manifest)
        self._objects[kind][namespace, name] = slim(manifest)

    def drop(self, key: Key) -> None:
        """Removes an object that is gone."""
        kind, namespace, name = key
        self._objects[kind].pop((namespace, name), None)

    def get(self, key: Key) -> Manifest | None:
        """Returns an object as it was last seen, or None."""
        kind, namespace, name = key
        return self._objects[kind].get((namespace, name))

    def all(self, kind: str) -> list[Manifest]:
        """Returns all objects of a kind. The objects are shared with other callers, so never change one."""
        return list(self._objects[kind].values())


def slim(manifest: Manifest) -> Manifest:
    """Returns an object without the audience of its action, the messages of its conditions and most of its metadata."""
    metadata = manifest["metadata"]
    spec = manifest.get("spec")
    if isinstance(spec, dict):
        spec = {sys.intern(key): value for key, value in spec.items() if key != "action"}
    return {
        "apiVersion": sys.intern(manifest["apiVersion"]),
        "kind": sys.intern(manifest["kind"]),
        "metadata": _identity(metadata),
        "spec": spec,
        "status": _status(manifest.get("status") or {}),
    }


def _identity(metadata: Manifest) -> Manifest:
    identity = {key: metadata[key] for key in _METADATA if key in metadata}
    identity["namespace"] = sys.intern(metadata["namespace"])
    annotations = metadata.get("annotations") or {}
    if ours := {key: value for key, value in annotations.items() if key.startswith(f"{GROUP}/")}:
        identity["annotations"] = ours
    return identity


def _status(status: Manifest) -> Manifest:
    conditions: Manifest = {"conditions": tuple(map(_condition, status.get("conditions") or ()))}
    shard = status.get("registryShard")
    return conditions if shard is None else {**conditions, "registryShard": shard}


def _condition(condition: object) -> Manifest:
    if not isinstance(condition, dict):
        return {}
    return {key: sys.intern(str(condition.get(key) or "")) for key in ("type", "status", "reason")}


_METADATA = ("name", "namespace", "uid", "generation", "creationTimestamp", "deletionTimestamp")
