"""PostgreSQL goes away and comes back while messages flow."""

from collections.abc import Callable

import pytest

from .installed import Installed
from .traffic import Ledger, Traffic

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555170{number:04}" for number in range(24)]
DATABASE = "waypost-postgresql-0"
SERVER = "statefulset/waypost-postgresql"


def kill(installed: Installed, _traffic: Traffic) -> None:
    """What it had in memory is gone. It may be back before anybody delivers."""
    restarts = installed.restarts(DATABASE)
    installed.kill(DATABASE)
    installed.wait(lambda: installed.restarts(DATABASE) > restarts, what="PostgreSQL to be started again")


def replace(installed: Installed, traffic: Traffic) -> None:
    """In good order, by a new pod, after somebody was told to come again."""
    installed.kubectl("scale", SERVER, "--replicas=0")
    installed.wait(lambda: traffic.count(503), what="a delivery to get 503")
    installed.kubectl("wait", "--for=delete", f"pod/{DATABASE}", "--timeout=180s")
    installed.kubectl("scale", SERVER, "--replicas=1")


@pytest.mark.parametrize("end", [kill, replace])
def test_a_database_that_is_ended_costs_no_acknowledged_message(
    installed: Installed, end: Callable[[Installed, Traffic], None]
) -> None:
    """Meanwhile deliveries get 503 and come again; what had got a 200 is there and is answered."""
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
