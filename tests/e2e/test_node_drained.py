"""Tests that take pods away while Meta delivers messages: a drain of their node, and fewer replicas."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tools.cluster import kind
from tools.machine import environment

from ..ledger import Ledger
from ..traffic import Traffic
from .installed import RELEASE, Installed, run

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow, pytest.mark.fault("K8")]

# With so many, a slow drain does not reach Meta's limit of messages to one contact, which would hold replies back.
CONTACTS = [f"1555180{number:04}" for number in range(480)]
PER_SECOND = 25
DRAINED = ("webhook", "worker")
REFUSED = "would violate the pod's disruption budget"


@contextmanager
def _draining(output: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Drains the node of webhooks and workers as an administrator does. Afterwards it takes pods again."""
    selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component in ({','.join(DRAINED)})"
    command = ("kubectl", "drain", kind.NODE, f"--pod-selector={selector}", "--delete-emptydir-data", "--timeout=600s")
    with output.open("wb") as file:
        drain = subprocess.Popen(command, stdout=file, stderr=file, env=dict(environment()))
    try:
        yield drain
    finally:
        drain.kill()
        drain.wait()
        run("kubectl", "uncordon", kind.NODE)


def test_a_drain_of_the_node_loses_nothing_and_waits_for_the_budgets(
    installed: Installed, tmp_path: Path, figure: Callable[..., None]
) -> None:
    """A drained node gives up one webhook and one worker, and the others only when replacements are ready.

    The cluster has one node. While it is drained, replacements find no node, so the disruption budgets must keep the
    last pod of each component, and the drain must wait. Every delivery gets a 200, and no message is lost.
    """
    installed.greet(CONTACTS)
    old = {component: set(installed.pods(component)) for component in DRAINED}
    output = tmp_path / "drain"
    with Traffic(Ledger(installed), CONTACTS, per_second=PER_SECOND) as traffic:
        traffic.wait_for_more(PER_SECOND)
        with _draining(output) as drain:
            for component in DRAINED:
                refused = f'pods/"{RELEASE}-{component}-'
                installed.wait(
                    lambda refused=refused: any(  # type: ignore[misc]
                        refused in line and REFUSED in line for line in output.read_text().splitlines()
                    ),
                    what=f"an eviction of a {component} to be refused",
                )
            traffic.wait_for_more(10 * PER_SECOND)
            left = {component: old[component] & set(installed.pods(component)) for component in DRAINED}
            assert {component: len(pods) for component, pods in left.items()} == dict.fromkeys(DRAINED, 1)
            assert drain.poll() is None, output.read_text()
            run("kubectl", "uncordon", kind.NODE)
            installed.wait(lambda: drain.poll() is not None, what="the drain to end", deadline_s=400)
            assert drain.returncode == 0, output.read_text()
        for component in DRAINED:
            installed.kubectl("rollout", "status", f"deployment/{RELEASE}-{component}", "--timeout=180s")
            assert not old[component] & installed.present(component)
        traffic.wait_for_more(PER_SECOND)
    figure("evictions that the budgets refused", output.read_text().count(REFUSED))
    figure("messages acknowledged during the drain", traffic.acknowledged)
    assert traffic.refused() == {}
    _assert_all_answered(installed, traffic.ledger)


def test_scaling_in_and_out_loses_nothing(installed: Installed, figure: Callable[..., None]) -> None:
    """An autoscaler that adds and removes pods again and again loses no message and breaks no delivery."""
    installed.greet(CONTACTS)
    with Traffic(Ledger(installed), CONTACTS, per_second=PER_SECOND) as traffic:
        traffic.wait_for_more(PER_SECOND)
        for replicas in (3, 1, 2):
            for component in DRAINED:
                installed.scale(component, replicas)
            traffic.wait_for_more(2 * PER_SECOND)
        installed.wait(
            lambda: all(len(installed.present(component)) == 2 for component in DRAINED), what="extra pods to be gone"
        )
        traffic.wait_for_more(PER_SECOND)
    figure("messages acknowledged while scaling", traffic.acknowledged)
    assert traffic.refused() == {}
    _assert_all_answered(installed, traffic.ledger)


def _assert_all_answered(installed: Installed, ledger: Ledger) -> None:
    installed.quiesce()
    ledger.assert_nothing_lost()
    ledger.assert_replies()
