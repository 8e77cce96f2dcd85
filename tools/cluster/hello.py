"""One signed delivery from outside of the cluster, as Meta would send it; the bot's reply, and the trace of its way."""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import kind
import traces
from machine import StepFailed, step
from rich.console import Console

from waypost.cli import demo, tracetree
from waypost.cloudapi.signature import sign

NUMBER, ACCOUNT, APP_SECRET = "106540352242922", "102290129340398", "simulator-app-secret-not-real"
"""Those of examples/number.yaml."""

ANSWERED_WITHIN_S = 60


def say() -> None:
    """Deliver "Hello", and show what came of it. Raises `StepFailed`."""
    step("a user writes to the bot")
    began = time.time_ns()
    body = _delivery()
    headers = {"Content-Type": "application/json", "X-Hub-Signature-256": sign(APP_SECRET, body)}
    url = f"{kind.outside('webhook')}/webhooks/team-a/support"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=15) as answer:
        print(f"\ndelivered to {url}: {answer.status}")
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    replies = _until(deadline, _sent, "no reply came; see `kubectl -n waypost logs deployment/waypost-worker`")
    print(f"user  Hello\nbot   {replies[-1]['text']}\n")
    logs = "kubectl --namespace observability logs deployment/collector --container collector"
    spans = _until(deadline, lambda: _trace(began), f"no trace came; see `{logs}`")
    console = Console()
    for root in tracetree.roots(spans):
        console.print(demo.tree_of(root))


def _delivery() -> bytes:
    message = {
        "from": demo.USER.removeprefix("+"),
        "id": f"wamid.{time.time_ns()}",
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": demo.GREETING},
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
    for spans in tracetree.traces_since(traces.received(), began).values():
        if {"SERVER", "CONSUMER", "CLIENT"} <= {span["kind"] for span in spans}:
            return spans
    return []


def _until(deadline: float, look: Callable[[], list[Any]], otherwise: str) -> list[Any]:
    while not (found := look()):
        if time.monotonic() > deadline:
            raise StepFailed(otherwise)
        time.sleep(0.3)
    return found
