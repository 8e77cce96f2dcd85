"""X5: a program that can write to Redis makes no worker run, import, post, sleep or stop.

Each attack writes into a real Redis, as such a program can. A real worker then meets it. The test's own file, module
and web server would show that anything of it ran.
"""

import pickle
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from prometheus_client import REGISTRY
from redis import Redis
from rq import Callback, Queue, Repeat, Retry
from rq.serializers import DefaultSerializer, JSONSerializer
from rq.webhook import Webhook
from sqlalchemy import Engine
from structlog.testing import capture_logs

from waypost import redis_address
from waypost.dev.embedded import EmbeddedRedis
from waypost.lanes import foreign, job, upkeep, wake
from waypost.lanes.job_check import Refusal
from waypost.worker.lane_work import LaneWork

pytestmark = pytest.mark.fault("X5")

CONTENT = "secret-words-to-15557654321"
"""Content of the attacks, which must not reach a log."""

LANE = 7
OURS = "waypost.lanes.job.drain_lane"


@dataclass
class Attacker:
    """A program that can write to Redis, and what would show that a worker did its bidding."""

    redis: Redis
    file: Path
    module: str
    url: str
    posted: list[str]

    @property
    def queue(self) -> Queue:
        """Returns RQ's own queue, which writes whatever it is given."""
        return Queue(job.QUEUE, connection=self.redis, serializer=JSONSerializer)

    def queued(self, *, function: str = OURS, **options: Any) -> str:
        """Queues a job as RQ does, with our function unless another is given. Returns its id."""
        arguments = options.pop("arguments", (LANE,))
        options = {"job_timeout": 60, "result_ttl": 60, "failure_ttl": 3600, "description": "drain lanes", **options}
        return str(self.queue.enqueue(function, args=arguments, **options).id)

    def genuine(self, **changes: Any) -> str:
        """Queues a job of ours, with fields changed afterwards. Returns its id."""
        (made,) = job.queue(self.redis).enqueue_many([job.job_for(LANE)])
        if changes:
            self.redis.hset(made.key, mapping=dict[Any, Any](changes))
        return str(made.id)

    def callback(self) -> Callback:
        """Returns a callback in a module that leaves a file when it is imported."""
        return Callback(f"{self.module}.run")

    def effects(self) -> list[str]:
        """Returns what ran."""
        files = [str(path) for path in (self.file, self.file.with_suffix(".imported")) if path.exists()]
        return [*files, *self.posted]


@pytest.fixture
def attacker(redis_server: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Attacker]:
    """Yields a program that can write to Redis."""
    posted: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_GET = do_POST  # noqa: N815 - the server looks the method up by this name

    file = tmp_path / "ran"
    module = f"canary_{uuid4().hex}"
    (tmp_path / f"{module}.py").write_text(
        f"from pathlib import Path\nPath({str(file.with_suffix('.imported'))!r}).touch()\n"
        f"def run(*_given, **_named):\n    Path({str(file)!r}).touch()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    client = redis_server.client()
    yield Attacker(client, file, module, f"http://127.0.0.1:{server.server_port}", posted)
    server.shutdown()
    thread.join()
    server.server_close()
    client.close()
    sys.modules.pop(module, None)


Meets = Callable[..., None]


@pytest.fixture
def meets(database: Engine, redis_server: EmbeddedRedis) -> Meets:
    """Returns a function that runs a real worker until it drains a lane that is woken after the attack.

    `during` is an attack while the worker runs the job before that.
    """

    def meets(during: Callable[[], object] | None = None) -> None:
        stop = threading.Event()
        drained: list[int] = []
        attacks = [during] if during else []

        def drain(lanes: Collection[int], _woken: object) -> str:
            drained.extend(lanes)
            if attacks:
                attacks.pop()()
            elif LANE in lanes and woken.is_set():
                stop.set()
            return "emptied"

        client = wake.connect(redis_server.url)
        woken = threading.Event()

        def sweep() -> None:
            # As a sweeper does: it wakes a lane with old events again and again.
            while not stop.wait(0.2):
                wake.enqueue(client, [LANE])
                woken.set()

        sweeper = threading.Thread(target=sweep)
        sweeper.start()
        limit = threading.Timer(60, stop.set)
        limit.start()
        try:
            LaneWork(database, wake.connect(redis_server.url), redis_server.url, drain, stop).run()
        finally:
            limit.cancel()
            stop.set()
            sweeper.join()
        assert LANE in drained, "real work stopped"

    return meets


def refused() -> dict[str, float]:
    """Returns how many refusals were counted so far, by reason."""
    return {
        reason.value: REGISTRY.get_sample_value("waypost_redis_refused_total", {"reason": reason.value}) or 0.0
        for reason in Refusal
    }


class _Pickled:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def _pickled(it: Attacker) -> None:
    data = zlib.compress(pickle.dumps((OURS, _Pickled(it.file), (LANE,), {})))
    it.genuine(data=data)


def _pickled_by_rq(it: Attacker) -> None:
    Queue(job.QUEUE, connection=it.redis, serializer=DefaultSerializer).enqueue(OURS, LANE)


def _group(it: Attacker) -> None:
    it.queue.enqueue_many([job.job_for(LANE)], group_id="group")


def _bomb(it: Attacker) -> None:
    it.genuine(data=zlib.compress(bytes(400 * 1024), 9))


def _many_fields(it: Attacker) -> None:
    it.genuine(**{f"field {n}": CONTENT for n in range(50_000)})


JOBS: dict[str, tuple[Callable[[Attacker], object], Refusal]] = {
    "another function": (lambda it: it.queued(function="os.mkdir", arguments=(str(it.file),)), Refusal.JOB_FUNCTION),
    "an import": (lambda it: it.queued(function=f"{it.module}.run"), Refusal.JOB_FUNCTION),
    "success callback": (lambda it: it.queued(on_success=it.callback()), Refusal.JOB_FIELDS),
    "failure callback": (lambda it: it.queued(on_failure=it.callback(), arguments=("x",)), Refusal.JOB_FIELDS),
    "stopped callback": (lambda it: it.queued(on_stopped=it.callback()), Refusal.JOB_FIELDS),
    "webhook of a success": (
        lambda it: it.queued(webhooks=[Webhook(f"{it.url}/finished", "finished", method="POST")]),
        Refusal.JOB_FIELDS,
    ),
    "webhook of a failure": (
        lambda it: it.queued(webhooks=[Webhook(f"{it.url}/failed", "failed")], arguments=(99,)),
        Refusal.JOB_FIELDS,
    ),
    "a lane that is not there": (lambda it: it.queued(arguments=(64,)), Refusal.JOB_FUNCTION),
    "arguments of another type": (lambda it: it.queued(arguments=(CONTENT,)), Refusal.JOB_FUNCTION),
    "named arguments": (lambda it: it.queued(arguments=(), kwargs={"lane": 7}), Refusal.JOB_FUNCTION),
    "a repetition": (lambda it: it.queued(repeat=Repeat(times=1000)), Refusal.JOB_FIELDS),
    "endless retries": (lambda it: it.queued(retry=Retry(max=10**9)), Refusal.JOB_FIELDS),
    "retries later": (lambda it: it.queued(retry=Retry(max=3, interval=[60])), Refusal.JOB_FIELDS),
    "retries at the front": (lambda it: it.queued(retry=Retry(max=3, enqueue_at_front=True)), Refusal.JOB_FIELDS),
    "metadata": (lambda it: it.queued(meta={"text": CONTENT}), Refusal.JOB_FIELDS),
    "a description": (lambda it: it.queued(description=CONTENT), Refusal.JOB_FIELDS),
    "no time limit": (lambda it: it.queued(job_timeout=-1), Refusal.JOB_FIELDS),
    "a result that stays": (lambda it: it.queued(result_ttl=-1), Refusal.JOB_FIELDS),
    "a result that is run again": (lambda it: it.queued(result_ttl=0), Refusal.JOB_FIELDS),
    "a failure that stays": (lambda it: it.queued(failure_ttl=-1), Refusal.JOB_FIELDS),
    "a lifetime": (lambda it: it.queued(ttl=10**6), Refusal.JOB_FIELDS),
    "a group": (_group, Refusal.JOB_FIELDS),
    "a rate limit": (
        lambda it: it.genuine(rate_limit_key=CONTENT, rate_limit_concurrency=1),
        Refusal.JOB_FIELDS,
    ),
    "another queue": (lambda it: it.genuine(origin="other"), Refusal.JOB_FIELDS),
    "a pickle": (_pickled, Refusal.JOB_FUNCTION),
    "a job in pickle": (_pickled_by_rq, Refusal.JOB_FIELDS),
    "a method of an object": (
        lambda it: it.genuine(data=zlib.compress(msgspec.json.encode((OURS, CONTENT, [LANE], {})))),
        Refusal.JOB_FUNCTION,
    ),
    "a bomb": (_bomb, Refusal.JOB_FUNCTION),
    "a long field": (lambda it: it.genuine(worker_name=b"x" * 8 * 1024 * 1024), Refusal.JOB_SIZE),
    "many fields": (_many_fields, Refusal.JOB_FIELDS),
    "a status that is not text": (lambda it: it.genuine(status=b"\xff\xfe"), Refusal.JOB_FIELDS),
    "a status that RQ does not know": (lambda it: it.genuine(status="surprising"), Refusal.JOB_FIELDS),
    "a day that is not there": (lambda it: it.genuine(created_at="2026-02-31T00:00:00.000000Z"), Refusal.JOB_FIELDS),
    "a string in place of a job": (
        lambda it: it.redis.set(f"rq:job:{it.genuine()}", CONTENT),
        Refusal.JOB_TYPE,
    ),
    "an id that is not text": (lambda it: it.redis.rpush(job.QUEUE_KEY, b"\xff\xfe"), Refusal.JOB_ID),
    "an id that is content": (lambda it: it.redis.rpush(job.QUEUE_KEY, CONTENT), Refusal.JOB_ID),
    "an empty id": (lambda it: it.redis.rpush(job.QUEUE_KEY, b""), Refusal.JOB_ID),
    "an id of two parts": (lambda it: it.redis.rpush(job.QUEUE_KEY, f"{uuid4()}:{uuid4()}"), Refusal.JOB_ID),
}


@pytest.mark.parametrize(("attack", "reason"), JOBS.values(), ids=JOBS)
def test_a_job_that_is_not_ours_is_refused(
    attacker: Attacker, meets: Meets, caplog: pytest.LogCaptureFixture, attack: Callable[[Attacker], object],
    reason: Refusal,
) -> None:  # fmt: skip
    """Nothing of the job runs, its refusal is counted by its reason, it is gone afterwards, and real work goes on."""
    before = refused()
    attack(attacker)
    meets()
    assert attacker.effects() == []
    after = refused()
    assert {reason: n - before[reason] for reason, n in after.items() if n != before[reason]} == {reason.value: 1}
    assert foreign.inspect(attacker.redis) == {}
    assert attacker.redis.llen(foreign.POPPED_KEY) == 0
    assert CONTENT not in caplog.text


def _abandoned(it: Attacker) -> None:
    job_id = it.queued(on_failure=it.callback(), webhooks=[Webhook(f"{it.url}/failed", "failed", method="POST")])
    it.redis.lrem(job.QUEUE_KEY, 0, job_id)
    it.redis.hset(f"rq:job:{job_id}", "status", "started")
    it.redis.zadd(foreign.STARTED_KEY, {f"{job_id}:{uuid4().hex}": time.time() - 1000})


def _stuck(it: Attacker) -> None:
    job_id = it.queued(webhooks=[Webhook(f"{it.url}/failed", "failed")])
    it.redis.lmove(job.QUEUE_KEY, foreign.POPPED_KEY)
    it.redis.set(f"{foreign.POPPED_KEY}:first_seen:{job_id}", time.time() - 1000)


def _ready(it: Attacker) -> None:
    job_id = it.queued(function=f"{it.module}.run")
    it.redis.lrem(job.QUEUE_KEY, 0, job_id)
    it.redis.hset(f"rq:job:{job_id}", "status", "ready_to_enqueue")
    it.redis.zadd("rq:ready:waypost", {job_id: 1})


def _depending(it: Attacker) -> None:
    parent = it.genuine()
    child = it.queue.enqueue("os.mkdir", str(it.file), depends_on=parent)
    assert child.id


def _registries_of_garbage(it: Attacker) -> None:
    it.redis.zadd(foreign.STARTED_KEY, dict.fromkeys((b"\xff", CONTENT.encode(), b":", b""), 1))
    it.redis.rpush(foreign.POPPED_KEY, b"\xff", CONTENT, b"")
    it.redis.sadd(foreign.WORKERS_KEY, b"\xff", CONTENT)
    it.redis.sadd("rq:workers", b"\xff", CONTENT)
    it.redis.sadd("rq:groups", b"\xff", CONTENT)
    it.redis.zadd("rq:scheduled:waypost", {CONTENT: 1})
    it.redis.sadd("rq:rl-keys", b"\xff", CONTENT)


SURROUNDINGS: dict[str, Callable[[Attacker], object]] = {
    "an abandoned job": _abandoned,
    "a job that is stuck": _stuck,
    "a job that is ready": _ready,
    "a job that depends on ours": _depending,
    "garbage in all registries": _registries_of_garbage,
    "suspended workers": lambda it: it.redis.set("rq:suspended", 1),
    "a locked maintenance": lambda it: it.redis.set("rq:clean_registries:waypost", 1),
    "an id without a job": lambda it: it.redis.rpush(job.QUEUE_KEY, str(uuid4())),
    "a wake-up that is no lane": lambda it: it.redis.zadd(foreign.WOKEN_KEY, {CONTENT: 0}),
    "a wake-up that is not text": lambda it: it.redis.zadd(foreign.WOKEN_KEY, {b"\xff": 0}),
    "a wake-up of a lane that is not there": lambda it: it.redis.zadd(foreign.WOKEN_KEY, {"64": 0}),
    "many wake-ups": lambda it: it.redis.zadd(foreign.WOKEN_KEY, {f"{CONTENT}{n}": -n for n in range(20_000)}),
    **{
        f"{key} of another type": lambda it, key=key: it.redis.set(key, CONTENT)  # type: ignore[misc]
        for key in foreign.TYPES
    },
    "a hash in place of the queue": lambda it: it.redis.hset(job.QUEUE_KEY, CONTENT, CONTENT),
}


@pytest.mark.parametrize("attack", SURROUNDINGS.values(), ids=SURROUNDINGS)
def test_nothing_else_in_redis_stops_a_worker_or_runs(
    attacker: Attacker, meets: Meets, caplog: pytest.LogCaptureFixture, attack: Callable[[Attacker], object]
) -> None:
    """Whatever is in the other keys of the queue, nothing of it runs or is logged, and real work goes on."""
    attack(attacker)
    meets()
    assert attacker.effects() == []
    assert CONTENT not in caplog.text


def _put(redis: Redis, key: str, *entries: bytes) -> None:
    """Adds entries to a key of the queue, in the way that its type needs."""
    if foreign.TYPES[key] == b"list":
        redis.rpush(key, *entries)
    elif foreign.TYPES[key] == b"zset":
        redis.zadd(key, dict.fromkeys(entries, 1))
    else:
        redis.sadd(key, *entries)


READ_KEYS = (job.QUEUE_KEY, foreign.POPPED_KEY, foreign.WOKEN_KEY, foreign.STARTED_KEY, foreign.WORKERS_KEY)
"""The keys whose entries a worker reads."""


def _counted(before: dict[str, float]) -> dict[str, float]:
    return {reason: n - before[reason] for reason, n in refused().items() if n != before[reason]}


@pytest.mark.parametrize("key", foreign.TYPES)
def test_a_long_entry_is_removed_and_counted(
    attacker: Attacker, meets: Meets, caplog: pytest.LogCaptureFixture, key: str
) -> None:
    """An entry that is longer than any of ours ends no worker. If workers read its key, it is counted and removed.

    An inspection reports it before.
    """
    _put(attacker.redis, key, b"x" * (redis_address.LONGEST_STRING + 1))
    is_read = key in READ_KEYS
    assert foreign.inspect(attacker.redis) == ({Refusal.ENTRY_SIZE: 1} if is_read else {})
    before = refused()
    meets()
    assert _counted(before) == ({Refusal.ENTRY_SIZE.value: 1} if is_read else {})
    assert foreign.inspect(attacker.redis) == {}
    assert "unhandled" not in caplog.text


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (foreign.POPPED_KEY, Refusal.JOB_ID),
        (foreign.STARTED_KEY, Refusal.JOB_ID),
        (foreign.WORKERS_KEY, Refusal.WORKER),
    ],
)
def test_each_entry_that_maintenance_removes_is_counted(attacker: Attacker, key: str, reason: Refusal) -> None:
    """Maintenance counts each entry that is not ours, also among more than it reads at once. A job of ours stays."""
    ours = str(uuid4()).encode()
    _put(attacker.redis, key, *(f"{CONTENT}{n}".encode() for n in range(25)))
    attacker.redis.rpush(foreign.POPPED_KEY, ours)
    assert foreign.inspect(attacker.redis) == {reason: 25}
    before = refused()
    assert upkeep.tidy(attacker.redis, ()) == {ours}
    assert _counted(before) == {reason.value: 25}
    assert foreign.inspect(attacker.redis) == {}


def test_maintenance_reads_little_at_once(attacker: Attacker, figure: Callable[..., None]) -> None:
    """Hundreds of long entries cost a worker little memory, and it keeps none of them."""
    for key in (foreign.POPPED_KEY, foreign.STARTED_KEY, foreign.WORKERS_KEY):
        for n in range(100):
            _put(attacker.redis, key, b"%04d" % n + b"x" * (redis_address.LONGEST_STRING - 4))
    tracemalloc.start()
    try:
        popped = upkeep.tidy(attacker.redis, ())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    figure("memory of maintenance of 300 long entries", peak / 1024**2, "MiB")
    assert popped == set()
    assert peak < 8 * 1024**2


def test_a_worker_enters_itself_again_when_the_list_of_workers_was_removed(attacker: Attacker, meets: Meets) -> None:
    """A running worker is in the list of workers, also after the list was removed for its content."""
    _put(attacker.redis, foreign.WORKERS_KEY, b"x" * (redis_address.LONGEST_STRING + 1))
    listed: list[Any] = []
    meets(lambda: listed.extend(attacker.redis.smembers(foreign.WORKERS_KEY)))
    assert [name.startswith(b"rq:worker:") for name in listed] == [True]


def test_keys_of_a_worker_and_its_job_of_another_type_are_replaced(
    attacker: Attacker, meets: Meets, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker whose own keys were replaced while a job runs goes on as the same worker. Redis does not seem away."""
    workers: set[Any] = set()

    def replace() -> None:
        workers.update(attacker.redis.keys("rq:worker:*"))
        for pattern in ("rq:worker:*", "rq:executions:*", "rq:job:*"):
            keys: list[Any] = attacker.redis.keys(pattern)
            for key in keys:
                attacker.redis.set(key, CONTENT)
                if pattern == "rq:job:*":
                    attacker.redis.set(key.replace(b"rq:job:", b"rq:results:"), CONTENT)

    before = refused()
    with capture_logs() as lines:
        meets(replace)
    assert "redis is away; lanes are drained without it" not in [line["event"] for line in lines]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert _counted(before).keys() == {Refusal.KEY_TYPE.value}
    (worker,) = {name.removesuffix(b":executions") for name in workers}
    assert attacker.redis.hexists(worker, "death")


def test_a_worker_takes_no_commands_from_redis(attacker: Attacker, meets: Meets) -> None:
    """A worker listens on no channel, so no command can end it, stop its job or stop its process."""
    listening: list[Any] = []

    def watch() -> None:
        for _ in range(20):
            listening.extend(attacker.redis.pubsub_channels("*"))
            time.sleep(0.05)

    watching = threading.Thread(target=watch)
    watching.start()
    meets()
    watching.join()
    assert listening == []


def test_a_flood_of_foreign_jobs_keeps_no_lane_waiting(
    attacker: Attacker, meets: Meets, figure: Callable[..., None]
) -> None:
    """Real work goes on in front of thousands of foreign jobs, and they leave one line in the log per minute."""
    attacker.redis.rpush(job.QUEUE_KEY, *(f"{CONTENT}{n}" for n in range(20_000)))
    began = time.monotonic()
    meets()
    figure("wait of a lane behind 20,000 foreign jobs", time.monotonic() - began, "s")
    assert attacker.redis.llen(job.QUEUE_KEY) > 0


def test_an_attack_is_logged_by_its_reason_alone(attacker: Attacker, meets: Meets) -> None:
    """The log says that another program writes to this Redis, and the reason of the refusal. It quotes no job."""
    foreign._logged.clear()
    attacker.queued(description=CONTENT, meta={"text": CONTENT})
    with capture_logs() as lines:
        meets()
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert (line["event"], line["reason"]) == ("refused what another program wrote into Redis", "job-fields")
    assert CONTENT not in str(lines)
