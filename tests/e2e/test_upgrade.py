"""Tests of an upgrade under traffic, and of the removal of the release.

The upgrade took place before all tests. These tests remove the release and install it again.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tools.cluster import release
from tools.machine import REPOSITORY

from ..ledger import Ledger
from . import planned
from .installed import TEAM, Installed, run
from .upgraded import CONTACTS, settle, uninstall

pytestmark = pytest.mark.timeout(900)

KINDS = ("whatsappnumbers", "botschedules")


@dataclass(frozen=True)
class Removal:
    """The numbers and schedules before and after the removal of the release, and the CRDs that remain."""

    ledger: Ledger
    before: Mapping[str, str]
    after: Mapping[str, str]
    kinds: list[str]


@pytest.fixture(scope="module")
def removal(_release: Installed, values: dict[str, object]) -> Removal:
    """Uninstalls the release, installs it again, and returns what was observed.

    The numbers and schedules still exist when the release is uninstalled.
    """
    installed = _release
    planned.wait(installed)
    planned.delete(installed)
    installed.wait_for_deletions()
    ledger = installed.converse(CONTACTS)
    with installed.team("team-orphaned") as team:
        installed.another(team, "orphaned", 600).declare()
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
    """An upgrade under traffic loses no acknowledged message.

    The upgrade replaces every pod, including the pod of PostgreSQL. Afterwards, the number answers as before.
    """
    upgrade_ledger.assert_nothing_lost()
    # The simulated Meta is part of the release and has lost earlier replies.
    installed.converse(CONTACTS)


def test_removing_the_release_leaves_numbers_schedules_and_crds(removal: Removal) -> None:
    """The removal of the release keeps the numbers, the schedules and the CRDs.

    No pod of the release runs any more. The fixture `removal` checks that a namespace can still be deleted as the
    documentation says.
    """
    assert removal.after == removal.before
    assert {f"customresourcedefinition.apiextensions.k8s.io/{kind}.waypost.dev" for kind in KINDS} <= set(removal.kinds)


def test_a_release_that_is_installed_again_has_its_messages_and_numbers(installed: Installed, removal: Removal) -> None:
    """A release that is installed again has the same volume and the same objects, with their finalizers."""
    removal.ledger.assert_nothing_lost()
    assert _declared(installed) == {name: uid for name, uid in removal.before.items() if "team-orphaned" not in name}
    assert installed.get("whatsappnumber", "ledger", namespace=TEAM)["metadata"]["finalizers"]
    installed.converse(CONTACTS)


def _declared(installed: Installed) -> dict[str, str]:
    """Returns every number and schedule with its uid."""
    found = json.loads(run("kubectl", "get", ",".join(KINDS), "--all-namespaces", "--output=json"))["items"]
    return {
        f"{each['kind']} {each['metadata']['namespace']}/{each['metadata']['name']}": each["metadata"]["uid"]
        for each in found
    }


def _documented_command() -> str:
    """Returns the command of docs/install.md that removes finalizers when no operator runs."""
    blocks = re.findall(r"```sh\n(.*?)```", (REPOSITORY / "docs/install.md").read_text(), re.DOTALL)
    (command,) = (str(each) for each in blocks if '"finalizers":null' in each)
    return command
