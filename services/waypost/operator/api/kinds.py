"""The kinds that the operator reads and writes, and their paths in the Kubernetes API."""

from dataclasses import dataclass
from urllib.parse import quote

from waypost.operator.api.number_models import GROUP, VERSION

NUMBER = "WhatsAppNumber"
SCHEDULE = "BotSchedule"
OURS = (NUMBER, SCHEDULE)


@dataclass(frozen=True)
class Kind:
    """A resource of the API. All of them are namespaced except `NAMESPACE` itself."""

    name: str
    group: str
    version: str
    plural: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` of objects of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def collection(self) -> str:
        """Path of all objects of the kind, in all namespaces."""
        return f"{self._root}/{self.plural}"

    def within(self, namespace: str) -> str:
        """Returns the path of all objects of the kind in one namespace."""
        return f"{self._root}/namespaces/{quote(namespace, safe='')}/{self.plural}"

    def at(self, namespace: str, name: str) -> str:
        """Returns the path of one object of the kind."""
        return f"{self.within(namespace)}/{quote(name, safe='')}"

    def named(self, name: str) -> str:
        """Returns the path of an object of a kind that is not namespaced."""
        return f"{self.collection}/{quote(name, safe='')}"

    @property
    def _root(self) -> str:
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"


KINDS = {
    kind.name: kind
    for kind in (
        Kind(NUMBER, GROUP, VERSION, "whatsappnumbers"),
        Kind(SCHEDULE, GROUP, VERSION, "botschedules"),
        Kind("CronJob", "batch", "v1", "cronjobs"),
        Kind("Job", "batch", "v1", "jobs"),
        Kind("Secret", "", "v1", "secrets"),
        Kind("ConfigMap", "", "v1", "configmaps"),
        Kind("Pod", "", "v1", "pods"),
        Kind("Event", "", "v1", "events"),
        Kind("Lease", "coordination.k8s.io", "v1", "leases"),
    )
}
"""All kinds by name."""

NAMESPACE = Kind("Namespace", "", "v1", "namespaces")
