"""Runs as `helm test`: makes Meta's handshake, sends one signed delivery, and checks that a worker handles it.

The delivery is for a number that does not exist, so no message is sent and Meta is not called. Uses the standard
library only.
"""

import hashlib
import hmac
import json
import os
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

# A mounted Secret reaches running pods within kubelet's sync period and its cache's delay, together about two minutes.
ROUTE_WITHIN_S = 200
HANDLED_WITHIN_S = 60

Answer = tuple[int, str]


def ask(url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
    """Sends a request. Returns status and text, or status 0 and the reason if there is no answer."""
    request = urllib.request.Request(url, body, headers or {})  # noqa: S310 - the chart's own addresses
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return 0, str(error)


def say(line: str) -> None:
    """Writes a line to the pod's log."""
    sys.stdout.write(f"{line}\n")


def until(within_s: float, attempt: Callable[[], Answer], accept: Callable[[Answer], bool]) -> Answer:
    """Repeats `attempt` once a second. Returns the first answer that is accepted, or after `within_s` the last one."""
    deadline = time.monotonic() + within_s
    while True:
        answer = attempt()
        if accept(answer) or time.monotonic() > deadline:
            return answer
        time.sleep(1)


def handled(metrics: str, number: str) -> float:
    """Returns how many events of the number are done, according to the console's metrics."""
    found = re.search(rf'^waypost_inbox_done{{number="{re.escape(number)}"}} (\S+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def main() -> str | None:
    """Returns None if everything works, otherwise what does not."""
    route = json.loads(Path(os.environ.get("ROUTE", "/etc/waypost/route/route")).read_text())
    webhook, metrics = os.environ["WEBHOOK"], os.environ.get("METRICS", "")
    url = f"{webhook}/webhooks/{route['namespace']}/{route['name']}"

    query = {"hub.mode": "subscribe", "hub.verify_token": route["verifyTokens"][0], "hub.challenge": "1158201444"}
    address = f"{url}?{urllib.parse.urlencode(query)}"
    status, text = until(ROUTE_WITHIN_S, lambda: ask(address), lambda answer: answer[0] == 200)
    if (status, text) != (200, "1158201444"):
        return f"the handshake was answered {status}: {text.strip()[:200]}"
    say("handshake: the webhook returned the challenge")

    number = f"waba:{route['wabaId']}"
    before = handled(ask(metrics)[1], number) if metrics else 0.0
    # No bot receives this field. The value is new each time, because a repeated one would be a duplicate.
    change = {"field": "helm_test", "value": {"at": time.time_ns()}}
    entry = {"id": route["wabaId"], "time": int(time.time()), "changes": [change]}
    body = json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()
    signature = hmac.new(route["appSecrets"][0].encode(), body, hashlib.sha256).hexdigest()
    signed = {"Content-Type": "application/json", "X-Hub-Signature-256": f"sha256={signature}"}
    # Another pod may not have the route yet.
    status, text = until(ROUTE_WITHIN_S, lambda: ask(url, body, signed), lambda answer: answer[0] == 200)
    if status != 200:
        return f"the signed delivery was answered {status}: {text.strip()[:200]}"
    say("delivery: stored and acknowledged")
    status, _ = ask(url, body, {**signed, "X-Hub-Signature-256": f"sha256={'0' * 64}"})
    if status not in {400, 404}:
        return f"a delivery with a wrong signature was answered {status}"
    say("delivery with a wrong signature: refused")

    if not metrics:
        say("effect: not checked, because the console is off")
        return None
    status, text = until(HANDLED_WITHIN_S, lambda: ask(metrics), lambda answer: handled(answer[1], number) > before)
    if handled(text, number) <= before:
        return f"the delivery was stored, but no worker handled it within {HANDLED_WITHIN_S} s (metrics: {status})"
    say("effect: a worker handled it")
    return None


if __name__ == "__main__":
    problem = main()
    if problem is not None:
        sys.exit(f"failed: {problem}")
