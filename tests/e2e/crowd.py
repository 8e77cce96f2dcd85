"""A thousand numbers and a thousand schedules applied at once, and what the operator makes of them."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from kubernetes import client, config

from benchmarks.operator_scale_fleet import Fleet
from tools.machine import KUBECONFIG

from . import planned
from .installed import NAMESPACE, Installed, run

COUNT = 1000
READY_WITHIN_S = 600
"""Generous: how long it took is told, not judged, for the machine may be busy."""
SETTLE_S = 5
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
        (self.operator,) = installed.pods("operator")
        """The pod that all of it is asked of."""
        self.created_s = self.ready_s = 0.0
        self._watched_since = 0.0
        self._watched: dict[str, str] = {}

    def come(self) -> None:
        """Create everything, wait until all of it is ready and the last writes are over; from then on it is watched."""
        began = time.monotonic()
        self._create()
        self.created_s = time.monotonic() - began
        self.installed.wait(self.are_ready, deadline_s=READY_WITHIN_S, what="all numbers and schedules to be ready")
        self.ready_s = time.monotonic() - began
        self._watch()
        self.installed.wait(self._is_settled, what="the last writes to be over")

    def watched_s(self) -> float:
        """For how long it has been watched."""
        return time.monotonic() - self._watched_since

    def changes(self) -> int:
        """How many objects are other ones, new or gone since then."""
        before, after = self._watched, self._versions()
        return sum(after.get(uid) != before.get(uid) for uid in after.keys() | before.keys())

    def megabytes(self) -> float:
        """The most memory that the operator's process had until now."""
        status = self.installed.kubectl("exec", self.operator, "--", "cat", "/proc/1/status")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024

    def are_ready(self) -> bool:
        """Looks at the last ones first: listing all of them again and again would keep the API server busy."""
        last, team = COUNT - 1, self.fleet.team(COUNT - 1)
        return (
            self.installed.is_ready(f"number-{last}", namespace=team)
            and self.installed.is_ready(f"schedule-{last}", namespace=team, kind_="botschedule")
            and all(sum(map(_is_ready, self._listed(plural))) == COUNT for plural in PLURALS)
        )

    def _watch(self) -> None:
        self._watched, self._watched_since = self._versions(), time.monotonic()

    def _is_settled(self) -> bool:
        """Nothing was written for a while; if something was, the while begins again."""
        if self.watched_s() < SETTLE_S:
            return False
        if self.changes() == 0:
            return True
        self._watch()
        return False

    def _create(self) -> None:
        """Everything but the namespaces, several at a time."""
        fleet = self.fleet
        self._each(lambda index: self.core.create_namespaced_secret(fleet.team(index), fleet.secret(index)))
        for plural, body in zip(PLURALS, (fleet.number, fleet.schedule), strict=True):
            self._each(
                lambda index, plural=plural, body=body: self.objects.create_namespaced_custom_object(
                    *API, fleet.team(index), plural, body(index)
                )
            )

    @staticmethod
    def _each(make: Callable[[int], object]) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(make, range(COUNT)):
                pass

    def _listed(self, plural: str) -> list[dict[str, Any]]:
        """Those of our namespaces."""
        found = self.objects.list_cluster_custom_object(*API, plural)["items"]
        return [each for each in found if each["metadata"]["namespace"] in self.fleet.teams]

    def _versions(self) -> dict[str, str]:
        """Resource versions of everything that the operator writes, but for its proofs of life."""
        secrets = self.core.list_namespaced_secret(NAMESPACE).items
        jobs = self.batch.list_namespaced_cron_job(NAMESPACE).items
        events = [each for team in self.fleet.teams for each in self.core.list_namespaced_event(team).items]
        found = {each.metadata.uid: each.metadata.resource_version for each in (*secrets, *jobs, *events)}
        listed = [each["metadata"] for plural in PLURALS for each in self._listed(plural)]
        return found | {str(each["uid"]): str(each["resourceVersion"]) for each in listed}


@contextmanager
def gathered(installed: Installed) -> Iterator[Crowd]:
    """They are there, in namespaces of their own, with their accounts at Meta. What is planned has ended before.

    All is deleted and not waited for: nobody comes after this, and the operator has its time to clear up.
    """
    planned.wait(installed)
    with config.new_client_from_config(str(KUBECONFIG)) as api:
        api.configuration.connection_pool_maxsize = AT_ONCE
        made = Crowd(installed, api)
        installed.meta("PUT", "world", made.fleet.world())
        names = made.fleet.teams
        installed.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in names))
        try:
            made.come()
            yield made
        finally:
            run("kubectl", "delete", "namespaces", *names, "--wait=false")


def _is_ready(manifest: dict[str, Any]) -> bool:
    conditions = manifest.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
