"""Tests that the cluster of `waypost dev` behaves in the way that reconciling relies on."""

import base64
from typing import Any

import pytest

from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster.interface import ClusterConflict, ClusterRefused, Manifest

pytestmark = pytest.mark.anyio


def thing(**members: Any) -> Manifest:
    """Returns an object of one of our kinds."""
    return {
        "apiVersion": "waypost.dev/v1alpha1",
        "kind": "WhatsAppNumber",
        "metadata": {"name": "one", "namespace": "team-a"},
        "spec": {"a": 1},
    } | members


def config(data: dict[str, str], *, labels: dict[str, str] | None = None) -> Manifest:
    """Returns a ConfigMap to apply."""
    metadata: dict[str, Any] = {"name": "shared", "namespace": "team-a"}
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


@pytest.fixture
def cluster() -> FileCluster:
    """Returns a cluster without objects."""
    return FileCluster()


async def test_a_user_replaces_the_spec_and_not_the_status(cluster: FileCluster) -> None:
    """If a user replaces the spec of an object, the status stays. The generation changes only with the spec."""
    made = cluster.put(thing())
    await cluster.write_status(made, {"ready": True})
    labelled = cluster.put(thing(metadata={"name": "one", "namespace": "team-a", "labels": {"x": "y"}}))
    changed = cluster.put(thing(spec={"a": 2}))
    assert [each["metadata"]["generation"] for each in (made, labelled, changed)] == [1, 1, 2]
    assert changed["status"] == {"ready": True}
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]


async def test_putting_the_same_object_again_is_not_a_change(cluster: FileCluster) -> None:
    """Putting the same object again is not a change. The resource version of the object stays the same."""
    assert cluster.put(thing()) == cluster.put(thing())


async def test_a_write_at_an_old_version_is_refused(cluster: FileCluster) -> None:
    """A write is refused if another writer has changed the object since it was read."""
    made = cluster.put(thing())
    cluster.put(thing(spec={"a": 2}))
    with pytest.raises(ClusterConflict):
        await cluster.write_status(made, {})
    with pytest.raises(ClusterConflict):
        await cluster.write_metadata(made, {"finalizers": ["x"]})


async def test_a_write_to_a_deleted_object_is_refused(cluster: FileCluster) -> None:
    """A write to a deleted object is refused. It does not create the object again."""
    made = cluster.put(thing())
    cluster.remove("WhatsAppNumber", "team-a", "one")
    with pytest.raises(ClusterRefused):
        await cluster.write_status(made, {})


async def test_a_finalizer_delays_a_deletion(cluster: FileCluster) -> None:
    """A finalizer delays a deletion. The object is first marked as deleted. It is removed with its last finalizer."""
    made = await cluster.write_metadata(cluster.put(thing()), {"finalizers": ["ours"]})
    await cluster.delete("WhatsAppNumber", "team-a", "one")
    marked = await cluster.read("WhatsAppNumber", "team-a", "one")
    assert marked is not None
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["finalizers"] == made["metadata"]["finalizers"]
    await cluster.write_metadata(marked, {"finalizers": []})
    assert await cluster.read("WhatsAppNumber", "team-a", "one") is None


async def test_each_manager_owns_what_it_applied(cluster: FileCluster) -> None:
    """Each manager owns the fields that it applied.

    If a manager omits one of its fields, the field is removed. The fields of other managers stay.
    """
    await cluster.apply(config({"a": "1", "b": "1"}), manager="first")
    await cluster.apply(config({"c": "2"}), manager="second")
    remaining = await cluster.apply(config({"a": "1"}), manager="first")
    assert remaining["data"] == {"a": "1", "c": "2"}


async def test_a_field_of_two_managers_stays_until_both_omit_it(cluster: FileCluster) -> None:
    """A field of two managers stays until both omit it. Applies are forced, so the last value counts."""
    await cluster.apply(config({"a": "1"}, labels={"x": "y"}), manager="first")
    await cluster.apply(config({"a": "1"}), manager="second")
    assert (await cluster.apply(config({}), manager="first"))["data"] == {"a": "1"}
    assert (await cluster.apply(config({"a": "3"}), manager="third"))["data"] == {"a": "3"}


async def test_an_apply_at_a_version_is_refused_at_another(cluster: FileCluster) -> None:
    """If two writers have read the same version, only one of them can write, although applies are forced.

    An object that was deleted since then is created again.
    """
    version = (await cluster.create(config({"a": "1"})))["metadata"]["resourceVersion"]
    at_version = config({"a": "2"})
    at_version["metadata"]["resourceVersion"] = version
    written = await cluster.apply(at_version, manager="first")
    assert (written["data"], written["metadata"]["resourceVersion"] != version) == ({"a": "2"}, True)
    with pytest.raises(ClusterConflict):
        await cluster.apply(at_version, manager="second")
    cluster.remove("ConfigMap", written["metadata"]["namespace"], written["metadata"]["name"])
    assert (await cluster.apply(at_version, manager="second"))["data"] == {"a": "2"}


async def test_an_existing_object_is_not_created(cluster: FileCluster) -> None:
    """An object that exists is not created again. If two writers try to create an object, only one succeeds."""
    await cluster.create(config({"a": "1"}))
    with pytest.raises(ClusterConflict):
        await cluster.create(config({"a": "2"}))


async def test_an_apply_without_a_change_writes_nothing(cluster: FileCluster) -> None:
    """An apply without a change writes nothing. A resync applies all objects again."""
    first = await cluster.apply(config({"a": "1"}), manager="first")
    assert await cluster.apply(config({"a": "1"}), manager="first") == first


async def test_a_secret_is_read_decoded(cluster: FileCluster) -> None:
    """A Secret is read with decoded values of `data` and `stringData`. Its `repr` hides the values."""
    data = {"a": base64.b64encode(b"1").decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}, "data": data}
    cluster.put(secret | {"stringData": {"b": "2"}})
    found = await cluster.secret("n", "s")
    assert found is not None
    assert found.data == {"a": b"1", "b": b"2"}
    assert "1" not in repr(found).replace(found.resource_version, "")


async def test_a_read_object_is_a_copy(cluster: FileCluster) -> None:
    """An object that was read is a copy. A change to the copy does not change the stored object."""
    cluster.put(thing())
    (found,) = await cluster.objects("WhatsAppNumber")
    found["spec"]["a"] = 9
    assert cluster.get("WhatsAppNumber", "team-a", "one")["spec"] == {"a": 1}  # type: ignore[index]


async def test_a_dump_restores_everything(cluster: FileCluster) -> None:
    """A dump restores all objects and the owners of their fields."""
    cluster.put(thing())
    await cluster.apply(config({"a": "1", "b": "1"}), manager="first")
    other = FileCluster()
    other.load(cluster.dump())
    assert other.all() == cluster.all()
    assert (await other.apply(config({"b": "1"}), manager="first"))["data"] == {"b": "1"}


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 1, "objects": [{}], "owners": []}'])
def test_a_text_that_is_not_a_dump_is_refused(cluster: FileCluster, text: str) -> None:
    """A text that is not a dump is refused, and the cluster stays usable."""
    with pytest.raises(ValueError, match=r".+"):
        cluster.load(text)
    cluster.put(thing())


def test_changes_are_reported() -> None:
    """Changes are reported to a callback. The callback gets the object, and whether the object still exists."""
    changes: list[tuple[str, bool]] = []
    cluster = FileCluster(changed=lambda manifest, exists: changes.append((manifest["metadata"]["name"], exists)))
    cluster.put(thing())
    cluster.put(thing())
    cluster.remove("WhatsAppNumber", "team-a", "one")
    assert changes == [("one", True), ("one", False)]


async def test_a_secret_holds_at_most_a_mebibyte(cluster: FileCluster) -> None:
    """A Secret can hold at most one mebibyte. A larger write is refused, as by an API server, and changes nothing."""
    registry = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": "waypost"}}
    await cluster.write_entry(registry, "one", b"x" * 1_000_000)
    with pytest.raises(ClusterRefused):
        await cluster.write_entry(registry, "two", b"x" * 100_000)
    found = await cluster.secret("waypost", "registry")
    assert found is not None
    assert found.data.keys() == {"one"}


async def test_annotations_of_a_namespace_are_those_that_a_user_put(cluster: FileCluster) -> None:
    """A namespace has the annotations that a user declared. An undeclared namespace has no annotations."""
    metadata = {"name": "team-a", "annotations": {"a": "b"}}
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    assert await cluster.namespace_annotations("team-a") == {"a": "b"}
    assert await cluster.namespace_annotations("team-b") == {}
