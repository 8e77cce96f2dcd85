"""Tests that delete numbers while no operator runs."""

from urllib.parse import urlsplit

import pytest

from .installed import Installed

pytestmark = pytest.mark.timeout(600)

CONTACTS = [f"1555130{number:04}" for number in range(4)]
KINDS = "whatsappnumbers.waypost.dev"


@pytest.mark.fault("K6")
def test_numbers_deleted_without_an_operator_are_removed_when_it_returns_and_others_keep_answering(
    installed: Installed,
) -> None:
    """Numbers that are deleted while no operator runs are kept by their finalizer until an operator runs again.

    The same is true for a namespace that is deleted with its number. Other numbers keep answering. When the operator
    runs again, it cleans up at Meta as each number's `deletionPolicy` says.
    """
    with installed.team("team-away") as team, installed.team("team-gone") as gone:
        leaving = installed.another(team, "leaving", 300)
        staying = installed.another(team, "staying", 301)
        lost = installed.another(gone, "lost", 302)
        for number, policy in ((leaving, "Delete"), (staying, "Orphan"), (lost, "Orphan")):
            number.declare(deletionPolicy=policy)
        assert {_callback(leaving), _callback(staying)} <= _callbacks(installed)
        installed.scale("operator", 0)
        try:
            installed.kubectl("delete", KINDS, "--all", "--wait=false", namespace=team)
            installed.kubectl("delete", "namespace", gone, "--wait=false")
            installed.converse(CONTACTS)
            assert _names(installed, team) == {"leaving", "staying"}
            assert _names(installed, gone) == {"lost"}
        finally:
            installed.scale("operator", 1)
        installed.wait(lambda: not _names(installed, team), what="both numbers to be gone")
        installed.wait_for_deletions()
        assert _callback(leaving) not in _callbacks(installed)
        assert _callback(staying) in _callbacks(installed)
        installed.wait(
            lambda: _published(leaving) | _published(staying) == {None}, what="webhook and workers to lose both entries"
        )


def _names(installed: Installed, team: str) -> set[str]:
    return {each["metadata"]["name"] for each in installed.get(KINDS, namespace=team)}


def _callback(number: Installed) -> str:
    return f"/webhooks/{number.identity.namespace}/{number.identity.name}"


def _callbacks(installed: Installed) -> set[str]:
    """Returns the paths of all callbacks that Meta would deliver to."""
    return {urlsplit(each["callback_url"]).path for each in installed.meta("GET", "subscriptions")}


def _published(number: Installed) -> set[object]:
    return {None if each is None else "there" for each in (*number.published("webhook"), *number.published("worker"))}
