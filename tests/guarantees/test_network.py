"""Nothing is lost while the network between the processes and their servers fails."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from ..ledger import Ledger
from ..shim import Shim
from ..traffic import Traffic, percentile
from .installation import Installation, Size

pytestmark = pytest.mark.timeout(900)

CONTACTS = [f"1555190{number:04}" for number in range(40)]
WEBHOOKS = ("webhook-1", "webhook-2")
PROCESSES = (*WEBHOOKS, "worker-1", "worker-2")

FAULTS: dict[str, Callable[[Shim], object]] = {
    "late": lambda shim: shim.delay(5.0),
    "half-open": Shim.stall,
    "reset": Shim.reset,
    "refused": Shim.refuse,
}
MORE_THREADS = 8
"""Threads that a process may have beyond those from before. A pile-up would add one for each delivery or wake-up."""
MORE_FILES = 30


class Wires(NamedTuple):
    """An installation and the proxies through which its processes reach Redis and PostgreSQL."""

    running: Installation
    redis: Shim
    database_of_webhooks: Shim
    database_of_workers: Shim


@pytest.fixture(scope="module")
def wired(apart: Callable[..., Installation]) -> Iterator[Wires]:
    """Yields an installation whose processes reach their servers through proxies."""
    with ExitStack() as stack:
        wires: list[Shim] = []

        def prepare(installation: Installation) -> None:
            database = installation.postgres.sockets / ".s.PGSQL.5432"
            wires.extend(stack.enter_context(Shim(to)) for to in (installation.redis.socket, database, database))
            installation.environment["WAYPOST_REDIS_URL"] = f"redis://127.0.0.1:{wires[0].port}/0"
            for service, wire in zip(("webhook", "worker"), wires[1:], strict=True):
                url = f"postgresql://postgres@127.0.0.1:{wire.port}/postgres"
                installation.environments[service] = {"WAYPOST_DATABASE_URL": url}

        running = apart(prepare=prepare)
        running.greet(CONTACTS)
        yield Wires(running, *wires)


@pytest.fixture
def wires(wired: Wires) -> Wires:
    """Returns the installation without a fault, and without waiting work."""
    for shim in wired[1:]:
        shim.heal()
    wired.running.quiesce()
    return wired


@pytest.mark.fault("S3")
@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_sick_redis_loses_nothing_and_piles_up_nothing(wires: Wires, figure: Callable[..., None], name: str) -> None:
    """Under load Redis becomes slow, silent, or resets every connection, while webhooks and workers use it.

    Every delivery is acknowledged at its first attempt, and messages are answered during the fault. Threads, open
    files and memory of each process stay bounded.
    """
    running, redis = wires.running, wires.redis
    ledger = Ledger(running)
    with Traffic(ledger, CONTACTS, per_second=25, webhooks=WEBHOOKS) as traffic:
        traffic.wait_for_more(50)
        before = {each: running.size(each) for each in PROCESSES}
        answered, healthy = len(running.sent()), len(traffic.latencies_s)
        sizes: list[tuple[str, Size]] = []
        goal = traffic.acknowledged + 200
        FAULTS[name](redis)

        def is_over() -> bool:
            if name == "reset":
                redis.reset()
            sizes.extend((each, running.size(each)) for each in PROCESSES)
            return traffic.acknowledged >= goal

        running.wait(is_over, what="200 acknowledgements during the fault")
        during = traffic.latencies_s[healthy:]
        running.wait(lambda: len(running.sent()) >= answered + 60, what="replies during the fault")
        redis.heal()
        traffic.wait_for_more(50)
    assert traffic.refused() == {}
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    for each, size in sizes:
        assert size.threads <= before[each].threads + MORE_THREADS, each
        assert size.files <= before[each].files + MORE_FILES, each
    figure("acknowledged, p99", percentile(during, 99) * 1000, "ms", aim="at most 1 s")
    figure("additional threads", max(size.threads - before[each].threads for each, size in sizes), aim="bounded")


@pytest.mark.fault("S7")
@pytest.mark.slow
def test_a_commit_whose_answer_is_lost_is_one_row(wires: Wires, figure: Callable[..., None]) -> None:
    """PostgreSQL commits a delivery, and the connection of the webhook breaks before the answer arrives.

    The webhook does not answer 200, because it does not know of the commit. Meta repeats the delivery. The event is
    stored once and answered once, and the repetition counts as a duplicate.
    """
    running, database = wires.running, wires.database_of_webhooks
    ledger = Ledger(running)
    refused = 0
    for contact in CONTACTS[:10]:
        message = ledger.message(contact)
        identity = str(message["id"])
        body = ledger.body([message])
        swallowed = database.swallowed
        database.swallow_answers_after(identity.encode())
        refused += ledger.post(body, "webhook-1") == 503
        assert database.swallowed > swallowed, "the database was not reached"
        assert identity in running.event_states(), "the answer of no commit was swallowed"
        database.heal()
        running.wait(lambda body=body: ledger.post(body, "webhook-2") == 200, what="the repetition to be acknowledged")  # type: ignore[misc]
        ledger.acknowledged.append(identity)
    assert refused == 10
    running.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
    figure("commits without an answer", database.swallowed)


@pytest.mark.fault("S7")
@pytest.mark.slow
def test_commits_of_workers_whose_answers_are_lost_have_one_effect(wires: Wires, figure: Callable[..., None]) -> None:
    """PostgreSQL commits transactions of workers under load, and the answers to some of these commits are lost.

    Each message is handled once. A reply may be `unknown` if the commit of its claim was in doubt; then it is never
    sent again.
    """
    running, database = wires.running, wires.database_of_workers
    ledger = Ledger(running)
    with Traffic(ledger, CONTACTS, per_second=20, webhooks=WEBHOOKS) as traffic:
        for _ in range(12):
            traffic.wait_for_more(10)
            goal = database.swallowed + 2
            database.swallow_answers_after(b"COMMIT")
            running.wait(lambda goal=goal: database.swallowed >= goal, what="commits without an answer")  # type: ignore[misc]
            database.heal()
    running.quiesce()
    ledger.assert_nothing_lost()
    unsettled = running.unsettled() & set(ledger.acknowledged)
    ledger.assert_replies(missing=unsettled)
    figure("commits without an answer", database.swallowed)
    figure("replies that stay unknown", len(unsettled))
