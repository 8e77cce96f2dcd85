"""The release that these tests run on: the previous chart on empty volumes, upgraded to this chart under traffic.

Only the chart is upgraded: both releases run today's image.
"""

import json
from pathlib import Path
from typing import Any

from tools.cluster import release

from ..ledger import Ledger
from .installed import NAMESPACE, QUICK, RELEASE, TEAM, Installed, run
from .traffic import Traffic

(PREVIOUS,) = (Path(__file__).parent / "previous").glob("waypost-*.tgz")
"""The last release's chart, packaged by `helm package`."""
VOLUMES = ("data-waypost-postgresql-0", "data-waypost-valkey-0")

CONTACTS = [f"1555160{number:04}" for number in range(12)]
PER_SECOND = 10


def upgrade(installed: Installed, values: dict[str, object], team: tuple[dict[str, Any], ...]) -> Ledger:
    """Install the previous chart, upgrade it under traffic, and return the ledger of what was delivered.

    `team` are the objects of the number that is delivered to. A release that an earlier test run left in the cluster
    is removed first, with its data: the previous chart's PostgreSQL does not start in a new pod on an old volume.
    """
    uninstall(installed)
    there = {each["metadata"]["name"] for each in installed.get("persistentvolumeclaims")}
    for volume in there.intersection(VOLUMES):
        installed.wipe(volume)
    release.install(_of_previous(values), chart=PREVIOUS)
    installed.wait_for_deletions()
    installed.apply(*team)
    settle(installed)
    installed.greet(CONTACTS)
    with Traffic(Ledger(installed), CONTACTS, per_second=PER_SECOND) as traffic:
        traffic.wait_for_more(PER_SECOND)
        release.install(values)
        traffic.wait_for_more(PER_SECOND)
    history = json.loads(run("helm", "history", RELEASE, "--namespace", NAMESPACE, "--output", "json"))
    assert len({each["chart"] for each in history}) == len(history) == 2
    settle(installed)
    return traffic.ledger


def uninstall(installed: Installed) -> None:
    """Remove the release and wait for its pods: helm does not wait for them, and they finish their work."""
    run("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout", "180s")
    installed.wait(lambda: not installed.standing(), what="all pods of the release to be gone")


def settle(installed: Installed) -> None:
    """Set up the new simulated Meta, and reconcile so that it delivers to our number and the number is ready."""
    installed.meta("PUT", "behaviour", QUICK)
    installed.reconcile("ledger", namespace=TEAM)


def _of_previous(values: dict[str, object]) -> dict[str, object]:
    """Return the values for the previous chart, which lacks `bot.plugins`, though today's image needs the list.

    This can go when the previous chart is one that has `bot.plugins`.
    """
    listed = {"name": "WAYPOST_BOT_PLUGINS", "value": "ledger_bot:turn"}
    return {name: value for name, value in values.items() if name != "bot"} | {"extraEnv": [listed]}
