"""Options that the platform team sets for all numbers and schedules. No custom resource can change them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from waypost.allowed_plugins import AllowedPlugins


@dataclass(frozen=True)
class JobOptions:
    """Options of the pods in which schedules run."""

    requests: Mapping[str, str] = field(default_factory=lambda: {"cpu": "50m", "memory": "96Mi"})
    limits: Mapping[str, str] = field(default_factory=lambda: {"memory": "192Mi"})
    deadline_s: int = 900
    """Seconds after which a run is ended; the next pod continues where it stopped."""
    backoff_limit: int = 3
    history_successful: int = 2
    history_failed: int = 3
    ttl_s: int = 86_400
    """Finished Jobs are removed after a day: long enough to read their logs."""
    environment: tuple[Mapping[str, Any], ...] = ()
    """`env` of the container, in Kubernetes' own form; the source of database address and settings."""
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
    """Options of one operator."""

    release_namespace: str
    """Namespace of the data plane, the registry's Secrets and the Jobs of schedules."""
    public_url: str
    """Address at which Meta reaches the webhook; every callback address starts with it."""
    webhook_probe_url: str | None = None
    """Address at which the operator reaches the webhook. It checks there that a callback is served before it registers
    the callback at Meta. None: it does not check, and retries after Meta's own refusal (2200)."""
    image: str = ""
    """Image of schedules' Jobs. It is set apart from the operator's, whose upgrade then changes no CronJob."""
    service_account: str = "waypost-job"
    """Service account of schedules' Jobs. It needs no permissions, and its token is not mounted."""
    namespaces: tuple[str, ...] | None = None
    """Watched namespaces; None: all."""
    plugins: AllowedPlugins = field(default_factory=AllowedPlugins)
    """Bots in Python that the workers import. A number that asks for another one gets a condition."""
    resync_s: float = 300
    """Seconds between looks for drift at Meta; longer where the account's budget demands it."""
    graph_calls_per_hour: int = 200
    """Management calls per WhatsApp Business account and hour: Meta's limit for a new account; 5,000 once active."""
    route_poll_s: float = 2.0
    """Seconds between checks whether the webhook serves a new callback. Meta is not asked."""
    registry_shards: int = 4
    """Secrets per audience: the entries of all numbers share them, and a Secret holds 1 MiB."""
    finalize_deadline_s: float = 600
    """Seconds after which a deletion no longer waits for Meta: a leftover there is better than an object that cannot
    be deleted."""
    job: JobOptions = field(default_factory=JobOptions)
