"""One signed delivery from outside of the cluster, as Meta would send it; the bot's reply, and the trace of its way."""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from rich.console import Console

from tools.cluster import kind, traces
from tools.machine import StepFailed, step
from waypost.cloudapi.inbound.signature import sign
from waypost.dev import demonstration, trace_tree

NUMBER, ACCOUNT, APP_SECRET = "106540352242922", "102290129340398", "simulator-app-secret-not-real"
"""Those of examples/number.yaml."""

ANSWERED_WITHIN_S = 60


def say() -> None:
    """Let a user write, first through Meta and then by our own delivery; show what came of it. Raises `StepFailed`."""
    step("a user writes to the bot")
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    before = len(_sent())
    # Meta lets us answer only whom it saw writing within the last 24 hours.
    _post(f"{kind.outside('simulator')}/_sim/inbound", json.dumps(
        {"number": NUMBER, "from": demonstration.USER, "name": "Ada", "text": demonstration.GREETING}
    ).encode())  # fmt: skip
    _show(demonstration.GREETING, _reply(deadline, after=before))
    greeted = len(_sent())
    began = time.time_ns()
    body = _delivery("hours")
    url = f"{kind.outside('webhook')}/webhooks/team-a/support"
    status = _post(url, body, {"X-Hub-Signature-256": sign(APP_SECRET, body)})
    print(f"A signed delivery to {url}: {status}")
    _show("hours", _reply(deadline, after=greeted))
    logs = "kubectl --namespace observability logs deployment/collector --container collector"
    spans = _until(deadline, lambda: _trace(began), f"no trace came; see `{logs}`")
    console = Console()
    for root in trace_tree.roots(spans):
        console.print(demonstration.tree_of(root))


def _show(question: str, answer: str) -> None:
    print(f"\nuser  {question}\nbot   {answer}\n")


def _reply(deadline: float, *, after: int) -> str:
    logs = "kubectl --namespace waypost logs deployment/waypost-worker"
    return str(_until(deadline, lambda: _sent()[after:], f"no reply came; see `{logs}`")[0]["text"])


def _post(url: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **(headers or {})})
    with urllib.request.urlopen(request, timeout=15) as answer:
        return int(answer.status)


def _delivery(text: str) -> bytes:
    message = {
        "from": demonstration.USER.removeprefix("+"),
        "id": f"wamid.{time.time_ns()}",
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": text},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15559086715", "phone_number_id": NUMBER},
        "contacts": [{"wa_id": message["from"], "profile": {"name": "Ada"}}],
        "messages": [message],
    }
    changes = [{"field": "messages", "value": value}]
    return json.dumps({"object": "whatsapp_business_account", "entry": [{"id": ACCOUNT, "changes": changes}]}).encode()


def _sent() -> list[dict[str, Any]]:
    url = f"{kind.outside('simulator')}/_sim/sent?number={NUMBER}"
    with urllib.request.urlopen(url, timeout=15) as answer:
        found: list[dict[str, Any]] = json.load(answer)
        return found


def _trace(began: int) -> list[Any]:
    for spans in trace_tree.traces_since(traces.received(), began).values():
        if {"SERVER", "CONSUMER", "CLIENT"} <= {span["kind"] for span in spans}:
            return spans
    return []


def _until(deadline: float, look: Callable[[], list[Any]], otherwise: str) -> list[Any]:
    while not (found := look()):
        if time.monotonic() > deadline:
            raise StepFailed(otherwise)
        time.sleep(0.3)
    return found
