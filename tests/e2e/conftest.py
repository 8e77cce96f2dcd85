"""Fixtures for the release of `make e2e`. The tests have their own number, whose bot repeats each message."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.cluster import kind, release

from ..ledger import Ledger
from . import planned
from .crowd import Crowd, gathered
from .installed import ACCOUNT, APP, APP_SECRET, NUMBER, TEAM, TOKEN, Installed, is_asked_for
from .upgraded import upgrade

PLUGIN = Path(__file__).parents[1] / "guarantees/plugins/ledger_bot.py"

WORLD: dict[str, list[object]] = {
    "apps": [{"app_id": APP, "app_secret": APP_SECRET, "require_proof": True}],
    "accounts": [
        {
            "waba_id": ACCOUNT,
            "numbers": [
                {"phone_number_id": NUMBER, "display_phone_number": "+15550783881", "messages_per_second": 1000}
            ],
        }
    ],
    "tokens": [{"token": TOKEN, "app_id": APP, "wabas": [ACCOUNT]}],
}
TEAM_OBJECTS = (
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": TEAM}},
    {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "ledger-meta", "namespace": TEAM, "labels": {"waypost.dev/credentials": "true"}},
        "stringData": {"appId": APP, "appSecret": APP_SECRET, "accessToken": TOKEN},
    },
    {
        "apiVersion": "waypost.dev/v1alpha1",
        "kind": "WhatsAppNumber",
        "metadata": {"name": "ledger", "namespace": TEAM},
        "spec": {
            "phoneNumberId": NUMBER,
            "wabaId": ACCOUNT,
            "credentialsRef": {"name": "ledger-meta"},
            "bot": {"plugin": "ledger_bot:turn"},
            "limits": {"messagesPerSecond": 1000},
        },
    },
)


TRAFFIC_ONLY = ("test_webhook_rollout", "test_worker_killed", "test_redis_wiped")
"""Tests in which messages flow and no number, schedule or Secret is written: a quiet minute for the operator."""
LAST = (
    *("test_traces", "test_schedule_fires", "test_upgrade"),
    *("test_scale", *TRAFFIC_ONLY, "test_quiet", "test_api_server_stopped"),
)
"""Tests that need minutes to pass first, that remove the release, or that leave much to clean up. The one that stops
the API server is the last: kubelets find it again with a delay of up to half a minute."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the tests of `LAST` to the end and keeps the order of the others."""
    items.sort(key=lambda item: LAST.index(item.path.stem) if item.path.stem in LAST else -1)


@pytest.fixture(scope="session")
def values() -> dict[str, object]:
    """Returns the chart's values for these tests.

    Each component has two replicas where the chart allows it, and the bot is mounted as a volume.
    """
    if not is_asked_for():
        pytest.skip("these tests run on a cluster: make e2e")
    chosen: dict[str, Any] = release.trial_values(offline=kind.uses_built_node_image())
    world = chosen["simulator"]["world"]
    bots = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "ledger-bot"},
        "data": {"ledger_bot.py": PLUGIN.read_text()},
    }
    return chosen | {
        # These tests create a thousand numbers at once and ask for the same accounts again and again.
        "operator": chosen["operator"] | {"graphCallsPerHour": 100_000},
        "webhook": chosen["webhook"] | {"replicas": 2},
        "bot": {"plugins": ["ledger_bot:turn"]},
        "worker": chosen["worker"]
        | {
            "replicas": 2,
            "extraVolumes": [{"name": "bots", "configMap": {"name": "ledger-bot"}}],
            "extraVolumeMounts": [{"name": "bots", "mountPath": "/bots", "readOnly": True}],
            "extraEnv": [{"name": "PYTHONPATH", "value": "/bots"}],
        },
        "simulator": chosen["simulator"] | {"world": {each: world.get(each, []) + WORLD[each] for each in WORLD}},
        "extraObjects": [*chosen["extraObjects"], bots],
    }


@pytest.fixture(scope="session")
def _upgraded(values: dict[str, object]) -> Iterator[tuple[Installed, Ledger]]:
    installed = Installed()
    yield installed, upgrade(installed, values, TEAM_OBJECTS)
    installed.close()


@pytest.fixture(scope="session")
def upgrade_ledger(_upgraded: tuple[Installed, Ledger]) -> Ledger:
    """Returns the ledger of the messages that were delivered during the upgrade of the release."""
    return _upgraded[1]


@pytest.fixture(scope="session")
def _release(_upgraded: tuple[Installed, Ledger]) -> Iterator[Installed]:
    installed, _ = _upgraded
    planned.create(installed)
    yield installed
    planned.delete(installed)


@pytest.fixture
def installed(_release: Installed) -> Installed:
    """Returns the release in a clean state: all pods run, Meta has no fault set, and no message waits."""
    _release.meta("DELETE", "faults")
    for component in ("webhook", "worker", "operator", "console", "simulator"):
        _release.kubectl("rollout", "status", f"deployment/waypost-{component}", "--timeout=180s")
    _release.quiesce()
    return _release


@pytest.fixture(scope="session")
def crowd(_release: Installed) -> Iterator[Crowd]:
    """Yields a thousand numbers and schedules that are ready. Changes are counted from that moment on."""
    with gathered(_release) as made:
        yield made
