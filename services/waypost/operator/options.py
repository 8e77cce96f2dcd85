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
    """Seconds after which the Job of a run is ended, with all its pods (`activeDeadlineSeconds` of the Job)."""
    backoff_limit: int = 3
    history_successful: int = 2
    history_failed: int = 3
    ttl_s: int = 86_400
    """Seconds after which a finished Job is removed. A day is long enough to read its logs."""
    environment: tuple[Mapping[str, Any], ...] = ()
    """`env` of the container, in Kubernetes' own form. It supplies the address of the database and the settings."""
    environment_from: tuple[Mapping[str, Any], ...] = ()
    """`envFrom` of the container, in Kubernetes' own form. It supplies the same."""
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
    """Address at which Meta reaches the webhook. Every callback begins with this address."""
    webhook_probe_url: str | None = None
    """Address at which the operator reaches the webhook. Before it registers a callback at Meta, it checks there that
    the webhook serves the callback. If this is None, there is no check, and the operator retries after Meta's own
    refusal (2200)."""
    image: str = ""
    """Image of the Jobs of schedules. It is set separately from the operator's image, so an upgrade of the operator
    changes no CronJob."""
    service_account: str = "waypost-job"
    """Service account of the Jobs of schedules. It needs no permissions, and its token is not mounted."""
    namespaces: tuple[str, ...] | None = None
    """Namespaces that are watched. None means all."""
    plugins: AllowedPlugins = field(default_factory=AllowedPlugins)
    """Python functions that the workers import as bots. A number that asks for another function gets a condition that
    says so."""
    resync_s: float = 300
    """Seconds after which a number is compared with its state at Meta again. The time is longer where the budget of
    calls demands it."""
    graph_calls_per_hour: int = 200
    """Management calls that the operator makes per Meta app, WhatsApp Business account and hour. The default is Meta's
    limit for a new account; an active account has 5,000."""
    route_poll_s: float = 2.0
    """Seconds between two checks whether the webhook serves a new callback. These checks do not call Meta."""
    registry_shards: int = 64
    """Number of Secrets for each content of the registry (entries for webhook and workers, and bots). All numbers share
    these Secrets, and a Secret holds at most 1 MiB. The chart mounts as many."""
    quota_registry_bytes: int = 0
    """Most bytes of the registry that the numbers of a namespace may take, if its Namespace does not say otherwise; 0
    means no quota."""
    finalize_deadline_s: float = 600
    """Seconds after which a deletion no longer waits for Meta. Something that remains at Meta is better than an object
    that cannot be deleted."""
    job: JobOptions = field(default_factory=JobOptions)
