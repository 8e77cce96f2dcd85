"""Settings of every process, read from the environment; each default says why it is so.

A wrong value stops the start with one line that names the variable (`load`), never with a traceback.
"""

import os
import sys
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
    """`WAYPOST_*` of one process. The standard `OTEL_*` variables are read by OpenTelemetry itself."""

    model_config = SettingsConfigDict(env_prefix="WAYPOST_", frozen=True, extra="ignore")

    database_url: str = Field(
        default="",
        description="PostgreSQL, `postgresql://user@host/db`; holds every message, so there is no default.",
    )
    redis_url: str = Field(default="", description="Redis or Valkey for RQ and rate limits; expendable by design.")
    graph_url: str = Field(
        default="https://graph.facebook.com",
        description="Base of the Graph API. Set by the platform only, never by a custom resource.",
    )
    graph_version: str = Field(default="v26.0", pattern=r"^v\d{1,3}\.\d$", description="Graph API version.")
    registry_dir: Path = Field(default=Path("/etc/waypost/registry"), description="Files the operator publishes.")
    public_url: str = Field(default="", description="Where Meta reaches the webhook, `https://…`.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    host: str = Field(default="0.0.0.0", description="Listen address.")  # noqa: S104 - a pod serves its network
    webhook_port: int = Field(default=8080, ge=0, le=65535)
    console_port: int = Field(default=8081, ge=0, le=65535)
    simulator_port: int = Field(default=8082, ge=0, le=65535)
    simulator_world: Path | None = Field(
        default=None,
        description="What exists at the simulated Meta from its start: a JSON file as `PUT /_sim/world` takes it.",
    )
    probe_port: int = Field(
        default=9090,
        ge=0,
        le=65535,
        description="`/healthz`, `/readyz` and `/metrics`; 0 takes any free port.",
    )

    drain_s: float = Field(
        default=0.0,
        ge=0,
        le=300,
        description="The webhook still takes deliveries for so long after SIGTERM, until every proxy has forgotten it.",
    )
    trusted_proxies: str = Field(
        default="",
        description="Networks of proxies whose X-Forwarded-For is believed, comma-separated; failures count by it.",
    )

    bot_plugins: Annotated[str, AfterValidator(_plugins)] = Field(
        default="",
        description="Bots in Python that may run, comma-separated: `module:function`, or `package.*` for all in it. "
        "None unless listed, for a worker runs what it imports; `*` allows everything.",
    )
    turn_timeout_s: float = Field(
        default=10.0, gt=0, le=50, description="A bot turn that takes longer counts as a failed attempt."
    )
    graph_timeout_s: float = Field(
        default=30.0, gt=0, le=120, description="Deadline of one Graph call, connect to last byte."
    )
    graph_concurrency: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Graph calls in flight per worker process (at 100 ms, 1,000 a second).",
    )
    sweep_interval_s: float = Field(
        default=2.0, gt=0, le=60, description="How often a worker looks for due rows whose wake-up was lost."
    )
    schedule_order: Path = Field(
        default=Path("/etc/waypost/schedule/order.json"),
        description="What a run of a schedule is told to do: a file that the operator mounts.",
    )
    schedule_job: str = Field(default="", description="Name of the run's Job, which ends in the planned minute.")
    schedule_report: Path | None = Field(
        default=None, description="Where a run writes its counts: the container's termination message."
    )
    schedule_wait_s: float = Field(
        default=60.0,
        ge=0,
        le=600,
        description="A run looks this long at what becomes of its messages, so that its counts tell.",
    )
    event_retention_days: int = Field(
        default=9,
        ge=8,
        description="Handled events are kept this long; Meta redelivers for 7 days, so 8 is the floor.",
    )
    release_namespace: str = Field(
        default="",
        description="Where the data plane runs: the registry's Secrets, the Jobs of schedules, the operator itself.",
    )
    namespaces: str = Field(default="", description="Namespaces the operator watches, comma-separated; all when empty.")
    kubeconfig: Path | None = Field(
        default=None, description="To reach a cluster from outside; a pod uses its service account."
    )
    operator_replicas: int = Field(
        default=1, ge=1, le=10, description="With more than one, a Lease decides which of the operators works."
    )
    operator_concurrency: int = Field(default=48, ge=1, le=500, description="Reconciles at a time.")
    resync_s: float = Field(
        default=300.0, ge=10, le=86_400, description="Drift that nobody reports is looked for this often."
    )
    graph_calls_per_hour: int = Field(
        default=200,
        ge=20,
        le=100_000,
        description="Management calls per WhatsApp Business account and hour: Meta's limit for a new account.",
    )
    webhook_probe_url: str = Field(
        default="",
        description="Where the operator reaches the webhook, to see that it serves a callback before Meta is told.",
    )
    job_image: str = Field(default="", description="Of the pods of schedules.")
    job_service_account: str = Field(
        default="waypost-job", description="Of the pods of schedules; it needs no permissions."
    )
    job_options: str = Field(
        default="{}",
        description="JSON: requests, limits, deadline_s, environment, environment_from, volumes and so on of them.",
    )
    console_password: SecretStr | None = Field(
        default=None, description="Without it the console listens on loopback only."
    )
    trace_dir: Path | None = Field(
        default=None,
        description="Also write finished spans as JSON lines into this folder (`waypost dev` does).",
    )


class SettingsError(Exception):
    """A setting is missing or wrong; the message names the variable and what to do. No retry makes sense."""


def load(*required: str, defaults: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; `required` names fields that this process cannot run without.

    `defaults`, by field, stand in for variables that are not set.
    Raises `SettingsError` with one line per wrong variable.
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


def load_or_exit(*required: str) -> Settings:
    """`load` for a process's entry point: prints the one line and exits with status 2."""
    try:
        return load(*required)
    except SettingsError as error:
        print(f"waypost: {error}", file=sys.stderr)  # noqa: T201 - logging is not configured yet
        raise SystemExit(2) from None
