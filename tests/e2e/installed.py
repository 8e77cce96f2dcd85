"""A release in a kind cluster, as tests see it: what a platform team, a product team and Meta do and look at."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ..ledger import Identity

REPOSITORY = Path(__file__).parents[2]
sys.path.append(str(REPOSITORY / "tools/cluster"))

import kind  # noqa: E402 - programs of tools/, not a package
import machine  # noqa: E402
import release  # noqa: E402

__all__ = ["Installed", "machine", "release", "run"]

RELEASE = "waypost"
NAMESPACE = machine.NAMESPACE
TEAM = "team-ledger"
NUMBER = "206540352242922"
ACCOUNT = "202290129340398"
APP = "200000000000001"
APP_SECRET = "canary-app-secret-2f1d8e5b7a90"
TOKEN = "canary-access-token-4b6c1d9e"
"""Not secrets: of an app that exists at the simulated Meta only; but words that must turn up nowhere else."""


class CommandFailed(Exception):
    """kubectl or helm ended with an error; the message holds its words."""


class Installed:
    """The release that `make e2e` installed; its number `ledger` in `team-ledger` repeats what it is told."""

    def __init__(self) -> None:
        self.http = httpx.Client(trust_env=False, timeout=30)
        self.identity = Identity(TEAM, "ledger", NUMBER, ACCOUNT, APP_SECRET)
        self._urls: dict[str, str] = {}

    def close(self) -> None:
        """End the connections."""
        self.http.close()

    # -- the cluster ----------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None, namespace: str = NAMESPACE) -> str:
        """Run kubectl; its output. Raises `CommandFailed`."""
        return run("kubectl", "--namespace", namespace, *arguments, stdin=stdin)

    def get(self, kind_: str, name: str = "", *, namespace: str = NAMESPACE, selector: str = "") -> Any:
        """An object, or without a name the list of them. Raises `CommandFailed`."""
        chosen = [part for part in (name, f"--selector={selector}" if selector else "") if part]
        found = json.loads(self.kubectl("get", kind_, *chosen, "--output=json", namespace=namespace))
        return found if name else found["items"]

    def apply(self, *objects: dict[str, Any]) -> None:
        """What a team would do with its files. Raises `CommandFailed`."""
        run(
            "kubectl",
            "apply",
            "--filename",
            "-",
            stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": objects}),
        )

    @contextmanager
    def team(self, name: str) -> Iterator[str]:
        """A namespace of the test's own; all in it is deleted afterwards, and waited for."""
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            yield name
        finally:
            run("kubectl", "delete", "namespace", name, "--wait=true", "--timeout=180s")

    def pods(self, component: str) -> list[str]:
        """Names of the pods of a component that are not on their way out."""
        found = self.get(
            "pods", selector=f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}"
        )
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def scale(self, component: str, replicas: int) -> None:
        """Set the number of pods and wait until it is so."""
        self.kubectl("scale", f"deployment/{RELEASE}-{component}", f"--replicas={replicas}")
        self.kubectl("rollout", "status", f"deployment/{RELEASE}-{component}", "--timeout=180s")
        self.wait(lambda: len(self.pods(component)) == replicas, what=f"{replicas} pods of {component}")

    def rollout(self, component: str) -> None:
        """Replace all pods of a component and wait until that is done."""
        self.kubectl("rollout", "restart", f"deployment/{RELEASE}-{component}")
        self.kubectl("rollout", "status", f"deployment/{RELEASE}-{component}", "--timeout=180s")

    def inside(self, program: str, *, component: str = "worker") -> Any:
        """What a Python program prints as JSON, run in a pod of ours with the pod's own settings and rights."""
        return json.loads(
            self.kubectl("exec", "--stdin", f"deployment/{RELEASE}-{component}", "--", "python", "-", stdin=program)
        )

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Rows of the database, as objects. Raises `CommandFailed`, also while the database is away."""
        wrapped = f"SELECT coalesce(json_agg(r), '[]') FROM ({statement}) r"
        answer = self.kubectl("exec", "--stdin", f"{RELEASE}-postgresql-0", "--", "psql", "--no-psqlrc",
                              "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--host=/tmp",
                              "--username=waypost", "waypost", stdin=wrapped)  # fmt: skip
        found: list[dict[str, Any]] = json.loads(answer)
        return found

    # -- Meta, and what it delivers -------------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """Where the webhook or the simulator is reached from outside of the cluster."""
        service = name.partition("-")[0]
        if service not in self._urls:
            self._urls[service] = kind.outside(service)
        return self._urls[service]

    def meta(self, method: str, path: str, body: object = None) -> Any:
        """A call of the simulator's control."""
        return self.http.request(method, f"{self.url('simulator')}/_sim/{path}", json=body).raise_for_status().json()

    def greet(self, contacts: Iterable[str]) -> None:
        """Each contact writes once through Meta, which opens the 24 h window there."""
        for contact in contacts:
            self.meta("POST", "inbound", {"number": NUMBER, "from": contact, "text": f"hello from {contact}"})

    def sent(self) -> list[dict[str, object]]:
        """What Meta accepted for our number, in order."""
        found: list[dict[str, object]] = self.meta("GET", f"sent?number={NUMBER}&limit=100000")
        return found

    # -- looking --------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], *, deadline_s: float = 180.0, what: str = "") -> None:
        """Poll until the condition holds."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {deadline_s:.0f} s: {what}\n{self.describe()}"
            time.sleep(0.2)

    def describe(self) -> str:
        """What a failed wait should show."""
        return run("kubectl", "get", "pods,whatsapp", "--all-namespaces")

    def conditions(self, name: str, *, namespace: str, kind_: str = "whatsappnumber") -> dict[str, tuple[str, str]]:
        """`{type: (status, reason)}` of a number or schedule; empty before the operator has said anything."""
        found = self.get(kind_, name, namespace=namespace).get("status", {}).get("conditions", [])
        return {each["type"]: (each["status"], each["reason"]) for each in found}

    def is_ready(self, name: str, *, namespace: str, kind_: str = "whatsappnumber") -> bool:
        """Whether the operator says that a number or schedule is as desired."""
        return self.conditions(name, namespace=namespace, kind_=kind_).get("Ready", ("", ""))[0] == "True"

    def is_quiet(self) -> bool:
        """Nothing waits, neither to be handled nor to be sent; False also while the database is away."""
        try:
            (row,) = self.query("""
                SELECT (SELECT count(*) FROM event WHERE state = 'waiting')
                     + (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending')) AS open
            """)
        except CommandFailed:
            return False
        return row["open"] == 0

    def quiesce(self) -> None:
        """Wait until everything that was taken in is dealt with."""
        self.wait(self.is_quiet, what="nothing waiting")

    def event_states(self) -> dict[str, str]:
        """`{event key: state}` of all messages."""
        rows = self.query("SELECT event_key, state FROM event WHERE kind = 'message'")
        return {row["event_key"]: row["state"] for row in rows}

    def assert_counts_hold(self) -> None:
        """G9, over every number, by the figures that the console exports."""
        for number, count in self.inside(COUNTS).items():
            assert count["received"] == count["duplicate"] + count["done"] + count["dead"] + count["waiting"], (
                number,
                count,
            )


COUNTS = """
import json, os
from waypost.store import counts
from waypost.store.database import connect
engine = connect(os.environ["WAYPOST_DATABASE_URL"], application="waypost-e2e", pool_size=1)
with engine.connect() as connection:
    found = counts.by_number(connection)
names = ("received", "duplicate", "done", "dead", "waiting")
print(json.dumps({number: {name: getattr(count, name) for name in names} for number, count in found.items()}))
"""


def run(*command: str, stdin: str | None = None) -> str:
    """A command with our tools and our cluster; its output. Raises `CommandFailed`."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=False, env=dict(machine.environment())
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def is_asked_for() -> bool:
    """Whether these tests were asked for: `make e2e` says so."""
    return os.environ.get("WAYPOST_E2E") == "1"
