"""The operator of `waypost dev`: files in, the same reconcilers as in a cluster, registry files out."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from waypost.allowed_plugins import AllowedPlugins
from waypost.contracts import registry
from waypost.dev.local_operator import OBJECTS, STATE, LocalOperator
from waypost.operator.cluster.interface import Manifest

from .installation import DEADLINE_S, NAME, NAMESPACE, NUMBER, Installation, installation, number, script, secret

pytestmark = pytest.mark.anyio


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """The simulated Meta, and a webhook that answers for whatever is published last."""
    async with installation() as made:
        yield made


def declare(folder: Path, *objects: Manifest, life: str = "1") -> None:
    """What `waypost dev` writes when the YAML files or the simulator are new."""
    text = json.dumps({"life": life, "objects": objects, "digest": f"{life}{len(objects)}{objects}"})
    (folder / OBJECTS).write_text(text)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what the operator will make true."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - it is told by files
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def operator(it: Installation, folder: Path) -> AsyncIterator[LocalOperator]:
    """One that runs meanwhile; the webhook reads what it publishes."""
    made = LocalOperator(folder, folder / "registry", it.graph, it.public_url, AllowedPlugins())
    it.webhook.reads(made.cluster)
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield made
    finally:
        stop.set()
        await task


def standing(folder: Path) -> dict[str, str] | None:
    """Numbers that are not as desired; None while what was declared last is not taken over."""
    try:
        state = json.loads((folder / STATE).read_text())
        objects = json.loads((folder / OBJECTS).read_text())
    except (FileNotFoundError, ValueError):
        return None
    found: dict[str, str] = state["numbers"]
    return found if state["digest"] == objects["digest"] else None


async def test_what_is_declared_becomes_true_and_the_data_plane_reads_it(it: Installation, tmp_path: Path) -> None:
    """Registered at Meta, and one file for each audience."""
    declare(tmp_path, secret(), script(), number(bot={"configMapRef": {"name": "support-bot"}}))
    async with operator(it, tmp_path):
        await until(lambda: standing(tmp_path) == {})
    assert it.at_meta["numbers"][NUMBER]
    assert registry.routes(tmp_path / "registry").current.by_phone_number_id[NUMBER].name == NAME
    assert "Hello!" in str(registry.numbers(tmp_path / "registry").current.by_phone_number_id[NUMBER].bot)


async def test_what_is_not_declared_any_more_is_taken_away(it: Installation, tmp_path: Path) -> None:
    """Its finalizer has run: the data plane no longer knows it."""
    declare(tmp_path, secret(), number())
    async with operator(it, tmp_path) as made:
        await until(lambda: standing(tmp_path) == {})
        declare(tmp_path, secret())
        await until(lambda: made.cluster.get("WhatsAppNumber", NAMESPACE, NAME) is None)
    assert registry.routes(tmp_path / "registry").current.by_name == {}
    assert registry.numbers(tmp_path / "registry").current.by_name == {}


async def test_the_next_process_goes_on_with_the_same_verify_token(it: Installation, tmp_path: Path) -> None:
    """It is killed and started again: nothing at Meta changes."""
    declare(tmp_path, secret(), number())
    async with operator(it, tmp_path):
        await until(lambda: standing(tmp_path) == {})
    before, calls = registry.routes(tmp_path / "registry").current.by_name, len(it.calls)
    (tmp_path / STATE).unlink()
    async with operator(it, tmp_path):
        await until(lambda: standing(tmp_path) == {})
    assert registry.routes(tmp_path / "registry").current.by_name == before
    assert len(it.calls) == calls


async def test_a_simulated_meta_that_began_anew_is_told_again(it: Installation, tmp_path: Path) -> None:
    """It has forgotten every callback."""
    declare(tmp_path, secret(), number())
    async with operator(it, tmp_path):
        await until(lambda: standing(tmp_path) == {})
        wanted = it.at_meta
        it.simulation.world.numbers[NUMBER].callbacks.clear()
        it.simulation.world.accounts["102290129340398"].subscribers.clear()
        declare(tmp_path, secret(), number(), life="2")
        await until(lambda: standing(tmp_path) == {})
        assert it.at_meta == wanted


async def test_state_that_cannot_be_read_is_begun_anew(it: Installation, tmp_path: Path) -> None:
    """It is a cache."""
    (tmp_path / "cluster.json").write_text("{}")
    declare(tmp_path, secret(), number())
    async with operator(it, tmp_path):
        await until(lambda: standing(tmp_path) == {})
