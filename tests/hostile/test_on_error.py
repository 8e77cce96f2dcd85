"""Tests that the contacts of a number whose plugin fails are not left in silence."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from sqlalchemy import Engine, text

from waypost.contracts.registry import OnError

from .test_plugins import World


@pytest.fixture
def world(database: Engine) -> Iterator[World]:
    """Yields a world whose hosts run."""
    made = World(database, deadline_s=5.0)
    made.work.start()
    yield made
    made.work.stop()


def _add(world: World, plugin: str, **on_error: Any) -> None:
    world.add("1", plugin)
    world.numbers["1"] = msgspec.structs.replace(world.numbers["1"], on_error=OnError(**on_error))


def _texts(world: World) -> list[str]:
    return [row[0] for row in world.rows("SELECT body->'text'->>'body' FROM outbox ORDER BY id")]


@pytest.mark.parametrize("plugin", ["raises", "exits", "eats_memory", "returns_nonsense"])
def test_whatever_a_plugin_does_its_contact_gets_an_answer(
    world: World, wait_for: Callable[..., object], plugin: str
) -> None:
    """The answer comes once, after the last attempt, and a person has the conversation."""
    _add(world, plugin, reply="Ada will answer.", hand_off=True)
    world.say("1", "hello")
    wait_for(lambda: world.count("1", "dead") == 1)
    assert _texts(world) == ["Ada will answer."]
    assert world.rows("SELECT owner FROM conversation") == [("human",)]


def test_a_plugin_that_cannot_be_imported_leaves_an_answer(world: World, wait_for: Callable[..., object]) -> None:
    """The contact gets an answer although no turn has run at all."""
    world.add("1", "", path="tests.hostile.missing:turn")
    world.numbers["1"] = msgspec.structs.replace(world.numbers["1"], on_error=OnError(reply="Sorry!"))
    world.say("1", "hello")
    wait_for(lambda: world.count("1", "dead") == 1)
    assert _texts(world) == ["Sorry!"]


def test_a_message_that_has_ended_workers_leaves_an_answer(database: Engine, wait_for: Callable[..., object]) -> None:
    """Its attempts were counted by workers that are gone, so it gets no further turn."""
    world = World(database)
    _add(world, "polite", reply="Sorry!")
    world.say("1", "hello")
    with database.begin() as connection:
        connection.execute(text("UPDATE event SET attempts = 3"))
    world.work.start()
    try:
        wait_for(lambda: world.count("1", "dead") == 1)
    finally:
        world.work.stop()
    assert _texts(world) == ["Sorry!"]
    assert world.rows("SELECT reason FROM event") == [("WorkerCrashed",)]
    assert world.rows("SELECT body FROM message") == [("hello",)]
