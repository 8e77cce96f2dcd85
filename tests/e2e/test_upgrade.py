"""The release was upgraded under traffic before all tests; here it is removed, and comes back."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tools.cluster import release
from tools.machine import REPOSITORY

from . import planned
from .installed import TEAM, Installed, run
from .traffic import Ledger
from .upgraded import CONTACTS, settle, uninstall

pytestmark = pytest.mark.timeout(900)

KINDS = ("whatsappnumbers", "botschedules")


@dataclass(frozen=True)
class Removal:
    """What was there before the release was removed, and after."""

    ledger: Ledger
    before: Mapping[str, str]
    after: Mapping[str, str]
    kinds: list[str]


@pytest.fixture(scope="module")
def removal(_release: Installed, values: dict[str, object]) -> Removal:
    """`helm uninstall` with everything that was declared left, and the release installed again."""
    installed = _release
    planned.wait(installed)
    planned.delete(installed)
    installed.wait_for_deletions()
    ledger = installed.converse(CONTACTS)
    with installed.team("team-left") as team:
        installed.another(team, "left", 600).declare()
        before = _declared(installed)
        uninstall(installed)
        after = _declared(installed)
        kinds = run("kubectl", "get", "customresourcedefinitions", "--output=name").splitlines()
        run("sh", "-c", _documented_command())
    installed.wait_for_deletions()
    release.install(values)
    settle(installed)
    return Removal(ledger, before, after, kinds)


def test_an_upgrade_under_traffic_loses_no_acknowledged_message(installed: Installed, upgrade_ledger: Ledger) -> None:
    """Though it replaces every pod, PostgreSQL's too; afterwards the number answers as before."""
    upgrade_ledger.assert_nothing_lost()
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
