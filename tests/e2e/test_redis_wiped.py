"""Tests of the loss of all data in Redis."""

import pytest

from ..ledger import Ledger
from ..traffic import Traffic
from .installed import Installed

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555130{number:04}" for number in range(24)]
SERVER = "statefulset/waypost-valkey"


@pytest.mark.fault("S2")
def test_redis_that_restarts_with_an_empty_volume_loses_no_message(installed: Installed) -> None:
    """Each message is answered once, while Redis is stopped and after it starts again with an empty volume."""
    installed.greet(CONTACTS)
    with Traffic(Ledger(installed), CONTACTS, per_second=12) as traffic:
        traffic.wait_for_more(12)
        installed.kubectl("scale", SERVER, "--replicas=0")
        installed.kubectl("wait", "--for=delete", "pod/waypost-valkey-0", "--timeout=180s")
        installed.wipe("data-waypost-valkey-0")
        answered = len(installed.sent())
        traffic.wait_for_more(24)
        installed.wait(lambda: len(installed.sent()) >= answered + 12, what="replies without Redis")
        installed.kubectl("scale", SERVER, "--replicas=1")
        installed.kubectl("rollout", "status", SERVER, "--timeout=180s")
        traffic.wait_for_more(24)
    installed.quiesce()
    traffic.ledger.assert_nothing_lost()
    traffic.ledger.assert_replies()
