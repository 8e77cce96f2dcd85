"""`waypost operator` runs as a process, with the simulated Meta and an API server in memory."""

import base64
import functools
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import yaml

from waypost.contracts.condition_types import ConditionType
from waypost.operator.meta import budget_handover

from .apiserver import ApiServer, Manifest
from .running import FALSE, RELEASE, TEAM, TRUE, until

APP, APP_SECRET, TOKEN = "100000000000001", "canary-app-secret-9d2c", "EAAcanaryToken9d2c"
WABA, NUMBER, PHONE = "102290129340398", "106540352242922", "+1 555 078 3881"


class _Handshake(http.server.BaseHTTPRequestHandler):
    """A server that answers Meta's handshakes in place of the webhook."""

    def do_GET(self) -> None:
        challenge = parse_qs(urlsplit(self.path).query).get("hub.challenge", [""])[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(challenge)))
        self.end_headers()
        self.wfile.write(challenge)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Logs nothing."""


class Installation:
    """The processes of a test, with the API server and the simulated Meta that they share."""

    def __init__(self, api: ApiServer, folder: Path, free_port: Callable[[], int]) -> None:
        self.api, self.folder = api, folder
        self.kubeconfig = api.kubeconfig(folder)
        self.webhook = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handshake)
        threading.Thread(target=self.webhook.serve_forever, daemon=True).start()
        self.public_url = f"http://127.0.0.1:{self.webhook.server_address[1]}"
        port, self.probe_port = free_port(), free_port()
        self.meta = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30)
        self.running: list[subprocess.Popen[bytes]] = []
        self.start("simulator", WAYPOST_SIMULATOR_PORT=str(port), WAYPOST_PROBE_PORT="0")
        until(lambda: _answers(self.meta, "/_sim/world"), "the simulator answers")
        self.world(
            apps=[{"app_id": APP, "app_secret": APP_SECRET}],
            accounts=[{"waba_id": WABA, "numbers": [{"phone_number_id": NUMBER, "display_phone_number": PHONE}]}],
            tokens=[{"token": TOKEN, "app_id": APP}],
        )

    def start(self, service: str, **environment: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{service}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "waypost.cli", service],
                env={**os.environ, "WAYPOST_HOST": "127.0.0.1", **environment},
                stdout=log,
                stderr=log,
            )
        self.running.append(process)
        return process

    def operator(self, *, waits: bool = True, calls_per_hour: int = 200) -> "subprocess.Popen[bytes]":
        process = self.start(
            "operator",
            WAYPOST_KUBECONFIG=str(self.kubeconfig),
            WAYPOST_RELEASE_NAMESPACE=RELEASE,
            WAYPOST_PUBLIC_URL=self.public_url,
            WAYPOST_WEBHOOK_PROBE_URL=self.public_url,
            WAYPOST_GRAPH_URL=str(self.meta.base_url),
            WAYPOST_GRAPH_CALLS_PER_HOUR=str(calls_per_hour),
            WAYPOST_JOB_IMAGE="waypost:test",
            WAYPOST_PROBE_PORT=str(self.probe_port),
            WAYPOST_TRACE_DIR=str(self.folder / "traces"),
        )
        if waits:
            until(lambda: self.is_up(process), "the operator is ready")
        return process

    def is_up(self, operator: "subprocess.Popen[bytes]") -> bool:
        assert operator.poll() is None, (self.folder / "operator.log").read_text()[-3000:]
        return self.probe("/readyz").startswith("ok")

    def probe(self, path: str) -> str:
        try:
            return httpx.get(f"http://127.0.0.1:{self.probe_port}{path}", trust_env=False, timeout=5).text
        except httpx.TransportError:
            return ""

    def world(self, **seed: Any) -> None:
        self.meta.put("/_sim/world", json=seed).raise_for_status()

    def conditions(self, kind: str = "WhatsAppNumber", name: str = "support") -> dict[str, tuple[str, str]]:
        found = self.api.get(kind, TEAM, name) or {}
        listed = found.get("status", {}).get("conditions", [])
        return {each["type"]: (each["status"], each["reason"]) for each in listed}

    def is_ready(self, kind: str = "WhatsAppNumber", name: str = "support") -> bool:
        return self.conditions(kind, name).get(ConditionType.READY, ("", ""))[0] == TRUE

    def apply(self, **spec: Any) -> None:
        self.api.put(_secret())
        given = {"phoneNumberId": NUMBER, "wabaId": WABA, "credentialsRef": {"name": "support-meta"}}
        self.api.put(_object("WhatsAppNumber", "support", given | spec))
        message = {"template": {"name": "news", "language": "en"}, "audience": {"contacts": ["+393331234567"]}}
        action = {"message": message}
        wanted = {"numberRef": {"name": "support"}, "schedule": "0 9 * * 1", "timeZone": "Europe/Rome"}
        self.api.put(_object("BotSchedule", "news", wanted | {"action": action}))

    def record(self) -> budget_handover.Record:
        """Returns the record of remaining calls that the next operator would find."""
        found = self.api.get("ConfigMap", RELEASE, budget_handover.NAME) or {"data": {budget_handover.KEY: "{}"}}
        return budget_handover.read(found["data"][budget_handover.KEY].encode(), time.time())

    def has_grants(self, count: int) -> bool:
        return len(self.record().grants) == count

    def has_more_writes_than(self, count: int) -> bool:
        return len(self.api.changes()) > count

    def callback(self) -> str:
        """Returns the address to which Meta delivers the number's messages."""
        found = self.meta.get(
            f"/v26.0/{NUMBER}",
            params={"fields": "webhook_configuration"},
            headers={"Authorization": f"Bearer {TOKEN}"},
        ).json()
        return str(found.get("webhook_configuration", {}).get("phone_number", ""))

    def close(self) -> None:
        for process in self.running:
            process.kill()
            process.wait(30)
        self.webhook.shutdown()
        self.webhook.server_close()
        self.meta.close()


def _answers(client: httpx.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def _object(kind: str, name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": TEAM}
    return {"apiVersion": "waypost.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _secret(token: str = TOKEN) -> Manifest:
    metadata = {"name": "support-meta", "namespace": TEAM, "labels": {"waypost.dev/credentials": "true"}}
    data = {"appId": APP, "appSecret": APP_SECRET, "accessToken": token}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


@pytest.fixture
def installation(api: ApiServer, tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Installation]:
    """Yields an installation with a simulated Meta that has one number.

    A small server answers in place of the webhook. No operator runs yet.
    """
    made = Installation(api, tmp_path, free_port)
    yield made
    made.close()


def test_an_applied_number_and_schedule_are_set_up_and_repaired(installation: Installation) -> None:
    """After `kubectl apply`, the operator sets up a verified callback, a registry and a CronJob.

    It also repairs drift. SIGTERM ends the operator.
    """
    operator, api = installation.operator(), installation.api
    installation.apply()
    until(lambda: installation.is_ready() and installation.is_ready("BotSchedule", "news"), "both are ready")
    assert installation.callback() == f"{installation.public_url}/webhooks/{TEAM}/support"
    registry = [each for each in api.all("Secret") if each["metadata"]["name"].startswith("waypost-registry-")]
    assert sorted(key for each in registry for key in each.get("data") or {}) == [f"{TEAM}.support.json"] * 2
    (cron_job,) = api.all("CronJob")
    assert cron_job["metadata"]["namespace"] == RELEASE

    api.delete("CronJob", RELEASE, cron_job["metadata"]["name"])
    until(lambda: api.all("CronJob"), "the CronJob is made again")

    elsewhere = {"override_callback_uri": f"{installation.public_url}/elsewhere", "verify_token": "x" * 40}
    installation.meta.post(
        f"/v26.0/{NUMBER}", json={"webhook_configuration": elsewhere}, headers={"Authorization": f"Bearer {TOKEN}"}
    ).raise_for_status()
    asked = {"waypost.dev/reconcile-requested-at": "now"}
    api.edit("WhatsAppNumber", TEAM, "support", lambda each: each["metadata"].update(annotations=asked))
    until(lambda: installation.callback().endswith(f"/webhooks/{TEAM}/support"), "the callback is repaired")

    operator.send_signal(signal.SIGTERM)
    assert operator.wait(60) == 0


@pytest.mark.fault("G5")
def test_a_revoked_token_is_reported_and_a_new_one_is_used_at_once(installation: Installation) -> None:
    """A revoked token is reported in a condition that says what a person must do.

    The change of the Secret then wakes the number, so the new token is used at once.
    """
    installation.world(tokens=[{"token": TOKEN, "app_id": APP, "revoked": True}])
    installation.operator()
    installation.apply()
    until(lambda: installation.conditions().get(ConditionType.TOKEN_VALID, ("", ""))[0] == FALSE, "it is reported")
    installation.world(tokens=[{"token": "EAAcanaryNew9d2c", "app_id": APP}])
    installation.api.put(_secret("EAAcanaryNew9d2c"))
    until(installation.is_ready, "the number is ready")


@pytest.mark.fault("K2")
def test_an_operator_killed_at_any_moment_leaves_nothing_undone(installation: Installation) -> None:
    """After several kills of the operator during its first work, nothing is created twice and nothing is missing.

    The account has many calls. Another test covers how many calls a kill costs a small account.
    """
    installation.apply()
    for delay_s in (0.0, 0.1, 0.25):
        operator = installation.operator(waits=False, calls_per_hour=5000)
        writes = len(installation.api.changes())
        until(functools.partial(installation.has_more_writes_than, writes), "it has begun to write")
        threading.Event().wait(delay_s)  # any moment of its work will do
        operator.kill()
        operator.wait(30)
    installation.operator(calls_per_hour=5000)
    until(lambda: installation.is_ready() and installation.is_ready("BotSchedule", "news"), "both are ready")
    assert installation.callback() == f"{installation.public_url}/webhooks/{TEAM}/support"
    assert len(installation.api.all("CronJob")) == 1
    found = [each["metadata"]["name"] for each in installation.api.all("Secret")]
    assert len(found) == len(set(found))
    registry = [each for each in installation.api.all("Secret") if "waypost-registry-" in each["metadata"]["name"]]
    assert sorted(key for each in registry for key in each.get("data") or {}) == [f"{TEAM}.support.json"] * 2


def test_rollouts_cost_an_account_no_calls(installation: Installation) -> None:
    """After SIGTERM the next process continues with the calls that remained, for known and for new accounts."""
    installation.apply()
    operator = installation.operator()
    until(installation.is_ready, "the number is ready")
    for phone_number_id, name in (("106540352242923", "sales"), ("106540352242924", "press")):
        operator.send_signal(signal.SIGTERM)
        assert operator.wait(60) == 0
        ended = installation.record()
        assert ended.left is not None
        assert ended.left.others > ended.left.accounts[WABA] > 0.05
        assert not any(canary in str(ended) for canary in (APP_SECRET, TOKEN, "15550783881", "078 3881"))
        operator = installation.operator()
        waba_id = f"1{phone_number_id}"
        shown = {"phone_number_id": phone_number_id, "display_phone_number": PHONE}
        installation.world(accounts=[{"waba_id": waba_id, "numbers": [shown]}])
        spec = {"phoneNumberId": phone_number_id, "credentialsRef": {"name": "support-meta"}}
        installation.api.put(_object("WhatsAppNumber", name, spec | {"wabaId": waba_id}))
        until(functools.partial(installation.is_ready, name=name), "a new account's number is ready")
        assert installation.record().left is None, "it was used"
        assert installation.record().grants == ended.grants
    assert len(ended.grants) == 1


def test_a_kill_costs_the_next_process_half(installation: Installation) -> None:
    """After a kill the next process gets a smaller grant, because the remaining calls were not recorded.

    The record of an earlier process is not used again.
    """
    installation.apply()
    for grants in (1, 2):
        operator = installation.operator()
        until(functools.partial(installation.has_grants, grants), "its start is recorded")
        operator.kill()
        operator.wait(30)
        assert installation.record().left is None


def test_an_orderly_end_does_not_wait_for_an_api_server_that_is_away(installation: Installation) -> None:
    """An operator that ends after SIGTERM does not wait for an unreachable API server.

    Only the record of the remaining calls is lost.
    """
    installation.apply()
    operator = installation.operator()
    until(installation.is_ready, "the number is ready")
    installation.api.stop()
    operator.send_signal(signal.SIGTERM)
    assert operator.wait(60) == 0
    assert "the record for the next process was not written" in (installation.folder / "operator.log").read_text()
    assert installation.record().left is None


def test_a_deletion_removes_what_was_created(installation: Installation) -> None:
    """After the objects are deleted, no route, order or CronJob remains, and `kubectl delete` ends."""
    api = installation.api
    installation.operator()
    installation.apply()
    until(lambda: installation.is_ready() and installation.is_ready("BotSchedule", "news"), "both are ready")
    api.delete("BotSchedule", TEAM, "news")
    api.delete("WhatsAppNumber", TEAM, "support")
    until(lambda: not api.all("WhatsAppNumber") and not api.all("BotSchedule"), "both are gone")
    assert api.all("CronJob") == []
    assert not any(each.get("data") for each in api.all("Secret") if each["metadata"]["namespace"] == RELEASE)


@pytest.mark.fault("X4")
def test_no_secret_and_no_phone_number_is_in_logs_traces_metrics_events_or_status(installation: Installation) -> None:
    """G8: nothing that the operator writes contains a secret or a phone number.

    The test searches for marked values in logs, traces, metrics, Events and status.
    """
    installation.operator()
    installation.apply()
    until(lambda: installation.is_ready() and installation.is_ready("BotSchedule", "news"), "both are ready")
    installation.world(tokens=[{"token": TOKEN, "app_id": APP, "revoked": True}])
    asked = {"waypost.dev/reconcile-requested-at": "now"}
    installation.api.edit("WhatsAppNumber", TEAM, "support", lambda each: each["metadata"].update(annotations=asked))
    until(lambda: installation.conditions()[ConditionType.TOKEN_VALID][0] == FALSE, "the revocation is reported")
    metrics = installation.probe("/metrics")
    spans = installation.folder / "traces"
    until(lambda: "reconcile WhatsAppNumber" in _texts(spans), "spans are written")
    said = metrics + _texts(spans) + (installation.folder / "operator.log").read_text()
    for kind in ("WhatsAppNumber", "BotSchedule"):
        said += json.dumps([each.get("status") for each in installation.api.all(kind)])
    said += json.dumps(installation.api.all("Event"))
    verify_tokens = [
        token
        for each in installation.api.all("Secret")
        if each["metadata"]["name"].startswith("waypost-registry-webhook")
        for value in (each.get("data") or {}).values()
        for token in json.loads(base64.b64decode(value)).get("verifyTokens", [])
    ]
    assert verify_tokens
    for canary in (APP_SECRET, TOKEN, "15550783881", "078 3881", "393331234567", *verify_tokens):
        assert canary not in said
    assert 'waypost_reconcile_total{kind="WhatsAppNumber"' in metrics
    names = {json.loads(line)["name"] for line in _texts(spans).splitlines()}
    assert {"reconcile WhatsAppNumber", "reconcile BotSchedule", "kubernetes apply secrets"} <= names
    roots = [json.loads(line) for line in _texts(spans).splitlines()]
    parents = {each["span_id"]: each["name"] for each in roots}
    assert any(
        re.match(r"(GET|POST) ", each["name"]) and parents.get(each["parent_id"]) == "reconcile WhatsAppNumber"
        for each in roots
    ), "Graph calls are children of the reconcile"


def _texts(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob("*.jsonl")))


def test_the_examples_become_ready(installation: Installation, pytestconfig: pytest.Config) -> None:
    """The objects in `examples/` become ready, because a newcomer tries `kubectl apply -f examples/` first."""
    for path in sorted((pytestconfig.rootpath / "examples").glob("*.yaml")):
        for manifest in yaml.safe_load_all(path.read_text()):
            installation.api.put(manifest)
    (secret,) = [each for each in installation.api.all("Secret") if each["metadata"]["name"] == "support-meta"]
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    installation.world(
        apps=[{"app_id": data["appId"], "app_secret": data["appSecret"]}],
        tokens=[{"token": data["accessToken"], "app_id": data["appId"]}],
    )
    installation.operator()
    schedules = [each["metadata"]["name"] for each in installation.api.all("BotSchedule")]
    assert schedules
    until(
        lambda: installation.is_ready() and all(installation.is_ready("BotSchedule", name) for name in schedules),
        "all is ready",
    )
    assert len(installation.api.all("CronJob")) == len(schedules)
