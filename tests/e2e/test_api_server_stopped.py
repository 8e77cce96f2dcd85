"""Messages are answered while the API server is stopped."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from ..ledger import Ledger
from ..traffic import Traffic
from .installed import TEAM, CommandFailed, Installed

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555160{number:04}" for number in range(24)]
AWAY_S = 60.0
MANIFESTS = "/etc/kubernetes/manifests"
STOPPED = "/etc/kubernetes/stopped"
CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
"""The test is about the first. The others are stopped too: without it they would exit, and kubelet would restart them
late."""


def is_served(installed: Installed) -> bool:
    """Returns whether the API server answers."""
    try:
        installed.kubectl("get", "--raw", "/readyz", "--request-timeout=5s")
    except CommandFailed:
        return False
    return True


def has_sent(installed: Installed, messages: int) -> bool:
    """Returns whether Meta has accepted at least that many messages for our number."""
    return len(installed.sent()) >= messages


@contextmanager
def no_control_plane(installed: Installed) -> Iterator[None]:
    """Stops the control plane. Afterwards starts it again and waits until it answers."""
    installed.node("mkdir", "-p", STOPPED)
    for program in reversed(CONTROL_PLANE):
        installed.node("mv", f"{MANIFESTS}/{program}.yaml", STOPPED)
    try:
        installed.wait(lambda: not is_served(installed), what="the API server to be gone")
        yield
    finally:
        for program in CONTROL_PLANE:
            installed.node("mv", f"{STOPPED}/{program}.yaml", MANIFESTS)
            installed.wait(lambda: is_served(installed), what="the API server to be back")


@pytest.mark.fault("K1")
def test_messages_are_answered_while_the_api_server_is_stopped_for_a_minute(installed: Installed) -> None:
    """The bot keeps sending replies during a minute without the API server.

    Afterwards the operator reconciles a number without having been restarted.
    """
    installed.greet(CONTACTS)
    (operator,) = installed.pods("operator")
    restarts = installed.restarts(operator)
    with Traffic(Ledger(installed), CONTACTS, per_second=12) as traffic:
        with no_control_plane(installed):
            deadline = time.monotonic() + AWAY_S
            while time.monotonic() < deadline:
                answered = len(installed.sent())
                traffic.wait_for_more(12)
                installed.wait(partial(has_sent, installed, answered + 6), what="replies")
        traffic.wait_for_more(12)
    assert traffic.refused() == {}
    installed.quiesce()
    traffic.ledger.assert_nothing_lost()
    traffic.ledger.assert_replies()

    installed.reconcile("ledger", namespace=TEAM)
    assert installed.restarts(operator) == restarts
