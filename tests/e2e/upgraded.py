"""The release on which these tests run.

The previous chart is installed on empty volumes, and is then upgraded under traffic. Only the chart is
upgraded. Both releases run today's image.
"""

import json
from pathlib import Path
from typing import Any

from tools.cluster import release

from ..ledger import Ledger
from ..traffic import Traffic
from .installed import NAMESPACE, QUICK, RELEASE, TEAM, Installed, run

(PREVIOUS,) = (Path(__file__).parent / "previous").glob("waypost-*.tgz")
"""The last release's chart, packaged by `helm package`."""
VOLUMES = ("data-waypost-postgresql-0", "data-waypost-valkey-0")

CONTACTS = [f"1555160{number:04}" for number in range(12)]
PER_SECOND = 10


def upgrade(installed: Installed, values: dict[str, object], team: tuple[dict[str, Any], ...]) -> Ledger:
    """Installs the previous chart, upgrades it under traffic, and returns the ledger of the delivered messages.

    `team` holds the objects of the number that gets the deliveries. A release from an earlier test run is removed
    first, with its data, because the previous chart's PostgreSQL does not start in a new pod on an old volume.
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
    """Removes the release and waits until all its pods have ended.

    Pods first finish their work, but helm does not wait for this.
    """
    run("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout", "180s")
    installed.wait(lambda: not installed.standing(), what="all pods of the release to be gone")


def settle(installed: Installed) -> None:
    """Sets up the new simulated Meta, and reconciles our number so that it is ready and gets deliveries."""
    installed.meta("PUT", "behaviour", QUICK)
    installed.reconcile("ledger", namespace=TEAM)


def _of_previous(values: dict[str, object]) -> dict[str, object]:
    """Returns the values for the previous chart. That chart lacks `bot.plugins`, but today's image needs the list.

    This function can be removed when the previous chart has `bot.plugins`.
    """
    listed = {"name": "WAYPOST_BOT_PLUGINS", "value": "ledger_bot:turn"}
    return {name: value for name, value in values.items() if name != "bot"} | {"extraEnv": [listed]}
