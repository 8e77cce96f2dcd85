"""What the watch streams last told of our own objects: which there are, and how they stand."""

import sys

from waypost.operator.api.kinds import OURS
from waypost.operator.api.number_models import GROUP
from waypost.operator.cluster.interface import Manifest

Key = tuple[str, str, str]
"""Kind, namespace, name."""


def key_of(manifest: Manifest) -> Key:
    """The key of an object."""
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


class Known:
    """Of each of our objects what others must know of it: identity, what it asks for, and its conditions.

    Kept small, for there may be thousands; who needs more of one reads it.
    """

    def __init__(self) -> None:
        self._objects: dict[str, dict[tuple[str, str], Manifest]] = {kind: {} for kind in OURS}
        self.complete = False
        """Whether everything has been listed once."""

    def put(self, manifest: Manifest) -> None:
        """An object as it is now."""
        kind, namespace, name = key_of(manifest)
        self._objects[kind][namespace, name] = slim(manifest)

    def drop(self, key: Key) -> None:
        """It is gone."""
        kind, namespace, name = key
        self._objects[kind].pop((namespace, name), None)

    def get(self, key: Key) -> Manifest | None:
        """What was last told of it."""
        kind, namespace, name = key
        return self._objects[kind].get((namespace, name))

    def all(self, kind: str) -> list[Manifest]:
        """Of one kind. They are shared: never change one."""
        return list(self._objects[kind].values())


def slim(manifest: Manifest) -> Manifest:
    """Without an action's audience, messages of conditions, and the bookkeeping in the metadata."""
    metadata = manifest["metadata"]
    spec = manifest.get("spec")
    if isinstance(spec, dict):
        spec = {sys.intern(key): value for key, value in spec.items() if key != "action"}
    return {
        "apiVersion": sys.intern(manifest["apiVersion"]),
        "kind": sys.intern(manifest["kind"]),
        "metadata": _identity(metadata),
        "spec": spec,
        "status": {"conditions": tuple(map(_condition, (manifest.get("status") or {}).get("conditions") or ()))},
    }


def _identity(metadata: Manifest) -> Manifest:
    kept = {key: metadata[key] for key in _METADATA if key in metadata}
    kept["namespace"] = sys.intern(metadata["namespace"])
    annotations = metadata.get("annotations") or {}
    if ours := {key: value for key, value in annotations.items() if key.startswith(f"{GROUP}/")}:
        kept["annotations"] = ours
    return kept


def _condition(found: object) -> Manifest:
    if not isinstance(found, dict):
        return {}
    return {key: sys.intern(str(found.get(key) or "")) for key in ("type", "status", "reason")}


_METADATA = ("name", "namespace", "uid", "generation", "creationTimestamp", "deletionTimestamp")
