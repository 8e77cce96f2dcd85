"""`helm test` is a script in the image; here it runs against real services, as a pod would run it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from waypost.contracts import registry

from .rendered import CHART, Rendered

pytestmark = pytest.mark.timeout(400)
SCRIPT = CHART / "files" / "delivery.py"


class Services:
    """Webhook, worker and console as processes, with the route that `helm test` brings."""

    def __init__(self, folder: Path, database_url: str, redis_url: str, free_port: Callable[[], int]) -> None:
        self.folder = folder
        self._ports = {name: free_port() for name in ("webhook", "worker", "console", "http", "pages")}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.environment = {
            **os.environ,
            "WAYPOST_DATABASE_URL": database_url,
            "WAYPOST_REDIS_URL": redis_url,
            "WAYPOST_REGISTRY_DIR": str(folder / "registry"),
            "WAYPOST_HOST": "127.0.0.1",
            "WAYPOST_WEBHOOK_PORT": str(self._ports["http"]),
            "WAYPOST_CONSOLE_PORT": str(self._ports["pages"]),
        }
        self.route = {
            "namespace": "waypost",
            "name": "helm-test",
            "phoneNumberId": "helm-test",
            "wabaId": "helm-test",
            "appId": "helm-test",
            "appSecrets": ["a-secret-of-this-test"],
            "verifyTokens": ["a-token-of-this-test"],
        }
        (folder / "route").write_text(json.dumps(self.route))
        (folder / "registry" / "webhook").mkdir(parents=True)

    def publish(self) -> None:
        """The route arrives in the webhook, as the mounted Secret does."""
        (self.folder / "registry" / "webhook" / "waypost.helm-test.json").write_text(json.dumps(self.route))

    def start(self, *names: str) -> None:
        """Start services."""
        for name in names:
            environment = {**self.environment, "WAYPOST_PROBE_PORT": str(self._ports[name])}
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen([sys.executable, "-m", "waypost.cli", name], env=environment, stdout=log)
                )

    def ready(self, name: str) -> bool:
        """Whether it says so."""
        try:
            return httpx.get(f"http://127.0.0.1:{self._ports[name]}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    @contextmanager
    def script(self, **changes: str) -> Iterator["subprocess.Popen[str]"]:
        """The script under way."""
        environment = {
            **os.environ,
            "WEBHOOK": f"http://127.0.0.1:{self._ports['http']}",
            "METRICS": f"http://127.0.0.1:{self._ports['console']}/metrics",
            "ROUTE": str(self.folder / "route"),
            **changes,
        }
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT)], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def close(self) -> None:
        """End all."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def services(tmp_path: Path, database_url: str, redis_url: str, free_port: Callable[[], int]) -> Iterator[Services]:
    """None is started yet."""
    made = Services(tmp_path, database_url, redis_url, free_port)
    yield made
    made.close()


def test_a_delivery_is_stored_and_its_effect_is_seen(services: Services, wait_for: Callable[..., object]) -> None:
    """The route comes late, as a mounted Secret does, and the script waits for it."""
    services.start("webhook", "worker", "console")
    wait_for(lambda: services.ready("webhook") and services.ready("console"))
    with services.script() as script:
        services.publish()
        out, problem = script.communicate(timeout=250)

    assert script.returncode == 0, problem
    assert out.splitlines() == [
        "handshake: the webhook gave the challenge back",
        "delivery: stored and acknowledged",
        "delivery with a wrong signature: refused",
        "effect: a worker handled it",
    ]


def test_without_the_console_the_effect_is_not_looked_at(services: Services, wait_for: Callable[..., object]) -> None:
    """And the script says so."""
    services.publish()
    services.start("webhook")
    wait_for(lambda: services.ready("webhook"))
    with services.script(METRICS="") as script:
        out, problem = script.communicate(timeout=250)

    assert script.returncode == 0, problem
    assert "effect: not looked at" in out


def test_the_test_s_route_is_one_that_the_webhook_can_read(production: Rendered) -> None:
    """Its Secret holds a `Route`, and the file is named as the registry wants it."""
    secret = production.one("Secret", "test-route")
    route = registry.msgspec.json.decode(secret["stringData"]["route"], type=registry.Route)
    volume = next(each for each in production.pod("webhook")["volumes"] if each["name"] == "registry")
    source = volume["projected"]["sources"][-1]["secret"]

    assert source["name"] == secret["metadata"]["name"]
    assert source["items"] == [{"key": "route", "path": f"{route.namespace}.{route.name}.json"}]
    assert min(map(len, (*route.app_secrets, *route.verify_tokens))) >= 32


def test_the_test_leaves_a_log_and_no_route(production: Rendered) -> None:
    """The pod stays to be read; what the webhook would go on answering to goes."""
    annotated = [each for each in production.objects if "annotations" in each["metadata"]]
    hooks = [each for each in annotated if each["metadata"]["annotations"].get("helm.sh/hook") == "test"]
    policies = {each["kind"]: each["metadata"]["annotations"]["helm.sh/hook-delete-policy"] for each in hooks}
    gone = {kind: "hook-succeeded" in policy for kind, policy in policies.items()}

    assert gone == {"Pod": False, "Secret": True, "ConfigMap": True}


def test_the_pod_runs_the_script_that_is_tested_here(production: Rendered) -> None:
    """Whole, and as Python reads it."""
    config = production.one("ConfigMap", "test")

    assert config["data"]["delivery.py"].rstrip() == SCRIPT.read_text().rstrip()
