"""Meta's rate limits over all pods: counted in Redis by one atomic script, or, while Redis is away, by a safe share.

Redis is expendable: an error or a time-out makes this process keep to its share of each limit by itself, at once and
without asking Redis again on the way of a message; `heartbeat` finds out when it is back.

Keys carry Meta's phone number ids and our conversation ids, never a phone number.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from waypost import redis_address
from waypost.sending.gcra import SECOND, Answer, Outcome, State, Terms
from waypost.telemetry import metrics

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 0.5
TIMEOUT_S = 1.0
"""The longest that a hung Redis holds up a message, once; from then on it is not asked."""

PREFIX = "waypost:rate:"
SENDERS = "waypost:senders"
_SENDER_GONE_S = 30.0
_ASSUMED_SENDERS = 4
"""Processes that share a limit when Redis was never there to count them; more than most installations run."""
_PAIRS_KEPT = 10_000

_SCRIPT = (Path(__file__).parent / "gcra.lua").read_text()


@dataclass(frozen=True, slots=True)
class Wish:
    """One row that would go out now."""

    number_id: str
    per_second: float
    conversation_id: int
    bulk: bool


@dataclass(frozen=True, slots=True)
class Grant:
    """It may go after `wait_s`, or (`busy` names number or pair) it should ask again after them."""

    wait_s: float
    busy: str | None = None


class RateLimits:
    """The limits of all numbers, as one process asks for them. Thread-safe; every call is bounded to about a second.

    `clock` (unix seconds) is for tests: it replaces the clock of Redis, which all pods share.
    """

    def __init__(self, redis_url: str, *, owner: str | None = None, clock: Callable[[], float] | None = None) -> None:
        self._client: redis.Redis | None = None
        if redis_url:
            self._client = redis_address.connect(
                redis_url,
                socket_connect_timeout=CONNECT_TIMEOUT_S,
                socket_timeout=TIMEOUT_S,
                retry=Retry(NoBackoff(), 0),
                health_check_interval=0,
            )
        self._owner = owner or uuid4().hex
        self._clock = clock
        self._away = self._client is None
        self._senders = _ASSUMED_SENDERS
        self._lock = threading.Lock()
        self._local: dict[str, State] = {}
        self._sha = ""
        metrics.rate_limit_fallback.set(float(self._away))

    @property
    def away(self) -> bool:
        """Whether this process keeps to its share by itself."""
        return self._away

    def take(self, wishes: Sequence[Wish]) -> list[Grant]:
        """Ask for messages in this order, which matters within a number; a grant is used up by being given."""
        numbers: dict[str, list[int]] = {}
        for position, wish in enumerate(wishes):
            numbers.setdefault(wish.number_id, []).append(position)
        asked = [[wishes[position] for position in positions] for positions in numbers.values()]
        answers = self._in_redis([_take(group) for group in asked])
        grants: list[Grant] = [Grant(0.0)] * len(wishes)
        for index, positions in enumerate(numbers.values()):
            told = self._local_take(asked[index]) if answers is None else _answers(answers[index])
            for position, answer in zip(positions, told, strict=True):
                grants[position] = _grant(answer)
        return grants

    def charge(self, number_id: str, per_second: float, count: int) -> None:
        """Count incoming messages, which use the number's limit too (Meta, Throughput). Never waits for the limit."""
        if self._in_redis([_Call(number_id, "charge", Terms.of(per_second), arguments=(count,))]) is None:
            with self._lock:
                self._state(number_id).charge(self._share(per_second), count, self._now())

    def slow_down(self, number_id: str, per_second: float) -> None:
        """Meta said the number goes too fast (130429, 80007): halve its rate; it recovers within a minute."""
        with self._lock:
            self._state(number_id).slow(self._now())  # so that an outage of Redis right now does not forget it
        self._in_redis([_Call(number_id, "slow", Terms.of(per_second))])

    def heartbeat(self) -> None:
        """Tell Redis that this sender lives, count the others, and find out whether Redis is back."""
        if self._client is None:
            return
        now = time.time()
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.zadd(SENDERS, {self._owner: now})
                pipe.zremrangebyscore(SENDERS, 0, now - _SENDER_GONE_S)
                pipe.zcard(SENDERS)
                pipe.expire(SENDERS, int(_SENDER_GONE_S * 2))
                self._senders = max(1, int(pipe.execute()[2]))
        except RedisError as error:
            self._lost(error)
        else:
            if self._away:
                log.info("redis is back; rate limits are shared again", senders=self._senders)
            self._away = False
            metrics.rate_limit_fallback.set(0)

    def leave(self) -> None:
        """This sender ends: its share is free for the others."""
        if self._client is not None and not self._away:
            try:
                self._client.zrem(SENDERS, self._owner)
            except RedisError as error:
                self._lost(error)

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()

    def _in_redis(self, calls: "Sequence[_Call]") -> list[list[int]] | None:
        """The script's answers, or None where Redis cannot be asked."""
        if self._away or self._client is None or not calls:
            return None
        now = 0 if self._clock is None else self._now()
        try:
            if not self._sha:
                self._sha = str(self._client.script_load(_SCRIPT))
            answers = self._pipelined(calls, now)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                # Redis was restarted or flushed; nothing of a call without its script has been done.
                self._sha = str(self._client.script_load(_SCRIPT))
                missing = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
                for index, answer in zip(missing, self._pipelined([calls[i] for i in missing], now), strict=True):
                    answers[index] = answer
            for answer in answers:
                if isinstance(answer, RedisError):
                    raise answer
        except RedisError as error:
            self._lost(error)
            return None
        return answers

    def _pipelined(self, calls: "Sequence[_Call]", now: int) -> list[Any]:
        assert self._client is not None
        with self._client.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.evalsha(self._sha, len(call.keys), *call.keys, now, *call.values)
            return list(pipe.execute(raise_on_error=False))

    def _lost(self, error: RedisError) -> None:
        if not self._away:
            log.warning(
                "redis is away; this process keeps to its share of the rate limits",
                error=type(error).__name__,
                senders=self._senders,
            )
        self._away = True
        metrics.rate_limit_fallback.set(1)

    def _now(self) -> int:
        return int((self._clock or time.time)() * SECOND)

    def _share(self, per_second: float) -> Terms:
        return Terms.of(per_second, share=1 / self._senders)

    def _state(self, number_id: str) -> State:
        state = self._local.setdefault(number_id, State())
        if len(state.pairs) > _PAIRS_KEPT:
            state.forget_idle_pairs(self._now())
        return state

    def _local_take(self, wishes: Sequence[Wish]) -> list[Answer]:
        with self._lock:
            return self._state(wishes[0].number_id).take(
                self._share(wishes[0].per_second),
                [(wish.conversation_id, wish.bulk) for wish in wishes],
                self._now(),
            )


class _Call:
    """One run of the script, less the clock."""

    def __init__(
        self,
        number_id: str,
        action: str,
        terms: Terms,
        *,
        conversations: Sequence[int] = (),
        arguments: Sequence[int] = (),
    ) -> None:
        # The braces keep all keys of a number on one node of a cluster.
        number = f"{PREFIX}{{{number_id}}}"
        self.keys = [number, *(f"{number}:{conversation}" for conversation in conversations)]
        self.values: list[str | int] = [
            action,
            terms.interval,
            terms.tolerance,
            terms.reply_horizon,
            terms.bulk_horizon,
            terms.pair_interval,
            terms.pair_tolerance,
            *arguments,
        ]


def _take(wishes: Sequence[Wish]) -> _Call:
    return _Call(
        wishes[0].number_id,
        "take",
        Terms.of(wishes[0].per_second),
        conversations=[wish.conversation_id for wish in wishes],
        arguments=[int(wish.bulk) for wish in wishes],
    )


def _answers(flat: Sequence[int]) -> list[Answer]:
    return [Answer(Outcome(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2)]


def _grant(answer: Answer) -> Grant:
    busy = {Outcome.GO: None, Outcome.NUMBER_BUSY: "number", Outcome.PAIR_BUSY: "pair"}[answer.outcome]
    if busy is not None:
        metrics.rate_limit_wait_seconds.labels(busy).observe(answer.wait / SECOND)
    return Grant(answer.wait / SECOND, busy)
