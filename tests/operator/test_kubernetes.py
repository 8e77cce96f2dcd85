"""The cluster over HTTP: what is asked of the API server, and what its answers become."""

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
    """Stands in for sleeping: remembers how long, and lets others run meanwhile."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


async def test_what_is_not_there_is_none(cluster: KubernetesCluster) -> None:
    """Absence is an answer, not an error."""
    assert await cluster.read("WhatsAppNumber", TEAM, "nobody") is None
    assert await cluster.secret(TEAM, "nobody") is None
    assert await cluster.config_map(TEAM, "nobody") is None


async def test_a_secret_is_read_decoded(api: ApiServer, cluster: KubernetesCluster) -> None:
    """The caller gets bytes, labels and the version; the values are in no repr."""
    api.put(secret("support-meta", value="t0ken"))
    stored = await cluster.secret(TEAM, "support-meta")
    assert stored is not None
    assert stored.data == {"accessToken": b"t0ken"}
    assert stored.labels == {"waypost.dev/credentials": "true"}
    assert stored.resource_version
    assert "t0ken" not in repr(stored)


async def test_a_config_map_is_read_as_text(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Its values are not base64, and are not decoded."""
    api.put(config_map("support-bot", text="aGk="))
    stored = await cluster.config_map(TEAM, "support-bot")
    assert stored is not None
    assert stored.data == {"bot.yaml": b"aGk="}


async def test_each_manager_owns_just_its_keys(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Two numbers share a Secret: neither removes the other's key, each can remove its own."""
    shared = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": RELEASE}}
    await cluster.apply({**shared, "data": {"one": "MQ=="}}, manager="number-1")
    await cluster.apply({**shared, "data": {"two": "Mg=="}}, manager="number-2")
    await cluster.apply({**shared, "data": {}}, manager="number-1")
    stored = await cluster.secret(RELEASE, "registry")
    assert stored is not None
    assert stored.data == {"two": b"2"}


async def test_an_apply_at_a_version_is_done_at_no_other(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Of two that have read the same, one writes, though apply is with force."""
    version = api.put(config_map("record", RELEASE, "zero"))["metadata"]["resourceVersion"]
    one, two = (config_map("record", RELEASE, text) for text in ("one", "two"))
    for each in (one, two):
        each["metadata"]["resourceVersion"] = version
    await cluster.apply(one, manager="one")
    with pytest.raises(ClusterConflict):
        await cluster.apply(two, manager="two")
    assert (api.get("ConfigMap", RELEASE, "record") or {})["data"] == {"bot.yaml": "one"}


async def test_a_status_is_replaced_whole(api: ApiServer, cluster: KubernetesCluster) -> None:
    """What the new status does not have is gone; spec and metadata are not touched by it."""
    manifest = api.put(number())
    written = await cluster.write_status(manifest, {"failureCount": 1, "phone": {"ending": "42"}})
    written = await cluster.write_status({**written, "spec": {}}, {"failureCount": 2})
    assert written["status"] == {"failureCount": 2}
    assert written["spec"] == manifest["spec"]


async def test_a_status_is_not_written_over_a_newer_object(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Somebody changed it since it was read: the reconcile starts over."""
    manifest = api.put(number())
    api.put(number(suspend=True))
    with pytest.raises(ClusterConflict):
        await cluster.write_status(manifest, {"failureCount": 1})


async def test_metadata_is_not_written_over_a_newer_object(api: ApiServer, cluster: KubernetesCluster) -> None:
    """A finalizer list is replaced whole, so it must not be an old one."""
    manifest = api.put(number())
    api.put(number(suspend=True))
    with pytest.raises(ClusterConflict):
        await cluster.write_metadata(manifest, {"finalizers": ["waypost.dev/number"]})


async def test_writing_to_what_is_gone_is_a_conflict(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Deleted meanwhile is one more way of having changed meanwhile."""
    manifest = api.put(number())
    api.delete("WhatsAppNumber", TEAM, "support")
    with pytest.raises(ClusterConflict):
        await cluster.write_status(manifest, {"failureCount": 1})


async def test_deleting_what_is_gone_is_done(cluster: KubernetesCluster) -> None:
    """Deletion is repeated after a crash."""
    await cluster.delete("CronJob", RELEASE, "nobody")


async def test_all_objects_are_listed_page_by_page(api: ApiServer, cluster: KubernetesCluster) -> None:
    """More than fit on one page are all there, each with its kind."""
    for index in range(201):
        api.put(number(f"number-{index}"))
    found = await cluster.objects("WhatsAppNumber")
    assert {each["metadata"]["name"] for each in found} == {f"number-{index}" for index in range(201)}
    assert {each["kind"] for each in found} == {"WhatsAppNumber"}


async def test_objects_that_are_known_are_not_listed(api: ApiServer, connect: Connect) -> None:
    """Each of a thousand numbers may ask for all of them."""
    cache = ObjectCache()
    cache.put(api.put(number()))
    cache.is_complete = True
    cluster = await connect(cache=cache)
    assert [each["metadata"]["name"] for each in await cluster.objects("WhatsAppNumber")] == ["support"]
    assert ("list", "WhatsAppNumber", "") not in api.requests


async def test_in_namespaced_mode_only_those_namespaces_are_listed(api: ApiServer, connect: Connect) -> None:
    """A Role in each is all that it needs."""
    for namespace in ("team-a", "team-b", "team-c"):
        api.put(number(namespace=namespace))
    cluster = await connect(namespaces=("team-a", "team-c"))
    found = await cluster.objects("WhatsAppNumber")
    assert [each["metadata"]["namespace"] for each in found] == ["team-a", "team-c"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, ClusterAway), (503, ClusterAway), (429, ClusterAway), (409, ClusterConflict), (403, ClusterRefused)],
)
async def test_what_an_answer_means(
    api: ApiServer, cluster: KubernetesCluster, status: int, error: type[Exception]
) -> None:
    """Server trouble is waited out, a conflict is looked at again, a refusal is told."""
    api.faults.append(Fault(lambda *_: True, status, 1))
    with pytest.raises(error):
        await cluster.read("WhatsAppNumber", TEAM, "support")


async def test_no_answer_at_all_is_being_away(api: ApiServer, connect: Connect) -> None:
    """A port that nobody listens on is no defect of ours."""
    cluster = await connect()
    api.stop()
    with pytest.raises(ClusterAway):
        await cluster.read("WhatsAppNumber", TEAM, "support")


async def test_a_token_that_lapsed_is_read_anew(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Service account tokens are rotated under the running process; no reconcile fails by that."""
    api.put(number())
    api.faults.append(Fault(lambda *_: True, 401, 1))
    assert await cluster.read("WhatsAppNumber", TEAM, "support") is not None


async def test_a_refusal_about_a_secret_does_not_quote_it(api: ApiServer, cluster: KubernetesCluster) -> None:
    """The API server's sentence may hold what was sent; of a Secret only the reason goes on."""
    api.faults.append(Fault(lambda *_: True, 422, 1, message='Invalid value: "t0ken"'))
    with pytest.raises(ClusterRefused) as caught:
        await cluster.apply(secret("support-meta", value="t0ken"), manager="test")
    assert "t0ken" not in str(caught.value)


async def test_an_event_is_posted_once(api: ApiServer, cluster: KubernetesCluster) -> None:
    """The same news about the same object is told once; another reason is other news."""
    manifest = api.put(number())
    for reason in ("TokenExpiring", "TokenExpiring", "Ready"):
        await cluster.emit(manifest, type="Warning", reason=reason, message="Seven days left.")
    events = api.all("Event")
    assert sorted(each["reason"] for each in events) == ["Ready", "TokenExpiring"]
    assert {each["involvedObject"]["uid"] for each in events} == {manifest["metadata"]["uid"]}


async def test_an_event_that_cannot_be_posted_fails_nothing(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Events are a courtesy."""
    manifest = api.put(number())
    api.faults.append(Fault(lambda _, kind, __: kind == "Event", 403, 1))
    await cluster.emit(manifest, type="Normal", reason="Ready", message="")


async def test_many_changes_of_the_registry_touch_each_pod_once(
    api: ApiServer, connect: Connect, eventually: Callable[..., Awaitable[object]]
) -> None:
    """A thousand numbers that are published together are one round over the pods, and only over those that mount it."""
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


async def test_rounds_over_the_pods_keep_apart(
    api: ApiServer, connect: Connect, eventually: Callable[..., Awaitable[object]]
) -> None:
    """While a thousand numbers come one by one, kubelets are not at it all the time."""
    naps = Naps()
    cluster = await connect(sleep=naps, clock=lambda: 100.0)
    labels = {"app.kubernetes.io/part-of": "waypost", "app.kubernetes.io/component": "webhook"}
    api.put({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "w", "namespace": RELEASE, "labels": labels}})
    for rounds in (1, 2):
        await cluster.refresh_mounts()
        await eventually(lambda rounds=rounds: len(api.writes) == rounds)
    assert naps.taken == [REFRESH_DELAY_S, REFRESH_SPACING_S]


async def test_a_call_is_a_span_without_content(api: ApiServer, cluster: KubernetesCluster, tmp_path: Path) -> None:
    """It tells verb, kind, whose and how it ended; nothing of what the object holds."""
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


async def test_a_create_that_came_second_is_a_conflict(api: ApiServer, cluster: KubernetesCluster) -> None:
    """Two candidates make the same Lease: one of them is told."""
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
    """What a cluster slept."""
    return Naps()


@pytest.fixture
async def shelf(connect: Connect, naps: Naps) -> KubernetesCluster:
    """A cluster that does not really wait between two patches of a Secret, and whose time stands still."""
    return await connect(sleep=naps, clock=lambda: 100.0)


async def test_entries_written_together_share_few_patches(api: ApiServer, shelf: KubernetesCluster) -> None:
    """A thousand numbers that begin together are not a thousand rewrites of one Secret."""
    await asyncio.gather(*(shelf.write_entry(SHARED, f"{index}.json", b"x") for index in range(250)))
    stored = await shelf.secret(RELEASE, "registry")
    assert stored is not None
    assert len(stored.data) == 250
    assert stored.labels == {"waypost.dev/registry": "worker"}
    assert len(api.changes("Secret")) <= 4


async def test_an_entry_is_removed_and_the_others_stay(api: ApiServer, shelf: KubernetesCluster) -> None:
    """A number that is deleted takes its own entry only; that there is no Secret is fine."""
    await shelf.write_entry(SHARED, "nobody.json", None)
    for key in ("one.json", "two.json"):
        await shelf.write_entry(SHARED, key, b"x")
    await shelf.write_entry(SHARED, "one.json", None)
    stored = await shelf.secret(RELEASE, "registry")
    assert stored is not None
    assert stored.data == {"two.json": b"x"}


async def test_an_entry_that_was_not_written_is_told_to_all_who_wait_for_it(
    api: ApiServer, shelf: KubernetesCluster
) -> None:
    """Whoever shares a patch shares its failure, and each comes again by itself."""
    api.faults.append(Fault(lambda verb, kind, _: (verb, kind) == ("patch", "Secret"), 503, 100))
    results = await asyncio.gather(
        *(shelf.write_entry(SHARED, f"{index}.json", b"x") for index in range(5)), return_exceptions=True
    )
    assert {type(each) for each in results} == {ClusterAway}
    api.faults.clear()
    await shelf.write_entry(SHARED, "0.json", b"x")


async def test_one_who_gives_up_does_not_take_the_others_entries_along(
    api: ApiServer, shelf: KubernetesCluster
) -> None:
    """The reconcile that sends for all may be cancelled in the middle of it."""
    writes = [asyncio.create_task(shelf.write_entry(SHARED, f"{index}.json", b"x")) for index in range(5)]
    await asyncio.sleep(0)
    writes[0].cancel()
    await asyncio.gather(*writes[1:])
    stored = await shelf.secret(RELEASE, "registry")
    assert stored is not None
    assert {f"{index}.json" for index in range(1, 5)} <= set(stored.data)


async def test_what_comes_right_after_a_patch_waits_and_goes_with_what_comes_then(
    api: ApiServer, shelf: KubernetesCluster, naps: Naps
) -> None:
    """One number alone is written at once; while many come, each Secret is rewritten once a second."""
    await shelf.write_entry(SHARED, "0.json", b"x")
    assert naps.taken == []
    await asyncio.gather(*(shelf.write_entry(SHARED, f"{index}.json", b"x") for index in range(1, 6)))
    assert naps.taken == [SPACING_S]
    assert [each.verb for each in api.changes("Secret")] == ["create", "patch"]


async def test_one_who_gives_up_before_its_turn_leaves_nothing_behind(connect: Connect) -> None:
    """Its number may be deleted by the time that somebody else's entry is written."""
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


async def test_the_answer_to_a_patch_holds_no_entry(api: ApiServer, shelf: KubernetesCluster) -> None:
    """Hundreds of kB for each, which nobody reads."""
    for key in ("one.json", "two.json"):
        await shelf.write_entry(SHARED, key, b"x")
    assert [each.partial for each in api.changes("Secret") if each.verb == "patch"] == [True]
