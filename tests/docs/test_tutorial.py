"""Tests that the files in docs/tutorial.md work on a laptop and with the simulated Meta of a cluster."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from waypost.bot import engine, script
from waypost.bot.effects import Reply
from waypost.bot.event import BotEvent
from waypost.dev import demonstration, manifests, simulated_world
from waypost.simulator import app as simulator

from .documents import ROOT, blocks

TUTORIAL = Path("docs/tutorial.md")
FILES = {each.file: each.text for each in blocks(TUTORIAL, "yaml", "json") if each.file is not None}


@pytest.fixture
def declared(tmp_path: Path) -> manifests.DeclaredNumber:
    """Returns the number of the tutorial, as `waypost dev bakery.yaml` reads it."""
    path = tmp_path / "bakery.yaml"
    path.write_text(FILES["bakery.yaml"], encoding="utf-8")
    (number,) = manifests.load([path]).numbers
    return number


def test_the_bot_answers_as_the_tutorial_shows(declared: manifests.DeclaredNumber) -> None:
    """The bot's answer is the one that the tutorial shows, because the reader compares the terminal with the page."""
    assert declared.bot is not None
    greeting = BotEvent("text", text=demonstration.GREETING, profile_name="Ada")
    _, (effect,) = engine.turn(script.load(declared.bot), {}, greeting)
    assert isinstance(effect, Reply)
    body: Any = effect.message.payload()["interactive"]
    titles = [f"[{each['reply']['title']}]" for each in body["action"]["buttons"]]

    assert f"bot   {'  '.join([body['body']['text'], *titles])}\n" in (ROOT / TUTORIAL).read_text(encoding="utf-8")


@pytest.mark.anyio
async def test_the_simulated_meta_takes_the_file_of_the_tutorial(declared: manifests.DeclaredNumber) -> None:
    """The simulated Meta accepts the tutorial's file.

    It then knows the same ids and secrets as the one that `waypost dev` starts for the tutorial's number.
    """
    given = FILES["bakery-at-meta.json"]
    application = simulator.build()
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(application)
        async with httpx.AsyncClient(transport=transport, base_url="http://simulator") as client:
            answer = await client.put("/_sim/world", content=given.encode())
    seed = json.dumps(simulated_world.seed([declared]))

    assert answer.status_code == httpx.codes.OK
    for each in ("app_id", "app_secret", "waba_id", "phone_number_id", "token"):
        assert _values(given, each) == _values(seed, each) != []


def _values(text: str, key: str) -> list[str]:
    """Returns every value that a JSON text has for a key, at any depth."""
    found: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found.extend(str(value) for name, value in pairs if name == key)
        return dict(pairs)

    json.loads(text, object_pairs_hook=collect)
    return found
