"""Tests what the operator does about bots that fail.

For the condition `BotHealthy`: what follows from the workers' reports, and how the operator gets them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import msgspec
import pytest

from waypost.contracts.bot_states import BOTS_PATH, BotState, BotStates
from waypost.contracts.condition_types import ConditionType, Reason
from waypost.contracts.registry import OnError
from waypost.dev.file_cluster import FileCluster
from waypost.operator.api.kinds import NUMBER
from waypost.operator.bots.verdict import verdict
from waypost.operator.bots.watch import REMEMBERED_S, BotWatch, worker_pods
from waypost.operator.cluster.interface import ClusterAway, Manifest
from waypost.operator.engine.object_cache import Key
from waypost.operator.number.reconcile import NumberReconciler
from waypost.telemetry import probes

from .installation import (
    FALSE,
    NAME,
    NAMESPACE,
    RELEASE,
    TRUE,
    UNKNOWN,
    Installation,
    installation,
    number,
    published,
    script,
)
from .installation import secret as credentials

pytestmark = pytest.mark.anyio
HEALTHY = ConditionType.BOT_HEALTHY


def state(name: str = NAME, **fields: Any) -> BotState:
    """Returns what a worker says about a bot that has answered at second 100, with changes."""
    values: dict[str, Any] = {"healthy": True, "reason": Reason.ANSWERS, "since": 50.0, "answered_at": 100.0}
    return BotState(namespace=NAMESPACE, name=name, **values | fields)


def failing(failures: int = 5, failed_at: float = 200.0, **fields: Any) -> BotState:
    """Returns what a worker says about a bot whose turns fail."""
    values: dict[str, Any] = {
        "healthy": False,
        "reason": Reason.TURNS_FAIL,
        "since": failed_at,
        "answered_at": None,
        "failed_at": failed_at,
        "failures": failures,
        "error": "KeyError",
        "where": "our_bot:7 in turn",
    }
    return state(**values | fields)


@pytest.mark.parametrize(
    ("states", "status", "reason"),
    [
        ([], UNKNOWN, Reason.NOT_TRIED),
        ([state()], TRUE, Reason.ANSWERS),
        ([failing()], FALSE, Reason.TURNS_FAIL),
        ([failing(healthy=None, failures=2)], UNKNOWN, Reason.NOT_TRIED),
        ([state(failed_at=150.0, failures=4)], TRUE, Reason.ANSWERS),
        # Workers share the attempts of a message.
        ([failing(healthy=None, failures=2), failing(healthy=None, failures=1)], FALSE, Reason.TURNS_FAIL),
        ([state(failed_at=150.0, failures=3), state(failed_at=151.0, failures=2)], FALSE, Reason.TURNS_FAIL),
        # The newer of an answer and a failure counts, whichever worker has seen it.
        ([failing(failed_at=90.0), state()], TRUE, Reason.ANSWERS),
        ([failing(failed_at=110.0), state()], FALSE, Reason.TURNS_FAIL),
        ([failing(failures=1, reason=Reason.PLUGIN_NOT_LOADED)], FALSE, Reason.PLUGIN_NOT_LOADED),
        ([failing(failures=1, reason=Reason.SCRIPT_REFUSED)], FALSE, Reason.SCRIPT_REFUSED),
        # A worker of a later version may know further reasons.
        ([failing(reason="Tired")], FALSE, Reason.TURNS_FAIL),
    ],
)
def test_reports_of_all_workers_make_one_verdict(states: list[BotState], status: str, reason: str) -> None:
    """A bot is unhealthy if enough turns in a row have failed since its last answer."""
    found = verdict(states, looked_at=1000.0)
    assert (found.status, found.reason) == (status, reason)


def test_the_verdict_is_the_same_whichever_worker_is_asked_first() -> None:
    """Two workers see different errors of one bot. The message must not change at each look."""
    first, second = failing(error="KeyError", failed_at=200.0), failing(error="ValueError", failed_at=201.0)
    assert verdict([first, second], 1000.0) == verdict([second, first], 1010.0)


def test_a_failing_bot_says_where_and_what_to_do() -> None:
    """The message has the error, the line and the remedy in one line, also if a hostile name contains control codes."""
    message = verdict([failing(error="Bad\n\x1b[31m")], 1000.0).message
    assert "our_bot:7 in turn" in message
    assert "waypost dead show" in message
    assert message.isprintable()


class Workers:
    """Probe ports of workers. A test sets what they report."""

    def __init__(self) -> None:
        self.states: list[BotState] = []
        self.serving: list[probes.Probes] = []
        self.is_away = False

    def start(self, **documents: Callable[[], bytes]) -> str:
        """Starts a worker and returns its address."""
        found = {f"/{path}": each for path, each in documents.items()} or {BOTS_PATH: self.document}
        self.serving.append(probes.serve(0, ready=lambda: None, host="127.0.0.1", documents=found))
        return f"http://127.0.0.1:{self.serving[-1].port}"

    def document(self) -> bytes:
        """Returns the report of each worker."""
        return msgspec.json.encode(BotStates(bots=tuple(self.states)))

    async def addresses(self) -> list[str]:
        """Lists the workers, as `worker_pods` does."""
        if self.is_away:
            raise ClusterAway("no answer")
        return [f"http://127.0.0.1:{each.port}" for each in self.serving]


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Yields workers, none of which runs yet."""
    made = Workers()
    yield made
    for each in made.serving:
        each.close()


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Returns an installation whose number has credentials and a script."""
    async with installation() as made:
        made.cluster.put(credentials())
        made.cluster.put(script())
        yield made


def watched(it: Installation, workers: Workers) -> BotWatch:
    """Makes the operator of an installation ask these workers."""
    watch = BotWatch(workers.addresses, clock=it.clock)
    it.reconciler = NumberReconciler(it.cluster, it.graph, it.options, clock=it.clock, probe=it.webhook, bots=watch)
    return watch


WITH_SCRIPT: dict[str, Any] = {"bot": {"configMapRef": {"name": "support-bot"}}}


async def test_a_failing_bot_leaves_its_number_ready(it: Installation, workers: Workers) -> None:
    """`BotHealthy` is for the people who care for the bot. The number itself works, and keeps its messages."""
    watch = watched(it, workers)
    workers.start()
    workers.states = [failing()]
    it.cluster.put(number(**WITH_SCRIPT))
    await it.settle()
    assert it.condition(HEALTHY) == ("", "")
    await watch.look()
    await it.reconcile()
    assert it.condition(HEALTHY) == (FALSE, Reason.TURNS_FAIL)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.AS_DESIRED)
    workers.states = [state(answered_at=300.0)]
    await watch.look()
    await it.reconcile()
    assert it.condition(HEALTHY) == (TRUE, Reason.ANSWERS)


async def test_looks_without_news_write_no_status_and_wake_no_number(it: Installation, workers: Workers) -> None:
    """Only the message of an unknown state contains a time, which stays the same as long as the state is unknown."""
    watch = watched(it, workers)
    workers.start()
    it.cluster.put(number(**WITH_SCRIPT))
    await it.settle()
    for states in ([], [failing()], [state(answered_at=900.0)]):
        workers.states = states
        await watch.look()
        await it.reconcile()
        before = it.cluster.get(NUMBER, NAMESPACE, NAME)
        calls = len(it.calls)
        for _ in range(3):
            it.clock.advance(5.0)
            await watch.look()
            await it.reconcile(after_s=0.0)
        assert it.cluster.get(NUMBER, NAMESPACE, NAME) == before
        assert len(it.calls) == calls


async def test_only_numbers_with_news_are_woken(it: Installation, workers: Workers) -> None:
    """A look wakes a number whose state has changed or is not in its status, and no number without a bot."""
    watch = BotWatch(workers.addresses, interval_s=0.0, clock=it.clock)
    workers.start()
    workers.states = [failing(), state("other")]
    it.cluster.put(number(**WITH_SCRIPT))
    it.cluster.put(number("other", **WITH_SCRIPT))
    it.cluster.put(number("silent"))
    woken: list[Key] = []
    looks = 0

    async def numbers() -> list[Manifest]:
        nonlocal looks
        looks += 1
        if looks == 3:
            workers.states = [failing(), failing(name="other")]
        if looks == 6:
            raise asyncio.CancelledError
        return await it.cluster.objects(NUMBER)

    with pytest.raises(asyncio.CancelledError):
        await watch.run(numbers, woken.append)
    assert sorted(woken) == [(NUMBER, NAMESPACE, "other"), (NUMBER, NAMESPACE, "other"), (NUMBER, NAMESPACE, NAME)]


async def test_a_suspended_number_says_whether_its_bot_answers(it: Installation, workers: Workers) -> None:
    """Messages of a suspended number keep flowing, so its bot may fail, too."""
    watch = watched(it, workers)
    workers.start()
    it.cluster.put(number(**WITH_SCRIPT))
    await it.settle()
    it.cluster.put(number(suspend=True, **WITH_SCRIPT))
    workers.states = [failing()]
    await watch.look()
    await it.reconcile()
    assert it.condition(HEALTHY) == (FALSE, Reason.TURNS_FAIL)
    assert it.condition(ConditionType.READY) == (TRUE, Reason.SUSPENDED)


async def test_without_a_bot_there_is_no_condition(it: Installation, workers: Workers) -> None:
    """A number that only stores messages has no bot that could fail."""
    watch = watched(it, workers)
    it.cluster.put(number())
    await watch.look()
    await it.settle()
    assert it.condition(HEALTHY) == ("", "")


async def test_a_worker_that_is_silent_for_a_moment_changes_nothing(it: Installation, workers: Workers) -> None:
    """The last answer of the worker counts for a while. Then the state is unknown, and the message has its time."""
    watch = watched(it, workers)
    workers.start()
    workers.states = [failing()]
    it.cluster.put(number(**WITH_SCRIPT))
    await watch.look()
    await it.settle()
    asked_at = it.clock.now
    await watch.look()
    workers.is_away = True
    workers.serving[0].close()
    await watch.look()
    await it.reconcile()
    assert it.condition(HEALTHY) == (FALSE, Reason.TURNS_FAIL)
    it.clock.now = asked_at + REMEMBERED_S
    await watch.look()
    await it.reconcile()
    assert it.condition(HEALTHY) == (UNKNOWN, Reason.WORKERS_NOT_ASKED)
    assert "Last answer of a worker: 20" in it.message(HEALTHY)


@pytest.mark.parametrize("document", [b"not JSON", b"[]", b'{"bots": [{"namespace": 1}]}'])
async def test_an_answer_that_cannot_be_read_is_none(it: Installation, workers: Workers, document: bytes) -> None:
    """A worker of another version, or something else at its address, is no reason to fail."""
    watch = BotWatch(workers.addresses, clock=it.clock)
    workers.start(bots=lambda: document)
    workers.start(other=lambda: b"")
    await watch.look()
    found = watch.verdict(NAMESPACE, NAME)
    assert found is not None
    assert found.reason == Reason.WORKERS_NOT_ASKED


async def test_a_restarted_operator_keeps_the_condition_until_it_has_asked(it: Installation, workers: Workers) -> None:
    """A new process has not asked yet. It must not rewrite the status of every number."""
    watch = watched(it, workers)
    workers.start()
    workers.states = [failing()]
    it.cluster.put(number(**WITH_SCRIPT))
    await watch.look()
    await it.settle()
    watched(it, workers)
    await it.reconcile(after_s=400.0)
    assert it.condition(HEALTHY) == (FALSE, Reason.TURNS_FAIL)


def _pod(name: str, ip: str = "10.0.0.1", *, phase: str = "Running", component: str = "worker") -> Manifest:
    labels = {"app.kubernetes.io/part-of": "waypost", "app.kubernetes.io/component": component}
    ports = [{"name": "probes", "containerPort": 9090}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": RELEASE, "labels": labels},
        "spec": {"containers": [{"name": "helper"}, {"name": component, "ports": ports}]},
        "podIP": ip,
        "phase": phase,
    }


async def test_running_workers_are_found_by_their_labels() -> None:
    """Pods of other components, and workers that have not started or have ended, are not asked."""
    cluster = FileCluster(release_namespace=RELEASE)
    pods = [
        _pod("a"),
        _pod("b", "fd00::1"),
        _pod("c", "", phase="Pending"),
        _pod("d", "10.0.0.4", phase="Succeeded"),
        _pod("e", "10.0.0.5", component="webhook"),
    ]
    for pod in pods:
        stored = cluster.put({key: pod[key] for key in ("apiVersion", "kind", "metadata", "spec")})
        await cluster.write_status(stored, {"podIP": pod["podIP"], "phase": pod["phase"]})
    assert await worker_pods(cluster)() == ["http://10.0.0.1:9090", "http://[fd00::1]:9090"]


async def test_what_contacts_of_a_failing_bot_get_is_published(it: Installation) -> None:
    """The workers read it from the number's entry, and a change of it reaches them."""
    it.cluster.put(number(**WITH_SCRIPT))
    await it.settle()
    (before,) = published(it.cluster)[1].values()
    on_error = {"reply": "Sorry!", "handOff": True, "handOffMinutes": 60}
    it.cluster.put(number(bot={**WITH_SCRIPT["bot"], "onError": on_error}))
    await it.settle()
    (after,) = published(it.cluster)[1].values()
    assert before.on_error is None
    assert after.on_error == OnError(reply="Sorry!", hand_off=True, hand_off_minutes=60)
