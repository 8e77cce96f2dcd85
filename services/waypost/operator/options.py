"""What a platform team decides for all numbers and schedules; no custom resource can change it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from waypost.allowed_plugins import AllowedPlugins


@dataclass(frozen=True)
class JobOptions:
    """How the pods of a schedule's runs are made."""

    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "50m", "memory": "96Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "192Mi"})
    deadline_s: int = 900
    """A run that takes longer is ended; the next tick or pod goes on where it stopped."""
    backoff_limit: int = 3
    history_successful: int = 2
    history_failed: int = 3
    ttl_s: int = 86_400
    """Finished Jobs are removed after a day: long enough to read their logs."""
    environment: tuple[Mapping[str, Any], ...] = ()
    """`env` of the container, in Kubernetes' own form: where database and settings come from."""
    environment_from: tuple[Mapping[str, Any], ...] = ()
    """`envFrom`, likewise."""
    volumes: tuple[Mapping[str, Any], ...] = ()
    volume_mounts: tuple[Mapping[str, Any], ...] = ()
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    image_pull_secrets: tuple[str, ...] = ()
    priority_class: str = ""


@dataclass(frozen=True)
class OperatorOptions:
    """Of one operator."""

    release_namespace: str
    """Where the data plane runs, and with it the registry's Secrets and the Jobs of schedules."""
    public_url: str
    """Where Meta reaches the webhook; every callback address starts with it."""
    webhook_probe_url: str | None = None
    """Where the operator reaches the webhook, to see that it serves a callback before Meta is told of it. None: it is
    not asked, and Meta's own refusal (2200) is waited out."""
    image: str = ""
    """Of a schedule's Jobs. Set apart from the operator's own, so that its upgrade changes no CronJob."""
    service_account: str = "waypost-job"
    """Of a schedule's Jobs; it needs no permissions, and its token is not mounted."""
    namespaces: tuple[str, ...] | None = None
    """Watched namespaces; None: all."""
    plugins: AllowedPlugins = field(default_factory=AllowedPlugins)
    """Bots in Python that the workers import; a number that asks for another is told so."""
    resync_s: float = 300
    """Drift at Meta is looked for this often, unless the budget of the account asks for less."""
    graph_calls_per_hour: int = 200
    """Management calls per WhatsApp Business account and hour: Meta's limit for a new account; 5,000 once active."""
    route_poll_s: float = 2.0
    """The webhook is asked this often whether it serves a new callback; Meta is not."""
    registry_shards: int = 4
    """Secrets per audience: the entries of all numbers share them, and a Secret holds 1 MiB."""
    finalize_deadline_s: float = 600
    """After this long a deletion no longer waits for Meta: an object that cannot go is worse than a leftover there."""
    job: JobOptions = field(default_factory=JobOptions)
