"""The chart before this one is upgraded to this one under traffic; then the release is removed, and comes back.

It is the chart that is upgraded: both run the image of now.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from . import planned
from .installed import NAMESPACE, QUICK, RELEASE, REPOSITORY, TEAM, Installed, release, run
from .traffic import Ledger, Traffic

pytestmark = pytest.mark.timeout(900)

(PREVIOUS,) = (Path(__file__).parent / "previous").glob("waypost-*.tgz")
"""The chart of the last release: `helm package` of it."""
VOLUMES = ("data-waypost-postgresql-0", "data-waypost-valkey-0")

CONTACTS = [f"1555160{number:04}" for number in range(12)]
PER_SECOND = 10
KINDS = ("whatsappnumbers", "botschedules")


@dataclass(frozen=True)
class Removal:
    """What was there before the release was removed, and after."""

    ledger: Ledger
    before: Mapping[str, str]
    after: Mapping[str, str]
    kinds: list[str]


@pytest.fixture(scope="module")
def traffic(_release: Installed, values: dict[str, object]) -> Traffic:
    """The chart of before on empty volumes, upgraded while Meta delivers."""
    installed = _release
    planned.wait(installed)
    planned.delete(installed)
    _uninstall(installed)
    # Its PostgreSQL does not start in a new pod on an old volume.
    for volume in VOLUMES:
        installed.wipe(volume)
    release.install(_of_previous(values), chart=PREVIOUS)
    _settle(installed)
    installed.greet(CONTACTS)
    with Traffic(Ledger(installed), CONTACTS, per_second=PER_SECOND) as traffic:
        traffic.wait_for_more(PER_SECOND)
        release.install(values)
        traffic.wait_for_more(PER_SECOND)
    history = json.loads(run("helm", "history", RELEASE, "--namespace", NAMESPACE, "--output", "json"))
    assert len({each["chart"] for each in history}) == len(history) == 2
    _settle(installed)
    return traffic


@pytest.fixture(scope="module")
def removal(_release: Installed, traffic: Traffic, values: dict[str, object]) -> Removal:
    """`helm uninstall` with everything that was declared left, and the release installed again."""
    installed = _release
    ledger = installed.converse(CONTACTS)
    with installed.team("team-left") as team:
        installed.another(team, "left", 600).declare()
        before = _declared(installed)
        _uninstall(installed)
        after = _declared(installed)
        kinds = run("kubectl", "get", "customresourcedefinitions", "--output=name").splitlines()
        run("sh", "-c", _documented_command())
    release.install(values)
    _settle(installed)
    return Removal(ledger, before, after, kinds)


def test_an_upgrade_under_traffic_loses_no_acknowledged_message(installed: Installed, traffic: Traffic) -> None:
    """Though it replaces every pod, PostgreSQL's too; afterwards the number answers as before."""
    traffic.ledger.assert_nothing_lost()
    # The simulated Meta is of the release too, and has forgotten earlier replies.
    installed.converse(CONTACTS)


def test_removing_the_release_leaves_what_was_declared_and_nothing_that_runs(removal: Removal) -> None:
    """Kinds, numbers and schedules stay; and a namespace can be let go as documented, or `removal` fails."""
    assert removal.after == removal.before
    assert {f"customresourcedefinition.apiextensions.k8s.io/{kind}.waypost.dev" for kind in KINDS} <= set(removal.kinds)


def test_a_release_that_comes_back_has_its_messages_and_takes_its_numbers_up(
    installed: Installed, removal: Removal
) -> None:
    """The same volume and the same objects, which have their finalizer again."""
    removal.ledger.assert_nothing_lost()
    assert _declared(installed) == {name: uid for name, uid in removal.before.items() if "team-left" not in name}
    assert installed.get("whatsappnumber", "ledger", namespace=TEAM)["metadata"]["finalizers"]
    installed.converse(CONTACTS)


def _of_previous(values: dict[str, object]) -> dict[str, object]:
    """The same for the chart before, which does not know `bot.plugins`, though the image that it runs wants the list.

    This can go when the chart before is one that knows it.
    """
    listed = {"name": "WAYPOST_BOT_PLUGINS", "value": "ledger_bot:turn"}
    return {name: value for name, value in values.items() if name != "bot"} | {"extraEnv": [listed]}


def _uninstall(installed: Installed) -> None:
    """Helm deletes Deployments and does not wait for their pods, which finish what they do."""
    run("helm", "uninstall", RELEASE, "--namespace", NAMESPACE, "--wait", "--timeout", "180s")
    installed.wait(lambda: not installed.standing(), what="no pod of the release to be left")


def _declared(installed: Installed) -> dict[str, str]:
    """Every number and schedule, with its uid."""
    found = json.loads(run("kubectl", "get", ",".join(KINDS), "--all-namespaces", "--output=json"))["items"]
    return {
        f"{each['kind']} {each['metadata']['namespace']}/{each['metadata']['name']}": each["metadata"]["uid"]
        for each in found
    }


def _documented_command() -> str:
    """How docs/install.md lets go of what waits for an operator that is gone."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs/install.md").read_text(), re.DOTALL)
    (command,) = (each for each in blocks if '"finalizers":null' in each)
    return command


def _settle(installed: Installed) -> None:
    """Until Meta, which is new, delivers to our number again, and the operator says that all is well."""
    installed.meta("PUT", "behaviour", QUICK)
    installed.reconcile("ledger", namespace=TEAM)
