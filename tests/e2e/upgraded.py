"""The release that these tests run on: the chart before this one on empty volumes, upgraded to this one under traffic.

It is the chart that is upgraded: both run the image of now.
"""

import json
from pathlib import Path
from typing import Any

from tools.cluster import release

from .installed import NAMESPACE, QUICK, RELEASE, TEAM, Installed, run
from .traffic import Ledger, Traffic

(PREVIOUS,) = (Path(__file__).parent / "previous").glob("waypost-*.tgz")
"""The chart of the last release: `helm package` of it."""
VOLUMES = ("data-waypost-postgresql-0", "data-waypost-valkey-0")

CONTACTS = [f"1555160{number:04}" for number in range(12)]
PER_SECOND = 10


def upgrade(installed: Installed, values: dict[str, object], team: tuple[dict[str, Any], ...]) -> Ledger:
    """Bring it about; `team` are the objects of the number that is delivered to. Returns what was delivered meanwhile.

    Of a cluster that was kept the release of before goes first, with its data: the PostgreSQL of that chart does not
    start in a new pod on an old volume.
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
    """Helm deletes Deployments and does not wait for their pods, which finish what they do."""
    run("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout", "180s")
    installed.wait(lambda: not installed.standing(), what="no pod of the release to be left")


def settle(installed: Installed) -> None:
    """Until Meta, which is new, delivers to our number again, and the operator says that all is well."""
    installed.meta("PUT", "behaviour", QUICK)
    installed.reconcile("ledger", namespace=TEAM)


def _of_previous(values: dict[str, object]) -> dict[str, object]:
    """The same for the chart before, which does not know `bot.plugins`, though the image that it runs wants the list.

    This can go when the chart before is one that knows it.
    """
    listed = {"name": "WAYPOST_BOT_PLUGINS", "value": "ledger_bot:turn"}
    return {name: value for name, value in values.items() if name != "bot"} | {"extraEnv": [listed]}
