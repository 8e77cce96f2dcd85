"""The webhook that a newcomer would build: threaded Flask with one RQ job per delivery.

This webhook checks the signature, too.
"""

import hashlib
import hmac
import logging
import os

from flask import Flask, abort, request
from redis import Redis
from rq import Queue

app = Flask(__name__)
queue = Queue("newcomer", connection=Redis.from_url(os.environ["WAYPOST_REDIS_URL"]))
secret = os.environ["APP_SECRET"].encode()


@app.post("/webhooks/<namespace>/<name>")
def deliver(namespace: str, name: str) -> tuple[str, int]:  # noqa: ARG001 - Flask passes what the path holds
    """Queues one job and acknowledges the delivery."""
    wanted = "sha256=" + hmac.new(secret, request.get_data(), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(request.headers.get("X-Hub-Signature-256", ""), wanted):
        abort(400)
    queue.enqueue("benchmarks.peers.jobs.reply", request.get_json())
    return "", 200


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run(host="127.0.0.1", port=int(os.environ["PORT"]), threaded=True)
