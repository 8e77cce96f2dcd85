"""The RQ jobs of the programs that Waypost is compared with.

RQ imports this module again in the process of every job. The module therefore imports little.
"""

import os
from typing import Any


def nothing(_event: int) -> None:
    """Does nothing."""


def reply(delivery: dict[str, Any]) -> None:
    """Answers each message of the delivery through the Graph API, as the webhook job of a tutorial does."""
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
