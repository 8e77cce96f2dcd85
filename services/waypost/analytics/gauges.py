"""Exports counts of the whole installation as gauges for Prometheus. Only the console's process exports them."""

import threading
import time
from collections.abc import Callable, Iterator

import structlog
from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from waypost.contracts.states import OutboxState
from waypost.store import counts

FRESH_S = 5.0
"""Scrapes within this time (seconds) share one reading, so that scrapers cannot burden the database."""

_EVENTS = (
    ("received", "Events received since the installation began; equals duplicate + done + dead + waiting."),
    ("duplicate", "Events received that were stored before."),
    ("done", "Events handled."),
    ("dead", "Events given up; a person decides with `waypost dead replay` or `waypost dead drop`."),
    ("waiting", "Events stored and not handled yet."),
)


class InstallationGauges(Collector):
    """Reads the counts when Prometheus scrapes, and exports them as gauges.

    If the database cannot be read, only `waypost_snapshot_up 0` is exported.
    """

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._families: list[Metric] = []

    def describe(self) -> Iterator[Metric]:
        """Returns no metrics, so that registering this collector does not query the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yields the gauges. Their values are at most `FRESH_S` seconds old."""
        with self._lock:
            if self._clock() - self._read_at >= FRESH_S:
                self._families = self._read()
                self._read_at = self._clock()
            families = self._families
        yield from families

    def _read(self) -> list[Metric]:
        up = GaugeMetricFamily("waypost_snapshot_up", "1 when the counts below could be read from the database.")
        try:
            with self._engine.connect() as connection:
                events = counts.by_number(connection)
                outbox = counts.outbox_by_number(connection)
                paused = counts.paused(connection)
        except SQLAlchemyError as error:
            structlog.get_logger(__name__).warning("the counts cannot be read", error=error)
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *_event_families(events), *_outbox_families(outbox), _paused(paused)]


def _event_families(events: dict[str, counts.EventCounts]) -> Iterator[Metric]:
    for name, help_text in _EVENTS:
        family = GaugeMetricFamily(f"waypost_inbox_{name}", help_text, labels=["number"])
        for number_id, of_number in events.items():
            family.add_metric([number_id], getattr(of_number, name))
        yield family
    balanced = GaugeMetricFamily(
        "waypost_inbox_balanced", "1 when received = duplicate + done + dead + waiting.", labels=["number"]
    )
    oldest = GaugeMetricFamily(
        "waypost_oldest_waiting_seconds",
        "Age of the oldest waiting event by the database's clock, 0 when none waits; scale workers on it.",
        labels=["number"],
    )
    for number_id, of_number in events.items():
        balanced.add_metric([number_id], of_number.holds)
        oldest.add_metric([number_id], of_number.oldest_waiting_s or 0.0)
    yield balanced
    yield oldest


def _outbox_families(outbox: dict[str, counts.OutboxCounts]) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "waypost_outbox", "Messages to send, by state; sent ones are not counted here.", labels=["number", "state"]
    )
    old = GaugeMetricFamily(
        "waypost_outbox_unknown_old",
        "Sends of unknown outcome that no status webhook settled within an hour; they are never repeated blindly.",
        labels=["number"],
    )
    for number_id, of_number in outbox.items():
        for state in (OutboxState.QUEUED, OutboxState.SENDING, OutboxState.UNKNOWN, OutboxState.FAILED):
            states.add_metric([number_id, state], getattr(of_number, state))
        old.add_metric([number_id], of_number.unknown_old)
    yield states
    yield old


def _paused(paused: int) -> Metric:
    family = GaugeMetricFamily("waypost_numbers_paused", "Numbers that may not send now, after an error of Meta's.")
    family.add_metric([], paused)
    return family


def register(engine: Engine, registry: CollectorRegistry = REGISTRY) -> InstallationGauges:
    """Exports the gauges from this process. To remove them, call `registry.unregister`."""
    gauges = InstallationGauges(engine)
    registry.register(gauges)
    return gauges
