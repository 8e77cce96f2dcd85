"""The RQ jobs of the other sides. RQ imports this module anew in every job's process, so it imports little."""

import os
from typing import Any


def nothing(_event: int) -> None:
    """A job that does nothing."""


def reply(delivery: dict[str, Any]) -> None:
    """What a tutorial's webhook job does: answer each message of the delivery through the Graph API."""
    import httpx  # noqa: PLC0415 - only this job needs it

    for entry in delivery["entry"]:
        for change in entry["changes"]:
            number = change["value"]["metadata"]["phone_number_id"]
            for message in change["value"].get("messages", ()):
                answer = httpx.post(
                    f"{os.environ['GRAPH_URL']}/v26.0/{number}/messages",
                    headers={"Authorization": f"Bearer {os.environ['ACCESS_TOKEN']}"},
                    json={
                        "messaging_product": "whatsapp",
                        "to": message["from"],
                        "type": "text",
                        "text": {"body": message["text"]["body"]},
                    },
                    timeout=30,
                )
                answer.raise_for_status()
