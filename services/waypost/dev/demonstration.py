"""The demonstration of `waypost dev`.

A user writes one message to the simulated Meta, the bot answers, and the trace of the exchange is shown.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from waypost.dev import trace_tree
from waypost.telemetry import spanfile

USER = "+447700900123"
"""The user's phone number. It is from the range that Ofcom reserves for drama, so it belongs to no person."""

GREETING = "Hello"

REPLY_WITHIN_S = 30.0
TRACE_WITHIN_S = 10.0
"""Seconds to wait for the trace after the reply; spans are written in batches, so the last ones arrive later."""


class NoReply(Exception):
    """Raised when the user got no reply. The error message says at which point the exchange stopped."""


class PublicAddresses(Protocol):
    """Addresses that the user can open."""

    @property
    def webhook(self) -> str:
        """Returns the address to which Meta delivers."""

    @property
    def console(self) -> str:
        """Returns the address of the status page."""

    @property
    def simulator(self) -> str:
        """Returns the address of the simulated Meta."""


@dataclass(frozen=True)
class Exchange:
    """A question and its answers, with their times and their trace."""

    question: str
    answers: tuple[str, ...]
    acknowledged_after_s: float
    """Seconds from the start of the delivery until the webhook answered 200."""
    replied_after_s: float
    """Seconds from that 200 until the reply arrived at Meta; negative if the reply was faster."""
    trace_id: str | None
    spans: tuple[trace_tree.SpanNode, ...]


def put_world(simulator: str, seed: Mapping[str, Any]) -> None:
    """Creates the apps, accounts, numbers and tokens of `seed` at the simulated Meta. Raises `httpx.HTTPError`."""
    with httpx.Client(trust_env=False, timeout=10.0) as client:
        client.put(f"{simulator}/_sim/world", json=seed).raise_for_status()


def exchange(simulator: str, phone_number_id: str, traces: Path, *, reply_within_s: float = REPLY_WITHIN_S) -> Exchange:
    """Sends a user's message to the number and waits for the bot's answer. Raises `NoReply`."""
    began_ns = time.time_ns()
    with httpx.Client(base_url=simulator, trust_env=False, timeout=30.0) as client:
        try:
            before = [message["seq"] for message in _sent(client, phone_number_id)]
            answer = client.post(
                "/_sim/inbound", json={"number": phone_number_id, "from": USER, "name": "Ada", "text": GREETING}
            )
            if answer.status_code != httpx.codes.OK:
                raise NoReply(f"the simulator refused the message: HTTP {answer.status_code} {answer.text[:200]}")
            delivery = acknowledged_attempt(answer.json())
            sent = _replies(client, phone_number_id, max(before, default=0), reply_within_s)
        except httpx.HTTPError as error:
            raise NoReply(f"the simulator does not answer: {error}") from None
    trace_id, spans = _trace(traces, began_ns)
    return Exchange(
        question=GREETING,
        answers=tuple(readable(message) for message in sent),
        acknowledged_after_s=delivery["ended_at"] - delivery["started_at"],
        replied_after_s=sent[0]["time"] - delivery["ended_at"],
        trace_id=trace_id,
        spans=spans,
    )


def show(result: Exchange, out: Console) -> None:
    """Prints the conversation, the times and the trace."""
    out.print()
    conversation = Table.grid(padding=(0, 2))
    conversation.add_row(Text("user", style="bold cyan"), Text(result.question))
    for answer in result.answers:
        conversation.add_row(Text("bot", style="bold green"), Text(answer))
    out.print(conversation)
    out.print()
    out.print(
        f"Acknowledged in {result.acknowledged_after_s * 1000:.0f} ms (the message is in PostgreSQL by then); "
        f"answered {result.replied_after_s * 1000:.0f} ms later.",
        highlight=False,
    )
    if result.trace_id is None:
        out.print("The trace was not written in time.", style="yellow")
        return
    out.print(f"Trace {result.trace_id}", highlight=False)
    for root in result.spans:
        out.print(rich_tree(root))


def show_addresses(addresses: PublicAddresses, data: Path, out: Console) -> None:
    """Prints the addresses and files that can be opened now."""
    out.print()
    table = Table.grid(padding=(0, 2))
    table.add_row("Chat with the bot", addresses.simulator)
    table.add_row("Status page", addresses.console)
    table.add_row("Webhook", addresses.webhook)
    table.add_row("Addresses, processes", str(data / "dev.json"))
    table.add_row("Logs", str(data / "logs"))
    out.print(table, highlight=False)
    out.print("Edit the YAML files and they are published again. Ctrl-C ends everything.", highlight=False)


def acknowledged_attempt(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the delivery attempt that was acknowledged. Raises `NoReply`."""
    for attempt in answer["attempts"]:
        if attempt["status"] == httpx.codes.OK:
            found: Mapping[str, Any] = attempt
            return found
    failures = [str(attempt["status"] or attempt["error"]) for attempt in answer["attempts"]]
    reason = ", ".join(failures) or answer["hint"] or "no answer"
    raise NoReply(f"the webhook did not acknowledge the message: {reason}")


def _sent(client: httpx.Client, number: str, since: int = 0) -> list[dict[str, Any]]:
    """Returns the messages that were sent to the user after `since`, in order."""
    answer = client.get("/_sim/sent", params={"number": number, "to": USER, "since": str(since)})
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def _replies(client: httpx.Client, number: str, since: int, within_s: float) -> list[dict[str, Any]]:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if sent := _sent(client, number, since):
            return sent
        time.sleep(0.02)
    raise NoReply(f"the message was acknowledged, but no reply came within {within_s:.0f} s; see the worker's log")


def _trace(folder: Path, began_ns: int) -> tuple[str | None, tuple[trace_tree.SpanNode, ...]]:
    """Returns the id and the root spans of the delivery's trace.

    The delivery's trace is the first trace since `began_ns` that has both a server span and a client span. If no
    such trace is written in time, the function returns None and no spans.
    """
    deadline = time.monotonic() + TRACE_WITHIN_S
    while time.monotonic() < deadline:
        for trace_id, spans in trace_tree.traces_since(spanfile.read(folder), began_ns).items():
            kinds = {span["kind"] for span in spans}
            if {"SERVER", "CLIENT"} <= kinds:
                return trace_id, tuple(trace_tree.roots(spans))
        time.sleep(0.1)
    return None, ()


def rich_tree(node: trace_tree.SpanNode, tree: Tree | None = None) -> Tree:
    """Returns a span and its descendants as a tree to print."""
    label = Text.assemble(
        (node.name, "bold red" if node.failed else "bold"),
        f"  {node.milliseconds:.1f} ms  ",
        (f"{node.service} {node.kind.lower()}  ", "cyan"),
        (node.detail, "dim"),
    )
    branch = Tree(label) if tree is None else tree.add(label)
    for child in node.children:
        rich_tree(child, branch)
    return branch


def readable(message: Mapping[str, Any]) -> str:
    """Returns what the user sees of a message: the text, and the titles of the buttons and rows."""
    words = str(message["text"]) or f"({message['type']})"
    action = message["body"].get("action") if isinstance(message["body"], dict) else None
    action = action if isinstance(action, dict) else {}
    titles = [str(button.get("reply", {}).get("title", "")) for button in action.get("buttons", [])]
    titles += [str(row.get("title", "")) for section in action.get("sections", []) for row in section.get("rows", [])]
    return "  ".join([words, *(f"[{title}]" for title in titles)])
