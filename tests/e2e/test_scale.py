"""A thousand numbers and a thousand schedules, applied at once to the operator that runs."""

import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from kubernetes import client, config

from . import planned
from .installed import NAMESPACE, REPOSITORY, Installed, machine, run

sys.path.append(str(REPOSITORY))

from benchmarks.operator_scale_fleet import Fleet

pytestmark = pytest.mark.timeout(1800)

COUNT = 1000
READY_WITHIN_S = 600
"""Generous: how long it took is told, not judged, for the machine may be busy."""
MOST_MEGABYTES = 200
SETTLE_S, QUIET_S = 5, 60
API = ("waypost.dev", "v1alpha1")
PLURALS = ("whatsappnumbers", "botschedules")
AT_ONCE = 16


class Crowd:
    """All those objects, through the API server's own client: kubectl would wait between them."""

    def __init__(self, installed: Installed, api: client.ApiClient) -> None:
        self.installed = installed
        self.fleet = Fleet(COUNT, COUNT)
        self.objects, self.core, self.batch = (
            client.CustomObjectsApi(api),
            client.CoreV1Api(api),
            client.BatchV1Api(api),
        )

    def create(self) -> None:
        """Everything but the namespaces, several at a time."""
        fleet = self.fleet
        self.each(lambda index: self.core.create_namespaced_secret(fleet.team(index), fleet.secret(index)))
        for plural, body in zip(PLURALS, (fleet.number, fleet.schedule), strict=True):
            self.each(
                lambda index, plural=plural, body=body: self.objects.create_namespaced_custom_object(
                    *API, fleet.team(index), plural, body(index)
                )
            )

    @staticmethod
    def each(make: Callable[[int], object]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(make, range(COUNT)):
                pass

    def listed(self, plural: str) -> list[dict[str, Any]]:
        """Those of our namespaces."""
        found = self.objects.list_cluster_custom_object(*API, plural)["items"]
        return [each for each in found if each["metadata"]["namespace"] in self.fleet.teams]

    def are_ready(self) -> bool:
        """Looks at the last ones first: listing all of them again and again would keep the API server busy."""
        last, team = COUNT - 1, self.fleet.team(COUNT - 1)
        return (
            self.installed.is_ready(f"number-{last}", namespace=team)
            and self.installed.is_ready(f"schedule-{last}", namespace=team, kind_="botschedule")
            and all(sum(map(_is_ready, self.listed(plural))) == COUNT for plural in PLURALS)
        )

    def versions(self) -> dict[str, str]:
        """Resource versions of everything that the operator writes, but for its proofs of life."""
        secrets = self.core.list_namespaced_secret(NAMESPACE).items
        jobs = self.batch.list_namespaced_cron_job(NAMESPACE).items
        events = [each for team in self.fleet.teams for each in self.core.list_namespaced_event(team).items]
        found = {each.metadata.uid: each.metadata.resource_version for each in (*secrets, *jobs, *events)}
        listed = [each["metadata"] for plural in PLURALS for each in self.listed(plural)]
        return found | {str(each["uid"]): str(each["resourceVersion"]) for each in listed}

    def changes_in(self, seconds: float) -> int:
        """How many objects are other ones after that time."""
        before, end = self.versions(), time.monotonic() + seconds
        self.installed.wait(lambda: time.monotonic() > end)
        after = self.versions()
        return sum(after.get(uid) != before.get(uid) for uid in after.keys() | before.keys())


@pytest.fixture
def crowd(installed: Installed) -> Iterator[Crowd]:
    """The namespaces, and the accounts at Meta. What is planned has ended, for the sake of quiet.

    All is deleted and not waited for: nobody comes after this, and the operator has its time to clear up.
    """
    planned.wait(installed)
    with config.new_client_from_config(str(machine.KUBECONFIG)) as api:
        api.configuration.connection_pool_maxsize = AT_ONCE
        made = Crowd(installed, api)
        installed.meta("PUT", "world", made.fleet.world())
        names = made.fleet.teams
        installed.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names))
        try:
            yield made
        finally:
            run("kubectl", "delete", "namespaces", *names, "--wait=false")


def test_a_thousand_numbers_and_schedules_are_ready_and_then_nothing_is_written(
    crowd: Crowd, capsys: pytest.CaptureFixture[str]
) -> None:
    """With at most 200 MB of memory, no restart, and no write in a minute in which nothing happens."""
    installed = crowd.installed
    (operator,) = installed.pods("operator")
    began = time.monotonic()
    crowd.create()
    created_s = time.monotonic() - began
    installed.wait(crowd.are_ready, deadline_s=READY_WITHIN_S, what="all numbers and schedules to be ready")
    ready_s = time.monotonic() - began
    installed.wait(lambda: crowd.changes_in(SETTLE_S) == 0, what="the last writes to be over")
    writes = crowd.changes_in(QUIET_S)
    status = installed.kubectl("exec", operator, "--", "cat", "/proc/1/status")
    megabytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
    figures = (
        f"{COUNT} numbers and {COUNT} schedules created in {created_s:.0f} s, ready after {ready_s:.0f} s; "
        f"operator at most {megabytes:.0f} MB; {writes} writes in {QUIET_S} quiet seconds"
    )
    with capsys.disabled():
        sys.stdout.write(f"\nfigures: {figures}\n")
    assert writes == 0
    assert megabytes <= MOST_MEGABYTES
    assert installed.pods("operator") == [operator]
    (container,) = installed.get("pod", operator)["status"]["containerStatuses"]
    assert container["restartCount"] == 0


def _is_ready(manifest: dict[str, Any]) -> bool:
    conditions = manifest.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
