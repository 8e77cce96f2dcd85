"""Meta's rate limits, which all pods share. One atomic script in Redis counts the messages.

The senders can work without Redis. After an error or a time-out this process limits itself to a safe share of
each limit. From then on, sending does not ask Redis. `heartbeat` finds out when Redis is back.

Keys contain Meta's phone number ids and our conversation ids, never a phone number.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
import structlog
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from waypost import redis_address
from waypost.sending.gcra import SECOND, Answer, LimitResult, State, Terms
from waypost.telemetry import metrics

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 0.5
TIMEOUT_S = 1.0
"""Longest time that a hung Redis delays a message. Only one message is delayed; then Redis is not asked any more."""

PREFIX = "waypost:rate:"
SENDERS = "waypost:senders"
_SENDER_GONE_S = 30.0
_ASSUMED_SENDERS = 4
"""Number of processes assumed to share a limit if Redis has never counted them; most installations run fewer."""
_MAX_PAIRS = 10_000

_SCRIPT = (Path(__file__).parent / "gcra.lua").read_text()


class BusyLimit(StrEnum):
    """The limit that makes a row wait."""

    NUMBER = "number"
    PAIR = "pair"


@dataclass(frozen=True, slots=True)
class RateRequest:
    """One row that is ready to be sent."""

    number_id: str
    per_second: float
    conversation_id: int
    bulk: bool


@dataclass(frozen=True, slots=True)
class RateDecision:
    """A decision about one row.

    If `busy` is None, the row may be sent after `wait_s` seconds. Otherwise ask again after `wait_s` seconds.
    """

    wait_s: float
    busy: BusyLimit | None = None


_BUSY = {LimitResult.GO: None, LimitResult.NUMBER_BUSY: BusyLimit.NUMBER, LimitResult.PAIR_BUSY: BusyLimit.PAIR}


class RateLimits:
    """Asks the limits of all numbers for one process. The class is thread-safe. A call takes about a second at most.

    `clock` (in Unix seconds) is for tests. It replaces the clock of Redis, which all pods share.
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
        """Whether Redis is away. While it is away, this process limits itself to its share of each limit."""
        return self._away

    def take(self, requests: Sequence[RateRequest]) -> list[RateDecision]:
        """Decides about rows in the given order. A row that may be sent is counted at once.

        The order matters only among rows of the same number.
        """
        numbers: dict[str, list[int]] = {}
        for position, request in enumerate(requests):
            numbers.setdefault(request.number_id, []).append(position)
        groups = [[requests[position] for position in positions] for positions in numbers.values()]
        in_redis = self._in_redis([_take(group) for group in groups])
        decisions: list[RateDecision] = [RateDecision(0.0)] * len(requests)
        for index, positions in enumerate(numbers.values()):
            answers = self._local_take(groups[index]) if in_redis is None else _answers(in_redis[index])
            for position, answer in zip(positions, answers, strict=True):
                decisions[position] = _decision(answer)
        return decisions

    def charge(self, number_id: str, per_second: float, count: int) -> None:
        """Counts incoming messages, even if the number's limit is used up.

        Incoming messages use the same limit as sent messages (source: Meta, "Throughput").
        """
        if self._in_redis([_Call(number_id, "charge", Terms.of(per_second), arguments=(count,))]) is None:
            with self._lock:
                self._state(number_id).charge(self._share(per_second), count, self._now())

    def slow_down(self, number_id: str, per_second: float) -> None:
        """Halves the rate of a number after Meta said "too fast" (130429, 80007). The rate recovers within a minute."""
        with self._lock:
            self._state(number_id).slow(self._now())  # in case Redis goes away right now
        self._in_redis([_Call(number_id, "slow", Terms.of(per_second))])

    def heartbeat(self) -> None:
        """Registers this sender in Redis, counts the other senders, and finds out whether Redis is back."""
        if self._client is None:
            return
        now = time.time()
        try:
            with self._client.pipeline(transaction=False) as pipe:
                pipe.zadd(SENDERS, {self._owner: now})
                pipe.zremrangebyscore(SENDERS, 0, now - _SENDER_GONE_S)
                pipe.zcard(SENDERS)
                pipe.expire(SENDERS, int(_SENDER_GONE_S * 2))  # the key disappears after the last sender
                self._senders = max(1, int(pipe.execute()[2]))
        except RedisError as error:
            self._lost(error)
        else:
            if self._away:
                log.info("redis is back; rate limits are shared again", senders=self._senders)
            self._away = False
            metrics.rate_limit_fallback.set(0)

    def leave(self) -> None:
        """Removes this sender from Redis, so that the other senders can use its share of the limits."""
        if self._client is not None and not self._away:
            try:
                self._client.zrem(SENDERS, self._owner)
            except RedisError as error:
                self._lost(error)

    def close(self) -> None:
        """Closes the connections to Redis."""
        if self._client is not None:
            self._client.close()

    def _in_redis(self, calls: "Sequence[_Call]") -> list[list[int]] | None:
        """Returns the script's answers, or None if Redis cannot be asked."""
        if self._away or self._client is None or not calls:
            return None
        now = 0 if self._clock is None else self._now()
        try:
            if not self._sha:
                self._sha = str(self._client.script_load(_SCRIPT))
            answers = self._pipelined(calls, now)
            if any(isinstance(answer, NoScriptError) for answer in answers):
                # Redis was restarted or flushed. A call without its script has done nothing, so it is repeated.
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
                "redis is away; this process limits itself to its share of the rate limits",
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
        if len(state.pairs) > _MAX_PAIRS:
            state.forget_idle_pairs(self._now())
        return state

    def _local_take(self, requests: Sequence[RateRequest]) -> list[Answer]:
        with self._lock:
            return self._state(requests[0].number_id).take(
                self._share(requests[0].per_second),
                [(request.conversation_id, request.bulk) for request in requests],
                self._now(),
            )


class _Call:
    """One call of the script that checks the limits. The time of the call is added when the call is made."""

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


def _take(requests: Sequence[RateRequest]) -> _Call:
    return _Call(
        requests[0].number_id,
        "take",
        Terms.of(requests[0].per_second),
        conversations=[request.conversation_id for request in requests],
        arguments=[int(request.bulk) for request in requests],
    )


def _answers(flat: Sequence[int]) -> list[Answer]:
    return [Answer(LimitResult(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2)]


def _decision(answer: Answer) -> RateDecision:
    busy = _BUSY[answer.result]
    if busy is not None:
        metrics.rate_limit_wait_seconds.labels(busy).observe(answer.wait / SECOND)
    return RateDecision(answer.wait / SECOND, busy)
