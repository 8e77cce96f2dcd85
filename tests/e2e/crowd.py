"""A thousand numbers and a thousand schedules that are created at once, to test how the operator handles them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from kubernetes import client, config

from benchmarks.operator_scale_fleet import Fleet
from tools.machine import KUBECONFIG

from ..untyped import untyped
from . import planned
from .installed import NAMESPACE, Installed, run

COUNT = 1000
READY_WITHIN_S = 600
"""This limit is generous, since the machine may be busy: the tests report the duration and do not judge it."""
SETTLE_S = 5
API = ("waypost.dev", "v1alpha1")
PLURALS = ("whatsappnumbers", "botschedules")
AT_ONCE = 16


class Crowd:
    """A thousand numbers and a thousand schedules.

    The Kubernetes client creates them, because kubectl would pause between them.
    """

    def __init__(self, installed: Installed, api: client.ApiClient) -> None:
        self.installed = installed
        self.fleet = Fleet(COUNT, COUNT)
        self.objects, self.core, self.batch = (
            client.CustomObjectsApi(api),
            client.CoreV1Api(api),
            client.BatchV1Api(api),
        )
        (self.operator,) = installed.pods("operator")
        """Name of the operator's pod."""
        self.created_s = self.ready_s = 0.0
        self._watched_since = 0.0
        self._watched: dict[str, str] = {}

    def arrive(self) -> None:
        """Creates all objects, and waits until they are ready and the last writes are over.

        Changes are counted from then on.
        """
        began = time.monotonic()
        self._create()
        self.created_s = time.monotonic() - began
        self.installed.wait(self.are_ready, deadline_s=READY_WITHIN_S, what="all numbers and schedules to be ready")
        self.ready_s = time.monotonic() - began
        self._watch()
        self.installed.wait(self._is_settled, what="the last writes to be over")

    def watched_s(self) -> float:
        """Returns for how many seconds changes have been counted."""
        return time.monotonic() - self._watched_since

    def changes(self) -> int:
        """Returns how many objects were changed, created or deleted since the counting of changes began."""
        before, after = self._watched, self._versions()
        return sum(after.get(uid) != before.get(uid) for uid in after.keys() | before.keys())

    def megabytes(self) -> float:
        """Returns the peak memory of the operator's process in MB."""
        status = self.installed.kubectl("exec", self.operator, "--", "cat", "/proc/1/status")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def are_ready(self) -> bool:
        """Returns whether all objects are ready.

        The last number and schedule are read first, because listing all objects loads the API server.
        """
        last, team = COUNT - 1, self.fleet.team(COUNT - 1)
        return (
            self.installed.is_ready(f"number-{last}", namespace=team)
            and self.installed.is_ready(f"schedule-{last}", namespace=team, kind_="botschedule")
            and all(sum(map(_is_ready, self._listed(plural))) == COUNT for plural in PLURALS)
        )

    def _watch(self) -> None:
        self._watched, self._watched_since = self._versions(), time.monotonic()

    def _is_settled(self) -> bool:
        """Returns whether nothing was written for `SETTLE_S`. A write restarts that time."""
        if self.watched_s() < SETTLE_S:
            return False
        if self.changes() == 0:
            return True
        self._watch()
        return False

    def _create(self) -> None:
        """Creates all objects except the namespaces, several at a time."""
        fleet = self.fleet
        self._each(lambda index: self.core.create_namespaced_secret(fleet.team(index), untyped(fleet.secret(index))))
        for plural, body in zip(PLURALS, (fleet.number, fleet.schedule), strict=True):
            self._each(partial(self._create_one, plural, body))

    def _create_one(self, plural: str, body: Callable[[int], dict[str, Any]], index: int) -> None:
        self.objects.create_namespaced_custom_object(*API, self.fleet.team(index), plural, body(index))

    @staticmethod
    def _each(make: Callable[[int], object]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(make, range(COUNT)):
                pass

    def _listed(self, plural: str) -> list[dict[str, Any]]:
        """Returns the objects in our namespaces."""
        found = untyped(self.objects.list_cluster_custom_object(*API, plural))["items"]
        return [each for each in found if each["metadata"]["namespace"] in self.fleet.teams]

    def _versions(self) -> dict[str, str]:
        """Returns the resource version of each object that the operator writes, by uid. Leases are left out."""
        secrets = self.core.list_namespaced_secret(NAMESPACE).items
        jobs = self.batch.list_namespaced_cron_job(NAMESPACE).items
        events = [each for team in self.fleet.teams for each in self.core.list_namespaced_event(team).items]
        listed: list[Any] = [*secrets, *jobs, *events]
        found = {each.metadata.uid: each.metadata.resource_version for each in listed}
        ours = [each["metadata"] for plural in PLURALS for each in self._listed(plural)]
        return found | {str(each["uid"]): str(each["resourceVersion"]) for each in ours}


@contextmanager
def gathered(installed: Installed) -> Iterator[Crowd]:
    """Waits for the end of the planned runs, and then creates the crowd.

    The crowd has its own namespaces and its own accounts at Meta. Afterwards, the crowd is deleted. The function
    does not wait for this deletion, because no later test needs the names.
    """
    planned.wait(installed)
    with untyped(config).new_client_from_config(str(KUBECONFIG)) as api:
        api.configuration.connection_pool_maxsize = AT_ONCE
        made = Crowd(installed, api)
        installed.meta("PUT", "world", made.fleet.world())
        names = made.fleet.teams
        installed.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names))
        try:
            made.arrive()
            yield made
        finally:
            run("kubectl", "delete", "namespaces", *names, "--wait=false")


def _is_ready(manifest: dict[str, Any]) -> bool:
    conditions = manifest.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
