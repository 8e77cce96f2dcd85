"""Runs the script of `helm test` against real services, in the same way as the pod of `helm test`."""

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy import Engine, text

from waypost.contracts import registry

from .rendered import CHART, Rendered

pytestmark = pytest.mark.timeout(400)
SCRIPT = CHART / "files" / "delivery.py"


class Services:
    """The webhook, worker and console as processes, with the route that `helm test` installs."""

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
        """Writes the route to the place where the webhook reads it. In a cluster, the mounted Secret does this."""
        (self.folder / "registry" / "webhook" / "waypost.helm-test.json").write_text(json.dumps(self.route))

    def start(self, *names: str) -> None:
        """Starts services as processes."""
        for name in names:
            environment = {**self.environment, "WAYPOST_PROBE_PORT": str(self._ports[name])}
            with (self.folder / f"{name}.log").open("ab") as log:
                self._processes.append(
                    subprocess.Popen([sys.executable, "-m", "waypost.cli", name], env=environment, stdout=log)
                )

    def ready(self, name: str) -> bool:
        """Returns whether a service reports that it is ready."""
        try:
            return httpx.get(f"http://127.0.0.1:{self._ports[name]}/readyz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False

    @contextlib.contextmanager
    def script(self, **changes: str) -> Iterator["subprocess.Popen[str]"]:
        """Runs the script with further environment variables, and kills it at the end."""
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
        """Kills all processes."""
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def services(tmp_path: Path, database_url: str, redis_url: str, free_port: Callable[[], int]) -> Iterator[Services]:
    """Provides services, none of which is started yet."""
    made = Services(tmp_path, database_url, redis_url, free_port)
    yield made
    made.close()


def test_a_delivery_is_stored_and_handled(services: Services, wait_for: Callable[..., object]) -> None:
    """The script reports that a delivery was stored and that a worker handled it.

    The script waits for the route, because a mounted Secret also arrives late.
    """
    services.start("webhook", "worker", "console")
    wait_for(lambda: services.ready("webhook") and services.ready("console"))
    with services.script() as script:
        services.publish()
        out, problem = script.communicate(timeout=250)

    assert script.returncode == 0, problem
    assert out.splitlines() == [
        "handshake: the webhook returned the challenge",
        "delivery: stored and acknowledged",
        "delivery with a wrong signature: refused",
        "effect: a worker handled it",
    ]


@pytest.fixture
def restricted_url(database: Engine) -> Iterator[str]:
    """Creates a database account with the rights that docs/install.md asks for.

    Yields the database's address with this account.
    """
    role = f"services_{secrets.token_hex(6)}"
    with database.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN PASSWORD '{role}'"))
        connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"))
        connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"))
    url = database.url.set(drivername="postgresql", username=role, password=role)
    yield url.render_as_string(hide_password=False)
    with database.begin() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def test_services_need_only_the_documented_rights_in_the_database(
    tmp_path: Path,
    restricted_url: str,
    redis_url: str,
    free_port: Callable[[], int],
    wait_for: Callable[..., object],
) -> None:
    """The services work with a database account that may not change the schema.

    docs/install.md promises this in the text on `database.migrationSecret`.
    """
    with contextlib.closing(Services(tmp_path, restricted_url, redis_url, free_port)) as services:
        services.publish()
        services.start("webhook", "worker", "console")
        wait_for(lambda: services.ready("webhook") and services.ready("console"))
        with services.script() as script:
            out, problem = script.communicate(timeout=250)

    assert script.returncode == 0, problem
    assert "effect: a worker handled it" in out


def test_without_the_console_the_effect_is_not_checked(services: Services, wait_for: Callable[..., object]) -> None:
    """Without the console, the script succeeds and says that it did not check the effect."""
    services.publish()
    services.start("webhook")
    wait_for(lambda: services.ready("webhook"))
    with services.script(METRICS="") as script:
        out, problem = script.communicate(timeout=250)

    assert script.returncode == 0, problem
    assert "effect: not checked" in out


def test_the_webhook_can_read_the_route_of_the_test(production: Rendered) -> None:
    """The webhook can read the route that `helm test` installs.

    The Secret of the test contains a `Route`. The mounted file has the name that the registry expects.
    """
    secret = production.one("Secret", "test-route")
    route = msgspec.json.decode(secret["stringData"]["route"], type=registry.Route)
    volume = next(each for each in production.pod("webhook")["volumes"] if each["name"] == "registry")
    source = volume["projected"]["sources"][-1]["secret"]

    assert source["name"] == secret["metadata"]["name"]
    assert source["items"] == [{"key": "route", "path": f"{route.namespace}.{route.name}.json"}]
    assert min(map(len, (*route.app_secrets, *route.verify_tokens))) >= 32


def test_the_test_keeps_its_log_and_removes_its_route(production: Rendered) -> None:
    """After `helm test`, the pod stays, so that its log can be read. The route of the test is removed.

    Otherwise, the webhook would continue to accept deliveries on this route.
    """
    annotated = [each for each in production.objects if "annotations" in each["metadata"]]
    hooks = [each for each in annotated if each["metadata"]["annotations"].get("helm.sh/hook") == "test"]
    policies = {each["kind"]: each["metadata"]["annotations"]["helm.sh/hook-delete-policy"] for each in hooks}
    gone = {kind: "hook-succeeded" in policy for kind, policy in policies.items()}

    assert gone == {"Pod": False, "Secret": True, "ConfigMap": True}


def test_the_pod_runs_the_tested_script(production: Rendered) -> None:
    """The ConfigMap of `helm test` contains the complete script, unchanged."""
    config = production.one("ConfigMap", "test")

    assert config["data"]["delivery.py"].rstrip() == SCRIPT.read_text().rstrip()
