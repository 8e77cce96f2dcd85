"""Settings of every process, read from the environment.

Each field's `description` is also its text in docs/settings.md. If a value is wrong, the process does not
start and prints one line that names the variable; see `load`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from waypost.allowed_plugins import AllowedPlugins


def _plugins(text: str) -> str:
    AllowedPlugins.read(text)
    return text


class Settings(BaseSettings):
    """The `WAYPOST_*` variables of one process. OpenTelemetry reads its standard `OTEL_*` variables itself."""

    model_config = SettingsConfigDict(env_prefix="WAYPOST_", frozen=True, extra="ignore")

    database_url: str = Field(
        default="",
        description="PostgreSQL, `postgresql://user@host/db`; holds every message, so there is no default.",
    )
    redis_url: str = Field(default="", description="Redis or Valkey for RQ; its data may be lost at any time.")
    graph_url: str = Field(
        default="https://graph.facebook.com",
        description="Base of the Graph API. Set by the platform only, never by a custom resource.",
    )
    graph_version: str = Field(default="v26.0", pattern=r"^v\d{1,3}\.\d$", description="Graph API version.")
    registry_dir: Path = Field(
        default=Path("/etc/waypost/registry"), description="Folder of the files that the operator publishes."
    )
    public_url: str = Field(default="", description="Where Meta reaches the webhook, `https://…`.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Verbosity of the logs: `DEBUG`, `INFO`, `WARNING` or `ERROR`."
    )

    host: str = Field(default="0.0.0.0", description="Address that every process listens on.")  # noqa: S104 - a pod serves its network
    webhook_port: int = Field(default=8080, ge=0, le=65535, description="Port of the webhook.")
    console_port: int = Field(default=8081, ge=0, le=65535, description="Port of the console.")
    simulator_port: int = Field(default=8082, ge=0, le=65535, description="Port of the simulator.")
    simulator_world: Path | None = Field(
        default=None,
        description="What exists at the simulated Meta from its start: a JSON file as `PUT /_sim/world` takes it.",
    )
    probe_port: int = Field(
        default=9090,
        ge=0,
        le=65535,
        description="Port of `/healthz`, `/readyz` and `/metrics`; 0 takes any free port.",
    )

    drain_s: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="Seconds after SIGTERM in which the webhook still accepts deliveries, until no proxy sends it any "
        "more.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Networks of proxies whose X-Forwarded-For header is trusted, comma-separated. The webhook counts "
        "wrong signatures and the bytes of incomplete requests by that address, the console wrong passwords.",
    )

    bot_plugins: Annotated[str, AfterValidator(_plugins)] = Field(
        default="",
        description="Bots in Python that may run, comma-separated: `module:function`, or `package.*` for all in a "
        "package. None by default, because a worker runs what it imports; `*` allows everything.",
    )
    turn_timeout_s: float = Field(
        default=10.0, gt=0, le=50, description="Seconds; a bot turn that takes longer counts as a failed attempt."
    )
    script_memory_mib: int = Field(
        default=256,
        ge=32,
        le=65536,
        description="MiB that a worker may use for compiled scripts of bots. A small script takes about 0.1, the "
        "largest 30. Those that do not fit are compiled when a message needs them, which delays it by some seconds.",
    )
    hosts: int = Field(default=16, ge=1, le=64, description="Most processes of one worker in which plugins take turns.")
    host_memory_mb: int = Field(
        default=128, ge=16, le=4096, description="Megabytes that a plugin's process may use beyond what it starts with."
    )
    graph_timeout_s: float = Field(
        default=30.0,
        gt=0,
        le=120,
        description="Seconds; the deadline of one Graph call, from connecting to the last byte.",
    )
    graph_concurrency: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Graph calls in flight per worker process (at 100 ms, 1,000 a second).",
    )
    sweep_interval_s: float = Field(
        default=2.0,
        gt=0,
        le=60,
        description="Seconds between two searches of a worker for due rows whose wake-up was lost.",
    )
    schedule_order: Path = Field(
        default=Path("/etc/waypost/schedule/order.json"),
        description="File that says what a run of a schedule does; the operator mounts it.",
    )
    schedule_job: str = Field(default="", description="Name of the run's Job; its last part is the planned minute.")
    schedule_report: Path | None = Field(
        default=None, description="File into which a run writes its counts: the container's termination message."
    )
    schedule_wait_s: float = Field(
        default=60.0,
        ge=0,
        le=600,
        description="Seconds for which a run waits for its messages to finish, so that its counts include them.",
    )
    event_retention_days: int = Field(
        default=9,
        ge=8,
        description="Days for which handled events are kept; Meta redelivers for 7 days, so 8 is the minimum.",
    )
    release_namespace: str = Field(
        default="",
        description="Namespace of the data plane: the registry's Secrets, the Jobs of schedules, the operator itself.",
    )
    namespaces: str = Field(
        default="", description="Namespaces that the operator watches, comma-separated; empty means all."
    )
    kubeconfig: Path | None = Field(
        default=None, description="Kubeconfig file to reach a cluster from outside; a pod uses its service account."
    )
    operator_replicas: int = Field(
        default=1,
        ge=1,
        le=10,
        description="Replicas of the operator; with more than one, a Lease decides which of them works.",
    )
    operator_concurrency: int = Field(default=48, ge=1, le=500, description="Reconciles that run at a time.")
    resync_s: float = Field(
        default=300.0,
        ge=10,
        le=86_400,
        description="Seconds between two checks of each object for drift, which no event reports.",
    )
    graph_calls_per_hour: int = Field(
        default=200,
        ge=20,
        le=100_000,
        description="Management calls per app, WhatsApp Business account and hour: Meta's limit for a new account.",
    )
    quota_registry_bytes: int = Field(
        default=0,
        ge=0,
        description="Most bytes that a namespace's numbers and bots may take in the registry, unless an annotation of "
        "the Namespace gives another quota; 0 means no quota.",
    )
    webhook_probe_url: str = Field(
        default="",
        description="Where the operator reaches the webhook, to check that it serves a callback before that is "
        "registered at Meta.",
    )
    job_image: str = Field(default="", description="Image of the pods of schedules.")
    job_service_account: str = Field(
        default="waypost-job", description="Service account of the pods of schedules; it needs no permissions."
    )
    job_options: str = Field(
        default="{}",
        description="How the pods of schedules are made, as JSON: `requests`, `limits`, `deadline_s`, `environment`, "
        "`environment_from`, `volumes` and so on.",
    )
    console_password: SecretStr | None = Field(
        default=None,
        description="Password of the status page, best of 16 characters or more; without it the console answers on "
        "loopback only.",
    )
    trace_dir: Path | None = Field(
        default=None,
        description="Folder into which finished spans are also written as JSON lines; `waypost dev` sets it.",
    )


class SettingsError(Exception):
    """Raised when a setting is missing or wrong. Do not retry.

    The message names the variable and says what to do.
    """


def load(*required: str, defaults: Mapping[str, str] | None = None) -> Settings:
    """Returns the settings. `required` names the fields that this process cannot run without.

    `defaults` gives values, by field, for variables that are not set. Raises `SettingsError`, which names every
    wrong or missing variable.
    """
    try:
        unset = {name: value for name, value in (defaults or {}).items() if f"WAYPOST_{name.upper()}" not in os.environ}
        settings = Settings.model_validate(unset)
    except ValidationError as error:
        lines = [f"WAYPOST_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingsError("; ".join(lines)) from None
    missing = [name for name in required if not getattr(settings, name)]
    if missing:
        raise SettingsError("; ".join(f"WAYPOST_{name.upper()} is not set" for name in missing))
    return settings
