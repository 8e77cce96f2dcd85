"""The gauges show the database's counts to Prometheus and never make a scrape fail."""

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import Engine, text

from waypost.analytics.gauges import FRESH_S, InstallationGauges
from waypost.contracts.states import DailyCount
from waypost.store import tally
from waypost.store.connection import database as store_database


@pytest.fixture
def counted(database: Engine) -> Engine:
    """Returns a database with one number that received five events: one is dead, and one has waited for 100 s."""
    with database.begin() as connection:
        tally.add(
            connection, 1, {("1", DailyCount.RECEIVED): 5, ("1", DailyCount.DUPLICATE): 2, ("1", DailyCount.DONE): 1}
        )
        connection.execute(
            text("""
                INSERT INTO event
                    (number_id, kind, event_key, lane, contact_key, occurred_at, received_at, state, payload)
                VALUES ('1', 'message', 'a', 0, '', now(), now(), 'dead', 'x'),
                       ('1', 'message', 'b', 0, '', now(), now() - interval '100 s', 'waiting', 'x')
            """)
        )
    return database


def scrape(gauges: InstallationGauges) -> dict[str, float]:
    """Returns the samples that Prometheus would read."""
    registry = CollectorRegistry()
    registry.register(gauges)
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if not x.startswith("#"))}


def test_the_sum_is_exported_per_number(counted: Engine) -> None:
    """For each number, the exported metrics satisfy received = duplicate + done + dead + waiting."""
    found = scrape(InstallationGauges(counted))
    parts = [found[f'waypost_inbox_{part}{{number="1"}}'] for part in ("duplicate", "done", "dead", "waiting")]
    assert parts == [2, 1, 1, 1]
    assert found['waypost_inbox_received{number="1"}'] == sum(parts)
    assert found['waypost_inbox_balanced{number="1"}'] == 1


def test_the_age_of_the_oldest_waiting_event_is_exported(counted: Engine) -> None:
    """The age of the oldest waiting event is exported, because the autoscaling of workers uses it."""
    assert 100 <= scrape(InstallationGauges(counted))['waypost_oldest_waiting_seconds{number="1"}'] < 1000


def test_scrapes_close_together_share_one_reading(counted: Engine) -> None:
    """Scrapes close together share one query, for example those of two Prometheus servers and a person with curl."""
    now = [0.0]
    gauges = InstallationGauges(counted, clock=lambda: now[0])
    scrape(gauges)
    with counted.begin() as connection:
        tally.add(connection, 1, {("1", DailyCount.RECEIVED): 1, ("1", DailyCount.DONE): 1})
    assert scrape(gauges)['waypost_inbox_done{number="1"}'] == 1
    now[0] = FRESH_S
    assert scrape(gauges)['waypost_inbox_done{number="1"}'] == 2


def test_a_scrape_without_a_database_says_so() -> None:
    """Without a database, a scrape succeeds and `waypost_snapshot_up` is 0.

    An alert needs this series, and a failed scrape would hide all other metrics of the process.
    """
    unreachable = store_database.connect("postgresql://user@127.0.0.1:1/none", application="test")
    assert scrape(InstallationGauges(unreachable)) == {"waypost_snapshot_up": 0.0}
    unreachable.dispose()
