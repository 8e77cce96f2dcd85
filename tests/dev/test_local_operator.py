"""Tests of the operator of `waypost dev`.

The operator reads files, reconciles as in a cluster, and writes registry files.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from waypost.allowed_plugins import AllowedPlugins
from waypost.contracts import registry
from waypost.contracts.bot_states import BOTS_PATH, BotState, BotStates
from waypost.contracts.condition_types import ConditionType, Reason
from waypost.dev.local_operator import ADDRESSES, OBJECTS, STATE, LocalOperator
from waypost.operator.api.conditions import reason_of
from waypost.operator.cluster.interface import Manifest
from waypost.telemetry import probes

from ..operator.installation import (
    DEADLINE_S,
    NAME,
    NAMESPACE,
    NUMBER,
    Installation,
    installation,
    number,
    script,
    secret,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def it() -> AsyncIterator[Installation]:
    """Yields the simulated Meta with a webhook. The webhook answers for the numbers that were published last."""
    async with installation() as made:
        yield made


def declare(folder: Path, *objects: Manifest, incarnation: str = "1") -> None:
    """Writes the declared objects into a file.

    `waypost dev` does the same when the YAML files have changed or the simulator was restarted.
    """
    text = json.dumps(
        {"incarnation": incarnation, "objects": objects, "digest": f"{incarnation}{len(objects)}{objects}"}
    )
    (folder / OBJECTS).write_text(text)


async def until(condition: Callable[[], Any]) -> None:
    """Waits until the condition holds."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110 - the condition reads files
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def operator(it: Installation, folder: Path) -> AsyncIterator[LocalOperator]:
    """Yields an operator that runs during the block. The webhook reads what this operator publishes."""
    made = LocalOperator(folder, folder / "registry", it.graph, it.public_url, AllowedPlugins())
    it.webhook.reads(made.cluster)
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    try:
        yield made
    finally:
        stop.set()
        await task


def unready(folder: Path) -> dict[str, str] | None:
    """Returns the numbers that are not ready, with the reason.

    Returns None until the operator has read the last declaration.
    """
    try:
        state = json.loads((folder / STATE).read_text())
        objects = json.loads((folder / OBJECTS).read_text())
    except (FileNotFoundError, ValueError):
        return None
    found: dict[str, str] = state["numbers"]
    return found if state["digest"] == objects["digest"] else None


async def test_a_declared_number_becomes_ready_and_the_data_plane_reads_it(it: Installation, tmp_path: Path) -> None:
    """A declared number becomes ready and the data plane can read it.

    The number is registered at Meta and has one registry file per audience.
    """
    declare(tmp_path, secret(), script(), number(bot={"configMapRef": {"name": "support-bot"}}))
    async with operator(it, tmp_path):
        await until(lambda: unready(tmp_path) == {})
    assert it.at_meta["numbers"][NUMBER]
    assert registry.routes(tmp_path / "registry").current.by_phone_number_id[NUMBER].name == NAME
    assert "Hello!" in str(registry.numbers(tmp_path / "registry").current.by_phone_number_id[NUMBER].bot)


async def test_the_state_of_bots_is_read_from_the_probe_ports_of_the_workers(it: Installation, tmp_path: Path) -> None:
    """`waypost dev` writes the addresses of its processes into a file, also those of workers that it restarts."""
    state = BotState(
        namespace=NAMESPACE, name=NAME, healthy=False, reason="TurnsFail", since=1.0, failed_at=1.0, failures=5
    )
    document = msgspec.json.encode(BotStates(bots=(state,)))
    serving = probes.serve(0, ready=lambda: None, host="127.0.0.1", documents={BOTS_PATH: lambda: document})
    metrics = {"webhook": "http://127.0.0.1:9/metrics", "worker-1": f"http://127.0.0.1:{serving.port}/metrics"}
    (tmp_path / ADDRESSES).write_text(json.dumps({"metrics": metrics}))
    declare(tmp_path, secret(), script(), number(bot={"configMapRef": {"name": "support-bot"}}))

    def reason() -> str:
        manifest = made.cluster.get("WhatsAppNumber", NAMESPACE, NAME) or {}
        return reason_of(manifest.get("status"), ConditionType.BOT_HEALTHY)

    try:
        async with operator(it, tmp_path) as made:
            await until(lambda: reason() == Reason.TURNS_FAIL)
            await until(lambda: unready(tmp_path) == {})
    finally:
        serving.close()


async def test_a_number_that_is_no_longer_declared_is_removed(it: Installation, tmp_path: Path) -> None:
    """A number that is no longer declared is removed. Its finalizer runs, so the data plane no longer has it."""
    declare(tmp_path, secret(), number())
    async with operator(it, tmp_path) as made:
        await until(lambda: unready(tmp_path) == {})
        declare(tmp_path, secret())
        await until(lambda: made.cluster.get("WhatsAppNumber", NAMESPACE, NAME) is None)
    assert registry.routes(tmp_path / "registry").current.by_name == {}
    assert registry.numbers(tmp_path / "registry").current.by_name == {}


async def test_the_next_process_goes_on_with_the_same_verify_token(it: Installation, tmp_path: Path) -> None:
    """After a restart, the operator uses the same verify token, and nothing changes at Meta."""
    declare(tmp_path, secret(), number())
    async with operator(it, tmp_path):
        await until(lambda: unready(tmp_path) == {})
    before, calls = registry.routes(tmp_path / "registry").current.by_name, len(it.calls)
    (tmp_path / STATE).unlink()
    async with operator(it, tmp_path):
        await until(lambda: unready(tmp_path) == {})
    assert registry.routes(tmp_path / "registry").current.by_name == before
    assert len(it.calls) == calls


async def test_a_restarted_simulator_is_registered_with_again(it: Installation, tmp_path: Path) -> None:
    """The numbers are registered again at a simulator that was restarted.

    The restarted simulator has lost every callback.
    """
    declare(tmp_path, secret(), number())
    async with operator(it, tmp_path):
        await until(lambda: unready(tmp_path) == {})
        wanted = it.at_meta
        it.simulation.world.numbers[NUMBER].callbacks.clear()
        it.simulation.world.accounts["102290129340398"].subscribers.clear()
        declare(tmp_path, secret(), number(), incarnation="2")
        await until(lambda: unready(tmp_path) == {})
        assert it.at_meta == wanted


async def test_state_that_cannot_be_read_is_rebuilt(it: Installation, tmp_path: Path) -> None:
    """A state that cannot be read is rebuilt, because it is only a cache."""
    (tmp_path / "cluster.json").write_text("{}")
    declare(tmp_path, secret(), number())
    async with operator(it, tmp_path):
        await until(lambda: unready(tmp_path) == {})
