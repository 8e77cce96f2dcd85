"""Tests a change of the app secret, with real processes. The app requires a proof with every call."""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import Engine, text

from waypost.cloudapi.graph.proof import appsecret_proof
from waypost.cloudapi.inbound.signature import sign
from waypost.store.connection import database

from .test_dev import NUMBER, Dev, assert_answered, demonstrating
from .test_dev import files as files  # noqa: PLC0414 - the fixture of that module, with a copy of the examples of our own

WaitFor = Callable[..., Any]


APP, WABA, CONTACT = "100000000000001", "102290129340398", "447700940000"
TOKEN = "simulator-access-token-not-real"
OLD, NEW = "simulator-app-secret-not-real", "simulator-app-secret-changed"


@pytest.fixture
def dev(files: list[Path], short_folder: Path, wait_for: WaitFor) -> Iterator[Dev]:
    """Yields a `waypost dev` for this test only."""
    with demonstrating(files, short_folder, wait_for) as running:
        yield running


@pytest.fixture
def engine(dev: Dev) -> Iterator[Engine]:
    """Yields an engine on the database of the running `waypost dev`."""
    engine = database.connect(dev.state["database"], application="test")
    yield engine
    engine.dispose()


def test_a_changed_app_secret_fails_no_message(dev: Dev, engine: Engine, files: list[Path], wait_for: WaitFor) -> None:
    """A reply waits until the new app secret is declared. After that, it is sent with a proof by the new secret."""
    _change_app_at_meta(dev, {"app_id": APP, "require_proof": True})
    assert _ask_meta(dev, {}) == 100
    assert_answered(dev, CONTACT, wait_for)

    _change_app_at_meta(dev, {"app_id": APP, "app_secret": NEW})
    assert _ask_meta(dev, {"appsecret_proof": appsecret_proof(TOKEN, OLD)}) == 100
    before = len(_replies(dev))
    assert _deliver(dev, signed_with=OLD) == 200
    wait_for(lambda: _pause_code(engine) == 100, what="the number to be paused")
    wait_for(lambda: _outbox(engine)["queued"] == 1, what="the reply waits")

    declared = next(file for file in files if OLD in file.read_text())
    declared.write_text(declared.read_text().replace(OLD, NEW))
    wait_for(lambda: len(_replies(dev)) > before, what="the reply, proven by the new secret")
    assert_answered(dev, "447700940001", wait_for)
    wait_for(lambda: _pause_code(engine) is None, what="the pause is over")
    wait_for(lambda: not {"queued", "sending"} & set(_outbox(engine)), what="nothing is under way")
    assert set(_outbox(engine)) == {"sent"}


def _change_app_at_meta(dev: Dev, app: dict[str, Any]) -> None:
    answer = httpx.put(f"{dev.state['simulator']}/_sim/world", json={"apps": [app]}, trust_env=False)
    answer.raise_for_status()


def _ask_meta(dev: Dev, query: dict[str, str]) -> int:
    """Calls Meta with the access token, and returns the error code."""
    answer = httpx.get(
        f"{dev.state['simulator']}/v26.0/{NUMBER}",
        params=query,
        headers={"authorization": f"Bearer {TOKEN}"},
        trust_env=False,
    )
    return int(answer.json()["error"]["code"])


def _deliver(dev: Dev, *, signed_with: str) -> int:
    """Delivers a message that is signed with this secret, and returns the HTTP status."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": NUMBER},
        "contacts": [{"wa_id": CONTACT, "profile": {"name": "Ada"}}],
        "messages": [
            {
                "from": CONTACT,
                "id": f"wamid.{uuid.uuid4().hex}",
                "timestamp": str(int(time.time())),
                "type": "text",
                "text": {"body": "hello"},
            }
        ],
    }
    entry = {"id": WABA, "changes": [{"field": "messages", "value": value}]}
    body = msgspec.json.encode({"object": "whatsapp_business_account", "entry": [entry]})
    headers = {"x-hub-signature-256": sign(signed_with, body), "content-type": "application/json"}
    hook = f"{dev.state['webhook']}/webhooks/team-a/support"
    return httpx.post(hook, content=body, headers=headers, trust_env=False, timeout=30).status_code


def _replies(dev: Dev) -> list[dict[str, Any]]:
    return [sent for sent in dev.sent() if sent["to"] == f"+{CONTACT}"]


def _pause_code(engine: Engine) -> int | None:
    with engine.connect() as connection:
        code = connection.execute(text("SELECT pause_code FROM number WHERE number_id = :number"), {"number": NUMBER})
        found: int | None = code.scalar_one()
        return found


def _outbox(engine: Engine) -> Counter[str]:
    """Returns the number of messages by state."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT state FROM outbox WHERE kind = 'message'"))
        return Counter(row.state for row in rows)
