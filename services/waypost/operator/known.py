"""What the watch streams last told of our own objects: which there are, and how they stand."""

from waypost.operator.cluster import Manifest
from waypost.operator.kinds import OURS

Key = tuple[str, str, str]
"""Kind, namespace, name."""


def key_of(manifest: Manifest) -> Key:
    """The key of an object."""
    return manifest["kind"], manifest["metadata"]["namespace"], manifest["metadata"]["name"]


class Known:
    """Copies of our objects, without the field managers' bookkeeping (half of their size)."""

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
    """Without what nobody here reads."""
    metadata = dict(manifest["metadata"])
    metadata.pop("managedFields", None)
    annotations = metadata.get("annotations")
    if annotations and "kubectl.kubernetes.io/last-applied-configuration" in annotations:
        metadata["annotations"] = {
            key: value
            for key, value in annotations.items()
            if key != "kubectl.kubernetes.io/last-applied-configuration"
        }
    return {**manifest, "metadata": metadata}
