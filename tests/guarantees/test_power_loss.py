"""Nothing acknowledged is lost when PostgreSQL and Redis lose power: what was not synced to disk is gone."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from ..ledger import Ledger
from ..traffic import Traffic
from .installation import Installation
from .power import PoweredPostgres

pytestmark = pytest.mark.timeout(900)

CONTACTS = [f"1555195{number:04}" for number in range(40)]
WEBHOOKS = ("webhook-1", "webhook-2")


@pytest.fixture(scope="module")
def powered(apart: Callable[..., Installation], short_folder: Path) -> tuple[Installation, PoweredPostgres]:
    """Returns an installation whose PostgreSQL can lose power."""
    server = PoweredPostgres(short_folder / "power")
    running = apart(postgres=server)
    running.greet(CONTACTS)
    return running, server


@pytest.mark.fault("P7")
@pytest.mark.slow
def test_a_power_loss_of_the_servers_loses_nothing(
    powered: tuple[Installation, PoweredPostgres], figure: Callable[..., None]
) -> None:
    """PostgreSQL and Redis lose power four times under load, and start again.

    PostgreSQL loses all writes that it had not synced, or a random part of them. Redis loses all of its data. Every
    acknowledged message is there and is handled once. A reply may be `unknown` if its call was under way.
    """
    running, server = powered
    running.quiesce()
    ledger, chance = Ledger(running), random.Random(7)
    lost = 0
    with Traffic(ledger, CONTACTS, per_second=20, webhooks=WEBHOOKS) as traffic:
        for number in range(4):
            traffic.wait_for_more(chance.randrange(20, 40))
            lost += server.cut(keep=chance if number % 2 else None)
            running.redis.kill()
            for path in running.redis.folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            running.redis.start()
            server.start()
    running.quiesce()
    unsettled = running.unsettled() & set(ledger.acknowledged)
    ledger.assert_nothing_lost()
    ledger.assert_replies(missing=unsettled)
    assert lost > 0, "the power loss took nothing"
    figure("power losses", 4)
    figure("lost in files of PostgreSQL", lost / 1024, "KiB")
    figure("replies that stay unknown", len(unsettled))


@pytest.mark.fault("P7")
@pytest.mark.slow
def test_the_injected_power_loss_takes_commits_that_are_not_synced(
    powered: tuple[Installation, PoweredPostgres],
) -> None:
    """With `synchronous_commit = off` the same power loss takes commits. So the test above would notice a loss."""
    running, server = powered
    running.quiesce()
    with running.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ALTER SYSTEM SET wal_writer_delay = '10s'"))
        connection.execute(text("SELECT pg_reload_conf()"))
        connection.execute(text("CREATE TABLE probe (id int)"))
    with running.engine.begin() as connection:
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        connection.execute(text("INSERT INTO probe SELECT generate_series(1, 10)"))
    server.cut()
    server.start()
    running.engine.dispose()
    with running.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM probe")).scalar_one() < 10
    running.quiesce()
