"""Sends one signed delivery from outside of the cluster, as Meta would, and prints the bot's reply and its trace."""

import json
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from rich.console import Console

from tools.cluster import kind, traces
from tools.machine import StepFailed, print_step
from waypost.cloudapi.inbound.signature import sign
from waypost.dev import demonstration, trace_tree

NUMBER, ACCOUNT, APP_SECRET = "106540352242922", "102290129340398", "simulator-app-secret-not-real"
"""The values in examples/number.yaml."""

REPLY_TIMEOUT_S = 60


def exchange_messages() -> None:
    """Sends a user's message through the simulated Meta, and a second one in our own delivery. Prints the replies.

    Raises `StepFailed` if a reply, or the trace of the second message, does not arrive in time.
    """
    print_step("a user writes to the bot")
    deadline = time.monotonic() + REPLY_TIMEOUT_S
    sent_before = len(_sent_messages())
    # Meta accepts replies only to a user whose message it saw within 24 hours: the first one opens that window.
    _post(f"{kind.outside_url('simulator')}/_sim/inbound", json.dumps(
        {"number": NUMBER, "from": demonstration.USER, "name": "Ada", "text": demonstration.GREETING}
    ).encode())  # fmt: skip
    _print_exchange(demonstration.GREETING, _wait_for_reply(deadline, after=sent_before))
    sent_before = len(_sent_messages())
    started_ns = time.time_ns()
    body = _delivery("hours")
    url = f"{kind.outside_url('webhook')}/webhooks/team-a/support"
    status = _post(url, body, {"X-Hub-Signature-256": sign(APP_SECRET, body)})
    print(f"A signed delivery to {url}: {status}")
    _print_exchange("hours", _wait_for_reply(deadline, after=sent_before))
    logs = "kubectl --namespace observability logs deployment/collector --container collector"
    # The collector's file lags behind by its flush interval.
    spans = _wait_for(deadline, lambda: _find_trace(started_ns), f"no trace arrived; see `{logs}`")
    console = Console()
    for root in trace_tree.roots(spans):
        console.print(demonstration.rich_tree(root))


def _print_exchange(question: str, answer: str) -> None:
    print(f"\nuser  {question}\nbot   {answer}\n")


def _wait_for_reply(deadline: float, *, after: int) -> str:
    logs = "kubectl --namespace waypost logs deployment/waypost-worker"
    return str(_wait_for(deadline, lambda: _sent_messages()[after:], f"no reply arrived; see `{logs}`")[0]["text"])


def _post(url: str, body: bytes, headers: dict[str, str] | None = None) -> int:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **(headers or {})})
    with urllib.request.urlopen(request, timeout=15) as response:
        return int(response.status)


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


def _sent_messages() -> list[dict[str, Any]]:
    url = f"{kind.outside_url('simulator')}/_sim/sent?number={NUMBER}"
    with urllib.request.urlopen(url, timeout=15) as response:
        messages: list[dict[str, Any]] = json.load(response)
        return messages


def _find_trace(started_ns: int) -> list[Any]:
    for spans in trace_tree.traces_since(traces.read_spans(), started_ns).values():
        if {"SERVER", "CONSUMER", "CLIENT"} <= {span["kind"] for span in spans}:
            return spans
    return []


def _wait_for(deadline: float, look: Callable[[], list[Any]], error: str) -> list[Any]:
    while not (found := look()):
        if time.monotonic() > deadline:
            raise StepFailed(error)
        time.sleep(0.3)
    return found
