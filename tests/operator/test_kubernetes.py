"""Tests the cluster over HTTP: which requests the API server gets, and how its answers are returned."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from waypost.operator.cluster.interface import ClusterAway, ClusterConflict, ClusterRefused
from waypost.operator.cluster.kubernetes import REFRESH_DELAY_S, REFRESH_SPACING_S, KubernetesCluster
from waypost.operator.cluster.shared_secret import SPACING_S
from waypost.operator.engine.object_cache import ObjectCache
from waypost.telemetry import spanfile, tracing

from .apiserver import ApiServer, Fault, Manifest
from .conftest import Connect
from .running import RELEASE, TEAM, config_map, number, secret

pytestmark = pytest.mark.anyio


class Naps:
    """A sleep that does not wait. It records the durations and lets other tasks run."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


async def test_an_object_that_does_not_exist_is_none(cluster: KubernetesCluster) -> None:
    """A read of an object that does not exist returns None instead of raising an error."""
    assert await cluster.read("WhatsAppNumber", TEAM, "absent") is None
    assert await cluster.secret(TEAM, "absent") is None
    assert await cluster.config_map(TEAM, "absent") is None


async def test_a_secret_is_read_decoded(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A Secret is returned with decoded bytes, labels and version. Its repr does not show the values."""
    api.put(secret("support-meta", value="t0ken"))
    stored = await cluster.secret(TEAM, "support-meta")
    assert stored is not None
    assert stored.data == {"accessToken": b"t0ken"}
    assert stored.labels == {"waypost.dev/credentials": "true"}
    assert stored.resource_version
    assert "t0ken" not in repr(stored)


async def test_a_config_map_is_read_as_text(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A ConfigMap's values are not base64, so they are not decoded."""
    api.put(config_map("support-bot", text="aGk="))
    stored = await cluster.config_map(TEAM, "support-bot")
    assert stored is not None
    assert stored.data == {"bot.yaml": b"aGk="}


async def test_each_manager_owns_only_its_keys(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Each manager owns only its own keys in a Secret that two numbers share.

    Neither number removes the key of the other number, and each number can remove its own key.
    """
    shared = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": RELEASE}}
    await cluster.apply({**shared, "data": {"one": "MQ=="}}, manager="number-1")
    await cluster.apply({**shared, "data": {"two": "Mg=="}}, manager="number-2")
    await cluster.apply({**shared, "data": {}}, manager="number-1")
    stored = await cluster.secret(RELEASE, "registry")
    assert stored is not None
    assert stored.data == {"two": b"2"}


async def test_an_apply_with_a_version_fails_at_any_other_version(api: ApiServer, cluster: KubernetesCluster) -> None:
    """When two clients read the same version of an object, only one of them can apply a change.

    This holds although the apply is forced.
    """
    version = api.put(config_map("record", RELEASE, "zero"))["metadata"]["resourceVersion"]
    one, two = (config_map("record", RELEASE, text) for text in ("one", "two"))
    for each in (one, two):
        each["metadata"]["resourceVersion"] = version
    await cluster.apply(one, manager="one")
    with pytest.raises(ClusterConflict):
        await cluster.apply(two, manager="two")
    assert (api.get("ConfigMap", RELEASE, "record") or {})["data"] == {"bot.yaml": "one"}


async def test_a_status_is_replaced_as_a_whole(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A written status replaces the old status as a whole, so fields that the new status lacks are removed.

    Spec and metadata stay the same.
    """
    manifest = api.put(number())
    written = await cluster.write_status(manifest, {"failureCount": 1, "phone": {"ending": "42"}})
    written = await cluster.write_status({**written, "spec": {}}, {"failureCount": 2})
    assert written["status"] == {"failureCount": 2}
    assert written["spec"] == manifest["spec"]


async def test_a_status_is_not_written_over_a_newer_object(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Writing a status fails if the object was changed since it was read. The reconcile must then start over."""
    manifest = api.put(number())
    api.put(number(suspend=True))
    with pytest.raises(ClusterConflict):
        await cluster.write_status(manifest, {"failureCount": 1})


async def test_metadata_is_not_written_over_a_newer_object(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Writing metadata fails if the object was changed since it was read.

    A list of finalizers is replaced as a whole, so an outdated list must not be written.
    """
    manifest = api.put(number())
    api.put(number(suspend=True))
    with pytest.raises(ClusterConflict):
        await cluster.write_metadata(manifest, {"finalizers": ["waypost.dev/number"]})


async def test_writing_to_a_deleted_object_is_a_conflict(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Writing to an object that was deleted since it was read raises `ClusterConflict`, as for any other change."""
    manifest = api.put(number())
    api.delete("WhatsAppNumber", TEAM, "support")
    with pytest.raises(ClusterConflict):
        await cluster.write_status(manifest, {"failureCount": 1})


async def test_deleting_a_deleted_object_succeeds(cluster: KubernetesCluster) -> None:
    """Deleting an object that does not exist succeeds, because a deletion is repeated after a crash."""
    await cluster.delete("CronJob", RELEASE, "absent")


async def test_all_objects_are_listed_page_by_page(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A list that needs several pages is complete, and each object in it has its kind."""
    for index in range(201):
        api.put(number(f"number-{index}"))
    found = await cluster.objects("WhatsAppNumber")
    assert {each["metadata"]["name"] for each in found} == {f"number-{index}" for index in range(201)}
    assert {each["kind"] for each in found} == {"WhatsAppNumber"}


async def test_cached_objects_are_not_listed(api: ApiServer, connect: Connect) -> None:
    """Cached objects are not listed from the API server.

    Each of a thousand numbers may need the list of all numbers.
    """
    cache = ObjectCache()
    cache.put(api.put(number()))
    cache.is_complete = True
    cluster = await connect(cache=cache)
    assert [each["metadata"]["name"] for each in await cluster.objects("WhatsAppNumber")] == ["support"]
    assert ("list", "WhatsAppNumber", "") not in api.requests


async def test_in_namespaced_mode_only_those_namespaces_are_listed(api: ApiServer, connect: Connect) -> None:
    """In namespaced mode, only the given namespaces are listed, so the operator needs a Role only in these."""
    for namespace in ("team-a", "team-b", "team-c"):
        api.put(number(namespace=namespace))
    cluster = await connect(namespaces=("team-a", "team-c"))
    found = await cluster.objects("WhatsAppNumber")
    assert [each["metadata"]["namespace"] for each in found] == ["team-a", "team-c"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, ClusterAway), (503, ClusterAway), (429, ClusterAway), (409, ClusterConflict), (403, ClusterRefused)],
)
async def test_an_error_status_becomes_one_of_three_errors(
    api: ApiServer, cluster: KubernetesCluster, status: int, error: type[Exception]
) -> None:
    """Each HTTP error status becomes one of three errors.

    Callers wait after a server error, read again after a conflict, and report a refusal.
    """
    api.faults.append(Fault(lambda *_: True, status, 1))
    with pytest.raises(error):
        await cluster.read("WhatsAppNumber", TEAM, "support")


async def test_no_answer_means_that_the_server_is_away(api: ApiServer, connect: Connect) -> None:
    """A refused connection is treated like a server error."""
    cluster = await connect()
    api.stop()
    with pytest.raises(ClusterAway):
        await cluster.read("WhatsAppNumber", TEAM, "support")


async def test_an_expired_token_is_read_again(api: ApiServer, cluster: KubernetesCluster) -> None:
    """When the API server refuses an expired token, the token is read again and the call is repeated.

    Service account tokens are rotated while the process runs, and no reconcile must fail because of that.
    """
    api.put(number())
    api.faults.append(Fault(lambda *_: True, 401, 1))
    assert await cluster.read("WhatsAppNumber", TEAM, "support") is not None


async def test_a_refusal_about_a_secret_does_not_quote_it(api: ApiServer, cluster: KubernetesCluster) -> None:
    """An error about a Secret contains only the reason, because the API server's message may quote the value."""
    api.faults.append(Fault(lambda *_: True, 422, 1, message='Invalid value: "t0ken"'))
    with pytest.raises(ClusterRefused) as caught:
        await cluster.apply(secret("support-meta", value="t0ken"), manager="test")
    assert "t0ken" not in str(caught.value)


async def test_a_repeated_event_is_posted_once(api: ApiServer, cluster: KubernetesCluster) -> None:
    """An Event with the same reason for the same object is posted only once. A different reason gives another Event."""
    manifest = api.put(number())
    for reason in ("TokenExpiring", "TokenExpiring", "Ready"):
        await cluster.emit(manifest, type="Warning", reason=reason, message="Seven days left.")
    events = api.all("Event")
    assert sorted(each["reason"] for each in events) == ["Ready", "TokenExpiring"]
    assert {each["involvedObject"]["uid"] for each in events} == {manifest["metadata"]["uid"]}


async def test_an_event_that_cannot_be_posted_fails_nothing(api: ApiServer, cluster: KubernetesCluster) -> None:
    """An Event that cannot be posted raises no error, because a reconcile does not depend on its Events."""
    manifest = api.put(number())
    api.faults.append(Fault(lambda _, kind, __: kind == "Event", 403, 1))
    await cluster.emit(manifest, type="Normal", reason="Ready", message="")


async def test_many_changes_of_the_registry_touch_each_pod_once(
    api: ApiServer, connect: Connect, eventually: Callable[..., Awaitable[object]]
) -> None:
    """Many numbers that are published together cause one round over the pods.

    The round touches only the pods that mount the registry.
    """
    naps = Naps()
    cluster = await connect(sleep=naps)
    for component in ("webhook", "worker", "console"):
        labels = {"app.kubernetes.io/part-of": "waypost", "app.kubernetes.io/component": component}
        metadata = {"name": component, "namespace": RELEASE, "labels": labels}
        api.put({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
    for _ in range(100):
        await cluster.refresh_mounts()
    await eventually(lambda: len(api.changes("Pod")) == 2)
    assert sorted(each.name for each in api.changes("Pod")) == ["webhook", "worker"]
    assert naps.taken == [1.0]


async def test_rounds_over_the_pods_are_spaced(
    api: ApiServer, connect: Connect, eventually: Callable[..., Awaitable[object]]
) -> None:
    """There is a pause between two rounds over the pods.

    Kubelets must not remount all the time while a thousand numbers arrive one by one.
    """
    naps = Naps()
    cluster = await connect(sleep=naps, clock=lambda: 100.0)
    labels = {"app.kubernetes.io/part-of": "waypost", "app.kubernetes.io/component": "webhook"}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "w", "namespace": RELEASE, "labels": labels}})
    for rounds in (1, 2):
        await cluster.refresh_mounts()
        await eventually(lambda rounds=rounds: len(api.writes) == rounds)
    assert naps.taken == [REFRESH_DELAY_S, REFRESH_SPACING_S]


async def test_a_call_is_a_span_without_content(api: ApiServer, cluster: KubernetesCluster, tmp_path: Path) -> None:
    """The span of a call has verb, kind, namespace, name and status, but nothing of the object's content."""
    api.put(secret("support-meta", value="t0ken"))
    traces = tracing.configure("operator", tmp_path)
    await cluster.secret(TEAM, "support-meta")
    traces.shutdown()
    tracing.configure("tests", None)
    (span,) = spanfile.read(tmp_path)
    assert (span["name"], span["kind"]) == ("kubernetes get secrets", "CLIENT")
    address = urlsplit(api.url)
    assert span["attributes"] == {
        "http.request.method": "GET",
        "server.address": address.hostname,
        "server.port": address.port,
        "http.response.status_code": 200,
        "waypost.kind": "Secret",
        "waypost.namespace": TEAM,
        "waypost.name": "support-meta",
    }


async def test_a_second_create_is_a_conflict(api: ApiServer, cluster: KubernetesCluster) -> None:
    """When two candidates create the same Lease, the second one gets a conflict."""
    lease: Manifest = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {}}
    lease["metadata"] = {"name": "waypost-operator", "namespace": RELEASE}
    await cluster.create(lease)
    with pytest.raises(ClusterConflict):
        await cluster.create(lease)


SHARED: Manifest = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "registry", "namespace": RELEASE, "labels": {"waypost.dev/registry": "worker"}},
    "type": "Opaque",
}


@pytest.fixture
def naps() -> Naps:
    """Returns a sleep function that records how long a cluster would have slept."""
    return Naps()


@pytest.fixture
async def frozen_cluster(connect: Connect, naps: Naps) -> KubernetesCluster:
    """Returns a cluster with a clock that stands still. It does not really wait between two patches of a Secret."""
    return await connect(sleep=naps, clock=lambda: 100.0)


async def test_entries_written_together_share_few_patches(api: ApiServer, frozen_cluster: KubernetesCluster) -> None:
    """Entries that are written together share a few patches.

    A thousand numbers that begin together must not cause a thousand writes to one Secret.
    """
    await asyncio.gather(*(frozen_cluster.write_entry(SHARED, f"{index}.json", b"x") for index in range(250)))
    stored = await frozen_cluster.secret(RELEASE, "registry")
    assert stored is not None
    assert len(stored.data) == 250
    assert stored.labels == {"waypost.dev/registry": "worker"}
    assert len(api.changes("Secret")) <= 4


async def test_an_entry_is_removed_and_the_others_stay(api: ApiServer, frozen_cluster: KubernetesCluster) -> None:
    """The removal of an entry keeps the other entries. It is no error if the Secret does not exist."""
    await frozen_cluster.write_entry(SHARED, "absent.json", None)
    for key in ("one.json", "two.json"):
        await frozen_cluster.write_entry(SHARED, key, b"x")
    await frozen_cluster.write_entry(SHARED, "one.json", None)
    stored = await frozen_cluster.secret(RELEASE, "registry")
    assert stored is not None
    assert stored.data == {"two.json": b"x"}


async def test_a_failed_patch_fails_every_entry_in_it(api: ApiServer, frozen_cluster: KubernetesCluster) -> None:
    """All entries in a failed patch get its error, and each reconcile retries by itself."""
    api.faults.append(Fault(lambda verb, kind, _: (verb, kind) == ("patch", "Secret"), 503, 100))
    results = await asyncio.gather(
        *(frozen_cluster.write_entry(SHARED, f"{index}.json", b"x") for index in range(5)), return_exceptions=True
    )
    assert {type(each) for each in results} == {ClusterAway}
    api.faults.clear()
    await frozen_cluster.write_entry(SHARED, "0.json", b"x")


async def test_an_entry_that_is_refused_does_not_fail_those_in_its_patch(
    api: ApiServer, frozen_cluster: KubernetesCluster
) -> None:
    """If the API server refuses one entry of a patch, the other entries of this patch do not fail.

    The other entries belong to other teams.
    """
    third = b"x" * (1_048_576 // 3)
    for index in range(3):
        await frozen_cluster.write_entry(SHARED, f"before-{index}.json", third[100:])
    results = await asyncio.gather(
        *(frozen_cluster.write_entry(SHARED, f"{index}.json", b"x") for index in range(5)),
        frozen_cluster.write_entry(SHARED, "large.json", third),
        return_exceptions=True,
    )
    assert [type(each) for each in results] == [*[type(None)] * 5, ClusterRefused]
    stored = await frozen_cluster.secret(RELEASE, "registry")
    assert stored is not None
    assert stored.data.keys() == {f"{prefix}.json" for prefix in (*"01234", "before-0", "before-1", "before-2")}


async def test_annotations_of_a_namespace_are_read(api: ApiServer, cluster: KubernetesCluster) -> None:
    """The annotations of a namespace are read, because the platform sets quotas in these annotations.

    The operator asks the API server only for the metadata.
    """
    api.annotations["team-a"] = {"waypost.dev/quota-registry-bytes": "2Mi"}
    assert await cluster.namespace_annotations("team-a") == {"waypost.dev/quota-registry-bytes": "2Mi"}
    assert await cluster.namespace_annotations("team-b") == {}


async def test_a_cancelled_write_does_not_cancel_the_others(api: ApiServer, frozen_cluster: KubernetesCluster) -> None:
    """Other entries are written even if the reconcile that sends the patch for all of them is cancelled."""
    writes = [asyncio.create_task(frozen_cluster.write_entry(SHARED, f"{index}.json", b"x")) for index in range(5)]
    await asyncio.sleep(0)
    writes[0].cancel()
    await asyncio.gather(*writes[1:])
    stored = await frozen_cluster.secret(RELEASE, "registry")
    assert stored is not None
    assert {f"{index}.json" for index in range(1, 5)} <= set(stored.data)


async def test_entries_right_after_a_patch_wait_and_share_the_next_one(
    api: ApiServer, frozen_cluster: KubernetesCluster, naps: Naps
) -> None:
    """Entries that arrive right after a patch wait for the next patch and share it.

    A single number is written at once. While many arrive, each Secret is patched once a second.
    """
    await frozen_cluster.write_entry(SHARED, "0.json", b"x")
    assert naps.taken == []
    await asyncio.gather(*(frozen_cluster.write_entry(SHARED, f"{index}.json", b"x") for index in range(1, 6)))
    assert naps.taken == [SPACING_S]
    assert [each.verb for each in api.changes("Secret")] == ["create", "patch"]


async def test_a_write_that_is_cancelled_while_it_waits_writes_nothing(connect: Connect) -> None:
    """A write that is cancelled while it waits is not made, because its number may have been deleted by then."""
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await awake.wait()

    cluster = await connect(sleep=sleep, clock=lambda: 100.0)
    await cluster.write_entry(SHARED, "one.json", b"x")
    given_up = asyncio.create_task(cluster.write_entry(SHARED, "gone.json", b"x"))
    await asleep.wait()
    given_up.cancel()
    await asyncio.wait([given_up])
    awake.set()
    await cluster.write_entry(SHARED, "two.json", b"x")
    stored = await cluster.secret(RELEASE, "registry")
    assert stored is not None
    assert set(stored.data) == {"one.json", "two.json"}


async def test_the_answer_to_a_patch_holds_no_entry(api: ApiServer, frozen_cluster: KubernetesCluster) -> None:
    """The answer to a patch leaves out the entries.

    The operator does not read them, and each answer would have hundreds of kB.
    """
    for key in ("one.json", "two.json"):
        await frozen_cluster.write_entry(SHARED, key, b"x")
    assert [each.partial for each in api.changes("Secret") if each.verb == "patch"] == [True]
