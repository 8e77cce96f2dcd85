"""The network between the operator and the API server goes silent: nothing arrives, and no connection is closed.

A real kopf operator watches an API server in memory through a proxy that forgets its open connections.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waypost.operator.api.kinds import NUMBER, SCHEDULE
from waypost.operator.cluster import connection
from waypost.operator.cluster.api_calls import KubernetesCalls
from waypost.operator.cluster.connection import TIMEOUTS, Timeouts
from waypost.operator.cluster.interface import ClusterAway
from waypost.operator.cluster.kubernetes import KubernetesCluster
from waypost.operator.engine.handlers import settings
from waypost.operator.engine.object_cache import ObjectCache

from ..shim import Shim, Target
from .apiserver import ApiServer
from .running import RELEASE, TEAM, Fleet, Notes, config_map, cron_job, number, schedule, secret, settled, until

pytestmark = pytest.mark.fault("K3")

PROMISE_S = 75.0
"""Longest time until a change is seen that was made while a stream was silent."""
QUICK = Timeouts(connect_s=2.0, request_s=2.0, silence_s=2.0)
"""Timeouts for tests. With those of the product, each test would take more than a minute."""
WATCHED = (NUMBER, SCHEDULE, "Secret", "ConfigMap", "CronJob")
"""Every kind of which the operator has a stream. It reads all other kinds when it needs them."""


@pytest.fixture
def wire(api: ApiServer, shim: Callable[[Target], Shim]) -> Shim:
    """Returns a proxy to the API server, which sends bookmarks often enough to keep streams of these tests open."""
    api.bookmark_s = QUICK.silence_s / 8
    return shim(("127.0.0.1", int(api.url.rpartition(":")[2])))


@pytest.fixture
def fleet(api: ApiServer, wire: Shim, tmp_path: Path) -> Iterator[Fleet]:
    """Yields a fleet of operators that reach the API server through the proxy."""
    made = Fleet(api, api.kubeconfig(tmp_path, f"http://127.0.0.1:{wire.port}"))
    yield made
    made.close()


def _ready(api: ApiServer, fleet: Fleet, **how: Any) -> Notes:
    """Starts an operator with a number and a schedule, and waits until both are reconciled and nothing goes on."""
    api.put(secret("support-meta"))
    api.put(config_map("support-bot"))
    api.put(number())
    api.put(schedule())
    api.put(cron_job("child", "news"))
    notes = fleet.start(timeouts=QUICK, **how)
    until(lambda: notes.reconciled["support"] and notes.reconciled["news"], "both objects are reconciled")
    settled(notes.reconciled.total)
    return notes


CHANGES: dict[str, tuple[str, Callable[[ApiServer], object]]] = {
    NUMBER: ("support", lambda api: api.put(number(suspend=True))),
    SCHEDULE: ("news", lambda api: api.put(schedule(number_name="other"))),
    "Secret": ("support", lambda api: api.put(secret("support-meta", value="two"))),
    "ConfigMap": ("support", lambda api: api.put(config_map("support-bot", text="version: 2"))),
    "CronJob": ("news", lambda api: api.delete("CronJob", RELEASE, "child")),
}


@pytest.mark.parametrize(
    "kind", [NUMBER, *(pytest.param(each, marks=pytest.mark.slow) for each in WATCHED if each != NUMBER)]
)
def test_a_change_during_a_silence_is_seen_after_its_deadline(
    api: ApiServer, fleet: Fleet, wire: Shim, kind: str, figure: Callable[..., None]
) -> None:
    """A change that a silent stream did not deliver reconciles its object once the stream is opened again."""
    notes = _ready(api, fleet)
    name, change = CHANGES[kind]
    before, opened = notes.reconciled[name], api.opened[kind]
    wire.forget()
    change(api)
    began = time.monotonic()
    until(lambda: notes.reconciled[name] > before, "the change is seen")
    # Here requests may meet silent connections too. In the product those that are idle for 15 s are closed by then.
    aim = f"silence of {QUICK.silence_s:.0f} s and requests of {QUICK.request_s:.0f} s in this test"
    figure("seen after", round(time.monotonic() - began, 1), "s", aim=aim)
    assert api.opened[kind] > opened


def test_a_stream_with_bookmarks_alone_stays_open(api: ApiServer, fleet: Fleet) -> None:
    """A stream on which nothing but bookmarks arrives is not silent, so it is not opened again and again."""
    _ready(api, fleet)
    opened = dict(api.opened)
    settled(lambda: dict(api.opened), for_s=2 * QUICK.silence_s)
    assert dict(api.opened) == opened


def test_the_operator_has_no_other_streams(api: ApiServer, fleet: Fleet) -> None:
    """The operator opens one stream for each of these kinds. kopf has none of its own, for peering or for CRDs."""
    _ready(api, fleet)
    assert set(api.opened) == set(WATCHED)


def test_the_deadlines_of_the_product_keep_the_promise() -> None:
    """With the product's deadlines, a change is seen within 75 s: the silence, the pause, and the opening."""
    chosen = settings(TIMEOUTS)
    assert chosen.watching.inactivity_timeout + chosen.watching.reconnect_backoff < PROMISE_S
    # The API server sends a bookmark each minute. A shorter deadline would open quiet streams again and again.
    assert chosen.watching.inactivity_timeout > 60


@pytest.mark.anyio
async def test_a_request_without_an_answer_ends(api: ApiServer, wire: Shim, tmp_path: Path) -> None:
    """A request that gets no answer ends by its deadline, both on a new connection and on one that was kept open."""
    kubeconfig = api.kubeconfig(tmp_path, f"http://127.0.0.1:{wire.port}")
    calls = KubernetesCalls(await connection.client(kubeconfig), timeouts=Timeouts(connect_s=0.5, request_s=0.5))
    cluster = KubernetesCluster(calls, ObjectCache(), release_namespace=RELEASE)
    api.put(number())
    try:
        assert await cluster.read(NUMBER, TEAM, "support")
        wire.forget()
        with pytest.raises(ClusterAway, match="no answer"):
            await cluster.read(NUMBER, TEAM, "support")
        assert await cluster.read(NUMBER, TEAM, "support"), "the next request uses a new connection"
        wire.stall()
        with pytest.raises(ClusterAway, match="no answer"):
            await cluster.read(NUMBER, TEAM, "support")
    finally:
        await cluster.close()


@pytest.mark.slow
def test_a_leader_whose_requests_hang_ends_and_another_takes_over(api: ApiServer, fleet: Fleet, wire: Shim) -> None:
    """A leader that cannot renew its Lease ends before the Lease is over, and the other operator then leads.

    There is no stream of the Lease: leaders and standbys read it.
    """
    first = fleet.begin(replicas=2, identity="one", timeouts=QUICK)
    until(lambda: fleet.not_ready() is None and api.watching("ConfigMap"), "the first operator leads and works")
    wire.stall()
    until(first.lease_lost.is_set, "the leader notices that its requests hang")
    until(lambda: isinstance(fleet.take_error(), BaseExceptionGroup), "the leader ends")
    wire.heal()
    second = fleet.begin(replicas=2, identity="two", timeouts=QUICK)
    api.put(number())
    until(lambda: second.reconciled["support"], "the second operator leads")
