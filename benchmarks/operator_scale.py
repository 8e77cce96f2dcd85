"""`python -m benchmarks.operator_scale`: creates many numbers and schedules at once, on any cluster.

The operator runs on this machine, with the simulated Meta and a stand-in for the webhook. The operator
reaches the cluster by a kubeconfig that must allow everything. This is the file of `--kubeconfig`, otherwise
that of `WAYPOST_TEST_KUBECONFIG`, otherwise that of `KUBECONFIG`. All objects are in namespaces that the
benchmark creates, and deletes at the end. The CRDs are deleted too if they did not exist before. The figures
go to stdout. With `--json`, they are one JSON object. The exit status is 0 if all aims are met, 1 if an aim
is not met, and 2 if there is no cluster to run on.
"""

import argparse
import contextlib
import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import httpx
from kubernetes import client, config
from kubernetes.client.exceptions import ConflictException

from benchmarks.operator_scale_fleet import Fleet
from tests.untyped import untyped
from waypost.dev.ports import free_port
from waypost.operator.api.crd import KINDS, crd

API = ("waypost.dev", "v1alpha1")
PLURALS = ("whatsappnumbers", "botschedules")
AT_ONCE = 16
"""Requests at a time while all is being created."""

READY_S = 120.0
MEGABYTES = 200.0
WRITES = re.compile(r'waypost_kubernetes_call_seconds_count\{kind="(\w+)",result="ok",verb="(\w+)"\} (\S+)')
CALLS = re.compile(r"^waypost_graph_call_seconds_count\{.*\} (\S+)$", re.MULTILINE)
READING = {"get", "list"}
PROOF_OF_LIFE = {("Lease", "update"), ("ConfigMap", "apply")}
"""A lease is renewed and the canary is touched, whatever happens; a start is written down once."""


class Handshake(http.server.BaseHTTPRequestHandler):
    """Stands in for the webhook and answers every verification. How fast it answers is not measured."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        challenge = parse_qs(urlsplit(self.path).query).get("hub.challenge", [""])[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(challenge)))
        self.end_headers()
        self.wfile.write(challenge)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Logs nothing."""


class Scale:
    """All running parts of the measurement. Use this class as a context manager."""

    def __init__(self, kubeconfig: Path, fleet: Fleet) -> None:
        self._kubeconfig = kubeconfig
        self.fleet = fleet
        self._exit = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="wps-")))
        made = self._exit.enter_context(untyped(config.new_client_from_config)(str(self._kubeconfig)))
        made.configuration.connection_pool_maxsize = AT_ONCE
        self.core, self.objects = client.CoreV1Api(made), client.CustomObjectsApi(made)
        self._exit.enter_context(_kinds(client.ApiextensionsV1Api(made)))
        for namespace in (self.fleet.release, *self.fleet.teams):
            self.core.create_namespace(untyped({"metadata": {"name": namespace}}))
            self._exit.callback(self.core.delete_namespace, namespace)
        webhook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handshake)
        threading.Thread(target=webhook.serve_forever, daemon=True).start()
        self._exit.callback(webhook.shutdown)
        self._public_url = f"http://127.0.0.1:{webhook.server_address[1]}"
        self.http = self._exit.enter_context(httpx.Client(trust_env=False, timeout=60))
        port = free_port()
        self.start("simulator", WAYPOST_SIMULATOR_PORT=str(port))
        self._graph_url = f"http://127.0.0.1:{port}"
        _until(lambda: self._answers(f"{self._graph_url}/_sim/sent"), 60, "the simulator answers")
        self.http.put(f"{self._graph_url}/_sim/world", json=self.fleet.world()).raise_for_status()
        return self

    def __exit__(self, *_: object) -> None:
        for plural in PLURALS:  # what an operator that failed has not let go would hold its namespace for ever
            for team in self.fleet.teams:
                for each in self._list(team, plural):
                    self.objects.patch_namespaced_custom_object(
                        *API, team, plural, each["metadata"]["name"], {"metadata": {"finalizers": None}}
                    )
        self._exit.close()

    def start(self, service: str, **environment: str) -> "subprocess.Popen[bytes]":
        """Starts a Waypost service and returns its process."""
        own = {"WAYPOST_HOST": "127.0.0.1", "WAYPOST_PROBE_PORT": "0", "WAYPOST_LOG_LEVEL": "WARNING"}
        with (self.folder / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "waypost.cli", service],
                env={**os.environ, **own, **environment},
                stdout=log,
                stderr=log,
            )
        self._exit.callback(_end, process)
        return process

    def start_operator(self) -> "subprocess.Popen[bytes]":
        """Starts the operator, waits until it is ready, and returns its process."""
        self._probe = free_port()
        process = self.start(
            "operator",
            WAYPOST_KUBECONFIG=str(self._kubeconfig),
            WAYPOST_RELEASE_NAMESPACE=self.fleet.release,
            WAYPOST_NAMESPACES=",".join(self.fleet.teams),
            WAYPOST_PUBLIC_URL=self._public_url,
            WAYPOST_WEBHOOK_PROBE_URL=self._public_url,
            WAYPOST_GRAPH_URL=self._graph_url,
            WAYPOST_JOB_IMAGE="waypost:scale",
            WAYPOST_PROBE_PORT=str(self._probe),
        )
        _until(lambda: self._answers(f"http://127.0.0.1:{self._probe}/readyz"), 60, "the operator is ready")
        return process

    def create(self, make: Callable[[int], object], count: int) -> None:
        """Calls `make` once with each index below `count`. Several calls run at the same time."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(make, range(count)):
                pass

    def create_objects(self, plural: str, body: Callable[[int], dict[str, Any]], count: int) -> None:
        """Creates `count` Waypost objects of one kind, spread over the teams."""
        self.create(
            lambda index: self.objects.create_namespaced_custom_object(
                *API, self.fleet.team(index), plural, body(index)
            ),
            count,
        )

    def ready(self, plural: str) -> int:
        """Returns how many objects of a kind have the condition Ready=True for their latest spec."""
        return sum(sum(map(_is_ready, self._list(team, plural))) for team in self.fleet.teams)

    def delete_all(self) -> None:
        """Deletes every number and schedule. The operator then removes its finalizers from them."""
        for plural in reversed(PLURALS):
            for team in self.fleet.teams:
                self.objects.delete_collection_namespaced_custom_object(*API, team, plural)

    def left(self) -> int:
        """Returns how many numbers and schedules still exist."""
        return sum(len(self._list(team, plural)) for team in self.fleet.teams for plural in PLURALS)

    def _list(self, team: str, plural: str) -> list[dict[str, Any]]:
        listed = untyped(self.objects.list_namespaced_custom_object(*API, team, plural))
        found: list[dict[str, Any]] = listed["items"]
        return found

    def writes(self) -> float:
        """Returns how many requests of the operator wrote something or tried to."""
        text = self._metrics()
        return sum(
            float(number)
            for kind, verb, number in WRITES.findall(text)
            if verb not in READING and (kind, verb) not in PROOF_OF_LIFE
        )

    def graph_calls(self) -> float:
        """Returns how many calls the operator made to the Graph API."""
        return sum(map(float, CALLS.findall(self._metrics())))

    def _metrics(self) -> str:
        return self.http.get(f"http://127.0.0.1:{self._probe}/metrics").text

    def _answers(self, url: str) -> bool:
        try:
            return self.http.get(url).status_code == 200
        except httpx.HTTPError:
            return False


@contextlib.contextmanager
def _kinds(extensions: client.ApiextensionsV1Api) -> Iterator[None]:
    """Creates or updates the CRDs of both kinds. At the end, deletes only the CRDs that it created."""
    definitions = {each["metadata"]["name"]: each for each in map(crd, KINDS)}
    ours = []
    for name, body in definitions.items():
        try:
            extensions.create_custom_resource_definition(untyped(body))
            ours.append(name)
        except ConflictException:
            extensions.patch_custom_resource_definition(name, {"spec": body["spec"]})

    def served() -> bool:
        states = [extensions.read_custom_resource_definition(name).status for name in definitions]
        return all(
            state is not None and any(c.type == "Established" and c.status == "True" for c in state.conditions or ())
            for state in states
        )

    _until(served, 60, "the kinds are served")
    try:
        yield
    finally:
        for name in ours:
            extensions.delete_custom_resource_definition(name)


def measure(scale: Scale, quiet_s: float) -> dict[str, float]:
    """Runs the whole measurement and returns its figures."""
    fleet = scale.fleet
    scale.create(
        lambda index: scale.core.create_namespaced_secret(fleet.team(index), untyped(fleet.secret(index))),
        fleet.numbers,
    )
    operator = scale.start_operator()
    began, processor = time.monotonic(), _processor_seconds(operator.pid)
    scale.create_objects("whatsappnumbers", fleet.number, fleet.numbers)
    scale.create_objects("botschedules", fleet.schedule, fleet.schedules)
    created = time.monotonic()
    what = f"{fleet.numbers} numbers and {fleet.schedules} schedules are ready"
    _until(lambda: scale.ready("whatsappnumbers") == fleet.numbers, 600, what, every=1.0)
    numbers_ready = time.monotonic()
    _until(lambda: scale.ready("botschedules") == fleet.schedules, 600, what, every=1.0)
    ready = time.monotonic()
    figures = {
        "created_s": created - began,
        "numbers_ready_s": numbers_ready - began,
        "ready_s": ready - began,
        "processor_s": _processor_seconds(operator.pid) - processor,
        "writes": scale.writes(),
        "graph_calls": scale.graph_calls(),
    }
    _until_still(scale.writes)
    before, calls, processor = scale.writes(), scale.graph_calls(), _processor_seconds(operator.pid)
    time.sleep(quiet_s)
    figures |= {
        "quiet_writes": scale.writes() - before,
        "quiet_graph_calls": scale.graph_calls() - calls,
        "quiet_processor_share": (_processor_seconds(operator.pid) - processor) / max(quiet_s, 1),
        "peak_megabytes": _megabytes(operator.pid, "VmHWM"),
        "megabytes": _megabytes(operator.pid, "VmRSS"),
    }
    _end(operator)
    operator = scale.start_operator()
    time.sleep(quiet_s)
    figures |= {
        "restart_writes": scale.writes(),
        "restart_graph_calls": scale.graph_calls(),
        "restart_megabytes": _megabytes(operator.pid, "VmHWM"),
    }
    began = time.monotonic()
    scale.delete_all()
    _until(lambda: scale.left() == 0, 600, "all are deleted", every=1.0)
    return figures | {"deleted_s": time.monotonic() - began}


def main() -> int:
    """Runs the benchmark and returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.operator_scale", description=__doc__)
    given = os.environ.get("WAYPOST_TEST_KUBECONFIG") or os.environ.get("KUBECONFIG")
    parser.add_argument("--kubeconfig", type=Path, default=given, help="of a cluster where everything is allowed")
    parser.add_argument("--numbers", type=int, default=1000)
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--quiet", type=float, default=60.0, metavar="SECONDS", help="how long quiet is looked at")
    parser.add_argument("--json", action="store_true", help="figures as one JSON object")
    options = parser.parse_args()
    if options.kubeconfig is None or not options.kubeconfig.is_file():
        parser.error("no cluster: give --kubeconfig FILE, or set WAYPOST_TEST_KUBECONFIG or KUBECONFIG")
    load = os.getloadavg()[0]
    with Scale(options.kubeconfig, Fleet(options.numbers, options.schedules)) as scale:
        try:
            figures = measure(scale, options.quiet)
        except TimeoutError as error:
            print(f"{error}\n{(scale.folder / 'operator.log').read_text()[-4000:]}", file=sys.stderr)
            return 1
    figures |= {"load_before": load, "load_after": os.getloadavg()[0]}
    figures = {key: round(value, 2) for key, value in figures.items()}
    print(json.dumps(figures) if options.json else "\n".join(f"{key:<24}{value:>10}" for key, value in figures.items()))
    met = {
        f"all ready within {READY_S:.0f} s": figures["ready_s"] <= READY_S,
        f"at most {MEGABYTES:.0f} MB": max(figures["peak_megabytes"], figures["restart_megabytes"]) <= MEGABYTES,
        "no write while nothing happens": figures["quiet_writes"] == 0,
        "no write after a restart": figures["restart_writes"] == 0,
    }
    for what, is_met in met.items():
        print(f"{'met' if is_met else 'NOT MET'}: {what}", file=sys.stderr)
    return 0 if all(met.values()) else 1


def _is_ready(manifest: dict[str, Any]) -> bool:
    status = manifest.get("status") or {}
    return status.get("observedGeneration") == manifest["metadata"]["generation"] and any(
        each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ()
    )


def _until(condition: Callable[[], bool], deadline_s: float, what: str, *, every: float = 0.1) -> None:
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {deadline_s:.0f} s: {what}")
        time.sleep(every)


def _until_still(read: Callable[[], float], for_s: float = 10.0) -> None:
    last, since = read(), time.monotonic()
    while time.monotonic() - since < for_s:
        time.sleep(1)
        if (now := read()) != last:
            last, since = now, time.monotonic()


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


def _lines(path: str) -> Iterator[str]:
    with Path(path).open() as file:
        yield from file


def _megabytes(pid: int, name: str) -> float:
    return next(int(line.split()[1]) / 1024 for line in _lines(f"/proc/{pid}/status") if line.startswith(name))


def _processor_seconds(pid: int) -> float:
    fields = next(_lines(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    raise SystemExit(main())
