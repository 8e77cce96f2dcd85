"""Tests that stop PostgreSQL and start it again while messages flow."""

from collections.abc import Callable

import pytest

from ..ledger import Ledger
from ..traffic import Traffic
from .installed import Installed

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555170{number:04}" for number in range(24)]
DATABASE = "waypost-postgresql-0"
SERVER = "statefulset/waypost-postgresql"


def kill(installed: Installed, _traffic: Traffic) -> None:
    """Kills PostgreSQL, which loses its memory. PostgreSQL may run again before the next delivery."""
    restarts = installed.restarts(DATABASE)
    installed.kill(DATABASE)
    installed.wait(lambda: installed.restarts(DATABASE) > restarts, what="PostgreSQL to be started again")


def replace(installed: Installed, traffic: Traffic) -> None:
    """Replaces PostgreSQL's pod in an orderly way. The new pod starts after at least one delivery got a 503."""
    installed.kubectl("scale", SERVER, "--replicas=0")
    installed.wait(lambda: traffic.count(503), what="a delivery to get 503")
    installed.kubectl("wait", "--for=delete", f"pod/{DATABASE}", "--timeout=180s")
    installed.kubectl("scale", SERVER, "--replicas=1")


@pytest.mark.fault("S6")
@pytest.mark.parametrize("end", [kill, replace])
def test_a_database_restart_loses_no_acknowledged_message(
    installed: Installed, end: Callable[[Installed, Traffic], None]
) -> None:
    """During a database restart, deliveries that get a 503 are repeated.

    Every message that got a 200 is stored and answered.
    """
    installed.greet(CONTACTS)
    with Traffic(Ledger(installed), CONTACTS, per_second=12) as traffic:
        traffic.wait_for_more(12)
        end(installed, traffic)
        installed.kubectl("rollout", "status", SERVER, "--timeout=180s")
        traffic.wait_for_more(24)
    statuses = [status for seen in traffic.refused().values() for status in seen]
    assert set(statuses) <= {503, None}
    installed.quiesce()
    traffic.ledger.assert_nothing_lost()
    traffic.ledger.assert_replies(missing=installed.unsettled())
