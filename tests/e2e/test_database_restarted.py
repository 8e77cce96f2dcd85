"""PostgreSQL goes away and comes back while messages flow."""

from collections.abc import Callable

import pytest

from .installed import Installed
from .traffic import Ledger, Traffic

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555170{number:04}" for number in range(24)]
DATABASE = "waypost-postgresql-0"


def kill(installed: Installed) -> None:
    """What it had in memory is gone."""
    installed.kill(DATABASE)


def restart(installed: Installed) -> None:
    """In good order, in a new pod."""
    installed.kubectl("delete", "pod", DATABASE)


@pytest.mark.parametrize("end", [kill, restart])
def test_a_database_that_is_ended_costs_no_acknowledged_message(
    installed: Installed, end: Callable[[Installed], None]
) -> None:
    """Meanwhile deliveries get 503 and come again; what had got a 200 is there and is answered."""
    installed.greet(CONTACTS)
    with Traffic(Ledger(installed), CONTACTS, per_second=12) as traffic:
        traffic.wait_for_more(12)
        end(installed)
        installed.kubectl("rollout", "status", "statefulset/waypost-postgresql", "--timeout=180s")
        traffic.wait_for_more(24)
    statuses = [status for seen in traffic.refused().values() for status in seen]
    assert 503 in statuses, "nobody delivered while the database was away"
    assert set(statuses) <= {503, None}
    installed.quiesce()
    traffic.ledger.assert_nothing_lost()
    traffic.ledger.assert_replies(missing=installed.unsettled())
