"""A release in a kind cluster, and the actions and views that a platform team, a product team and Meta have."""

import copy
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

import httpx

from tools.cluster import kind, release
from tools.machine import environment

from ..ledger import Identity, Ledger

RELEASE = "waypost"
REQUESTED = "waypost.dev/reconcile-requested-at"
NAMESPACE = release.NAMESPACE
TEAM = "team-ledger"
NUMBER = "206540352242922"
ACCOUNT = "202290129340398"
APP = "200000000000001"
APP_SECRET = "canary-app-secret-2f1d8e5b7a90"
TOKEN = "canary-access-token-4b6c1d9e"
"""Credentials of an app at the simulated Meta, so not real secrets; but they must not appear in any log or object."""

PASSING = {"schedule", "test"}
"""Components whose pods end and stay for their logs: those of schedules' Jobs and of `helm test`."""

QUICK = {"sent_after_s": 0.01, "delivered_after_s": 0.02, "read_after_s": None}
"""Behaviour to set at the simulated Meta, which forgets it when its pod ends."""


class CommandFailed(Exception):
    """Raised when a command such as kubectl or helm failed. The message holds the command's error output."""


class Installed:
    """The release that `make e2e` installed. The bot of its number `ledger` in `team-ledger` repeats each message."""

    def __init__(self) -> None:
        self.http = httpx.Client(trust_env=False, timeout=30)
        self.identity = Identity(TEAM, "ledger", NUMBER, ACCOUNT, APP_SECRET)
        self._urls: dict[str, str] = {}

    def close(self) -> None:
        """Closes the connections."""
        self.http.close()

    # -- the cluster ----------------------------------------------------------------------------------------------

    def kubectl(self, *arguments: str, stdin: str | None = None, namespace: str = NAMESPACE) -> str:
        """Runs kubectl and returns its output. Raises `CommandFailed`."""
        return run("kubectl", "--namespace", namespace, *arguments, stdin=stdin)

    def get(self, kind_: str, name: str = "", *, namespace: str = NAMESPACE, selector: str = "") -> Any:
        """Returns one object, or a list of all objects if no name is given. Raises `CommandFailed`."""
        chosen = [part for part in (name, f"--selector={selector}" if selector else "") if part]
        found = json.loads(self.kubectl("get", kind_, *chosen, "--output=json", namespace=namespace))
        return found if name else found["items"]

    def apply(self, *objects: dict[str, Any]) -> None:
        """Applies objects, as a team would do with its files. Raises `CommandFailed`."""
        run(
            "kubectl",
            "apply",
            "--filename",
            "-",
            stdin=json.dumps({"kind": "List", "apiVersion": "v1", "items": objects}),
        )

    def another(self, team: str, name: str, serial: int) -> "Installed":
        """Returns the same release with another number, which `declare` creates. `serial` makes its ids unique."""
        other = copy.copy(self)
        number, account = str(int(NUMBER) + serial), str(int(ACCOUNT) + serial)
        other.identity = Identity(team, name, number, account, f"{APP_SECRET}-{serial}")
        return other

    @property
    def token(self) -> str:
        """Returns the access token that `declare` gives to our number."""
        return f"{TOKEN}-{self.identity.number}"

    def declare(self, **spec: object) -> None:
        """Creates our number at Meta with its own app, account and token.

        Then applies the number's objects, and waits for `Ready`.
        """
        namespace, name, number, account, app_secret = self.identity
        app = str(int(APP) + int(number) - int(NUMBER))
        listed = {"phone_number_id": number, "display_phone_number": f"+1555{number[-7:]}", "messages_per_second": 1000}
        self.meta("PUT", "world", {
            "apps": [{"app_id": app, "app_secret": app_secret, "require_proof": True}],
            "accounts": [{"waba_id": account, "numbers": [listed]}],
            "tokens": [{"token": self.token, "app_id": app, "wabas": [account]}],
        })  # fmt: skip
        data = {"appId": app, "appSecret": app_secret, "accessToken": self.token}
        self.apply(secret(namespace, f"{name}-meta", data), self.number(**spec))
        self.wait(lambda: self.is_ready(name, namespace=namespace), what=f"{name} to be ready")

    def number(self, **spec: object) -> dict[str, Any]:
        """Returns the WhatsAppNumber that a team would write for our number."""
        namespace, name, number, account, _ = self.identity
        made = {
            "phoneNumberId": number,
            "wabaId": account,
            "credentialsRef": {"name": f"{name}-meta"},
            "bot": {"plugin": "ledger_bot:turn"},
            "limits": {"messagesPerSecond": 1000},
        }
        metadata = {"name": name, "namespace": namespace}
        return {
            "apiVersion": "waypost.dev/v1alpha1",
            "kind": "WhatsAppNumber",
            "metadata": metadata,
            "spec": made | spec,
        }

    def published(self, audience: str) -> list[Any]:
        """Returns our number's registry entry from each pod of the webhook or worker, or None for a pod without it."""
        file = f"/etc/waypost/registry/{audience}/{self.identity.namespace}.{self.identity.name}.json"
        look = f"test ! -e {file} || cat {file}"
        texts = [self.kubectl("exec", pod, "--", "sh", "-c", look) for pod in self.pods(audience)]
        return [json.loads(text) if text else None for text in texts]

    def standing(self) -> list[dict[str, Any]]:
        """Returns every pod of the release that should keep running, including those that are being deleted."""
        found = self.get("pods", selector=f"app.kubernetes.io/instance={RELEASE}")
        return [each for each in found if each["metadata"]["labels"]["app.kubernetes.io/component"] not in PASSING]

    def lives(self) -> dict[str, int]:
        """Returns the number of restarts of each running pod of `standing`, by the pod's name and uid."""
        return {
            f"{pod['metadata']['name']} {pod['metadata']['uid']}": sum(
                each["restartCount"] for each in pod["status"].get("containerStatuses", [])
            )
            for pod in self.standing()
            if pod["status"]["phase"] == "Running"
        }

    @contextmanager
    def team(self, name: str) -> Iterator[str]:
        """Creates a namespace and deletes it afterwards without waiting.

        `wait_for_deletions` waits until it is gone.
        """
        # An earlier run, finished or not, may have left the namespace.
        run("kubectl", "delete", "namespace", name, "--ignore-not-found", "--wait=true", "--timeout=180s")
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        try:
            yield name
        finally:
            run("kubectl", "delete", "namespace", name, "--ignore-not-found", "--wait=false")

    def wait_for_deletions(self) -> None:
        """Waits until no namespace is being deleted.

        By then the operator has removed the finalizers of all objects in them.
        """
        leaving = "jsonpath={.items[?(@.status.phase=='Terminating')].metadata.name}"
        self.wait(
            lambda: not run("kubectl", "get", "namespaces", "--output", leaving), what="deleted namespaces to be gone"
        )

    def pods(self, component: str) -> list[str]:
        """Returns the names of a component's pods that are not being deleted."""
        found = self.get(
            "pods", selector=f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}"
        )
        return [pod["metadata"]["name"] for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def present(self, component: str) -> set[str]:
        """Returns the names of all pods of a component, including those that are being deleted."""
        selector = f"app.kubernetes.io/instance={RELEASE},app.kubernetes.io/component={component}"
        return {pod["metadata"]["name"] for pod in self.get("pods", selector=selector)}

    def node(self, *command: str) -> str:
        """Runs a command on the cluster's only node and returns its output. Raises `CommandFailed`."""
        return run("docker", "exec", kind.NODE, *command)

    def kill(self, *pods: str) -> None:
        """Sends SIGKILL to the processes of pods, as when memory runs out. The kubelet restarts them later."""
        found = [self.get("pod", pod)["status"]["containerStatuses"][0]["containerID"] for pod in pods]
        for container in found:
            name = container.removeprefix("containerd://")
            self.node("ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", name)

    def wipe(self, claim: str) -> None:
        """Deletes every file on the volume of a claim. No pod may be using the volume."""
        name = self.get("persistentvolumeclaim", claim)["spec"]["volumeName"]
        volume = self.get("persistentvolume", name)["spec"]
        self.node("find", (volume.get("local") or volume["hostPath"])["path"], "-mindepth", "1", "-delete")

    def restarts(self, pod: str) -> int:
        """Returns how often the process of a pod was restarted."""
        return int(self.get("pod", pod)["status"]["containerStatuses"][0]["restartCount"])

    def scale(self, component: str, replicas: int) -> None:
        """Sets the number of pods and waits until that many exist."""
        self.kubectl("scale", f"deployment/{RELEASE}-{component}", f"--replicas={replicas}")
        self.kubectl("rollout", "status", f"deployment/{RELEASE}-{component}", "--timeout=180s")
        self.wait(lambda: len(self.pods(component)) == replicas, what=f"{replicas} pods of {component}")

    def rollout(self, component: str) -> None:
        """Replaces all pods of a component and waits until that is done."""
        self.kubectl("rollout", "restart", f"deployment/{RELEASE}-{component}")
        self.kubectl("rollout", "status", f"deployment/{RELEASE}-{component}", "--timeout=180s")

    def inside(self, program: str, *, component: str = "worker") -> Any:
        """Runs a Python program in a pod with the pod's settings and rights, and returns the JSON that it prints."""
        return json.loads(
            self.kubectl("exec", "--stdin", f"deployment/{RELEASE}-{component}", "--", "python", "-", stdin=program)
        )

    def query(self, statement: str) -> list[dict[str, Any]]:
        """Returns rows of the database as dicts. Raises `CommandFailed`, also while the database is unreachable."""
        wrapped = f"SELECT coalesce(json_agg(r), '[]') FROM ({statement}) r"
        answer = self.kubectl("exec", "--stdin", f"{RELEASE}-postgresql-0", "--", "psql", "--no-psqlrc",
                              "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--host=/tmp",
                              "--username=waypost", "waypost", stdin=wrapped)  # fmt: skip
        found: list[dict[str, Any]] = json.loads(answer)
        return found

    # -- Meta, and what it delivers -------------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """Returns the URL at which the webhook or the simulator is reached from outside the cluster."""
        service = name.partition("-")[0]
        if service not in self._urls:
            self._urls[service] = kind.outside_url(service)
        return self._urls[service]

    def meta(self, method: str, path: str, body: object = None) -> Any:
        """Calls the simulator's control API and returns its answer."""
        return self.http.request(method, f"{self.url('simulator')}/_sim/{path}", json=body).raise_for_status().json()

    def fault(self, **fault: object) -> None:
        """Makes the simulated Meta misbehave. The arguments are the body of `POST /_sim/faults`."""
        self.meta("POST", "faults", fault)

    def greet(self, contacts: Iterable[str]) -> None:
        """Lets each contact write once through Meta, which opens the contact's 24 h window at Meta."""
        for contact in contacts:
            self.meta(
                "POST", "inbound", {"number": self.identity.number, "from": contact, "text": f"hello from {contact}"}
            )

    def converse(self, contacts: Sequence[str]) -> Ledger:
        """Delivers a message from each contact, asserts that each message got its reply, and returns the ledger."""
        self.greet(contacts)
        ledger = Ledger(self)
        for contact in contacts:
            ledger.deliver([ledger.message(contact)], ["webhook"])
        self.quiesce()
        ledger.assert_nothing_lost()
        ledger.assert_replies()
        return ledger

    def sent(self) -> list[dict[str, object]]:
        """Returns the messages that Meta accepted for our number, in the order of acceptance."""
        found: list[dict[str, object]] = self.meta("GET", f"sent?number={self.identity.number}&limit=100000")
        return found

    # -- looking --------------------------------------------------------------------------------------------------

    def wait(self, condition: Callable[[], object], *, deadline_s: float = 300.0, what: str = "") -> None:
        """Polls until the condition holds. After the deadline it fails with `what` and a list of pods."""
        deadline = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {deadline_s:.0f} s: {what}\n{self.describe()}"
            time.sleep(0.2)

    def describe(self) -> str:
        """Returns the state that a failed wait should show: the pods and our objects."""
        try:
            return run("kubectl", "get", "pods,whatsapp", "--all-namespaces")
        except CommandFailed as failure:
            return str(failure)

    def conditions(self, name: str, *, namespace: str, kind_: str = "whatsappnumber") -> dict[str, tuple[str, str]]:
        """Returns `{type: (status, reason)}` of a number or schedule. The dict is empty before the first status."""
        found = self.get(kind_, name, namespace=namespace).get("status", {}).get("conditions", [])
        return {each["type"]: (each["status"], each["reason"]) for each in found}

    def is_ready(self, name: str, *, namespace: str, kind_: str = "whatsappnumber") -> bool:
        """Returns whether a number or schedule has the condition `Ready`."""
        return self.conditions(name, namespace=namespace, kind_=kind_).get("Ready", ("", ""))[0] == "True"

    def reconcile(self, name: str, *, namespace: str) -> None:
        """Asks the operator to reconcile a number now, and waits until that is done and the number is ready."""
        asked = token_hex(4)
        self.kubectl("annotate", "--overwrite", f"whatsappnumber/{name}", f"{REQUESTED}={asked}", namespace=namespace)

        def is_handled() -> bool:
            status = self.get("whatsappnumber", name, namespace=namespace).get("status", {})
            return bool(status.get("lastHandledReconcileAt") == asked)

        self.wait(is_handled, what=f"the operator to reconcile {name}")
        self.wait(lambda: self.is_ready(name, namespace=namespace), what=f"{name} to be ready")

    def is_quiet(self) -> bool:
        """Returns whether no event waits and no message is to be sent.

        Returns False while the database is unreachable.
        """
        try:
            (row,) = self.query("""
                SELECT (SELECT count(*) FROM event WHERE state = 'waiting')
                     + (SELECT count(*) FROM outbox WHERE state IN ('queued', 'sending')) AS open
            """)
        except CommandFailed:
            return False
        return bool(row["open"] == 0)

    def quiesce(self) -> None:
        """Waits until every accepted event is handled and every reply is sent."""
        self.wait(self.is_quiet, what="nothing waiting")

    def event_states(self) -> dict[str, str]:
        """Returns `{event key: state}` of all messages."""
        rows = self.query("SELECT event_key, state FROM event WHERE kind = 'message'")
        return {row["event_key"]: row["state"] for row in rows}

    def reply_states(self, event_keys: Iterable[str]) -> dict[str, str]:
        """Returns `{event key: state of the reply}` of those messages that have a reply by now."""
        return {row["event_key"]: row["state"] for row in self._replies() if row["event_key"] in set(event_keys)}

    def unsettled(self) -> set[str]:
        """Returns the keys of messages whose reply is in state `unknown` and was not accepted by Meta."""
        taken = {str(sent["biz_opaque_callback_data"]) for sent in self.sent()}
        return {
            row["event_key"]
            for row in self._replies()
            if row["state"] == "unknown" and f"waypost:{row['correlation']}" not in taken
        }

    def _replies(self) -> list[dict[str, Any]]:
        return self.query("""
            SELECT event.event_key, outbox.state, outbox.correlation
            FROM outbox JOIN event ON event.id = outbox.event_id WHERE outbox.kind = 'message'
        """)

    def assert_counts_hold(self) -> None:
        """Asserts guarantee G9 for every number, with the counts that the console also exports."""
        for number, count in self.inside(COUNTS).items():
            assert count["received"] == count["duplicate"] + count["done"] + count["dead"] + count["waiting"], (
                number,
                count,
            )


COUNTS = """
import json, os
from waypost.store import counts
from waypost.store.connection.database import connect
engine = connect(os.environ["WAYPOST_DATABASE_URL"], application="waypost-e2e", pool_size=1)
with engine.connect() as connection:
    found = counts.by_number(connection)
names = ("received", "duplicate", "done", "dead", "waiting")
print(json.dumps({number: {name: getattr(count, name) for name in names} for number, count in found.items()}))
"""


def secret(namespace: str, name: str, data: dict[str, str], *, opted_in: bool = True) -> dict[str, Any]:
    """Returns a Secret with credentials. Numbers of its namespace may use it only if `opted_in` is True."""
    labels = {"waypost.dev/credentials": "true"} if opted_in else {}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def run(*command: str, stdin: str | None = None) -> str:
    """Runs a command with our tools on our cluster, and returns its output. Raises `CommandFailed`."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, env=dict(environment()))
    if done.returncode:
        raise CommandFailed(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip()


def is_asked_for() -> bool:
    """Returns whether WAYPOST_E2E=1 asks for these tests. `make e2e` sets this variable."""
    return os.environ.get("WAYPOST_E2E") == "1"
