"""A worker compiles each script once, outside the drains, and each number keeps its last good script."""

import time
from collections.abc import Mapping

import msgspec
import pytest
from sqlalchemy import Engine

from waypost.bot import script
from waypost.contracts.registry import Number
from waypost.worker.bots import Bots, Turn
from waypost.worker.scripts import CompiledScripts, ScriptNotReady, ScriptRefused

from .test_turns import NUMBER, World

FIRST, SECOND = (f"version: 1\nintents: {{hello: {{keywords: [hello], reply: {reply}}}}}\n" for reply in ("One", "Two"))
BROKEN = "version: 1\n"


def number(bot: str | None, identity: str = "100", namespace: str = "team") -> Number:
    """Returns a number with a script."""
    return msgspec.structs.replace(
        NUMBER, bot=bot, bot_digest=None, phone_number_id=identity, namespace=namespace, name=f"n{identity}"
    )


class Worker:
    """The scripts of a worker. A test sets the registry and compiles what the worker's thread would compile."""

    def __init__(self, *numbers: Number, most_bytes: int = 1 << 30) -> None:
        self.registry: Mapping[str, Number] = {}
        self.scripts = CompiledScripts(lambda: self.registry, most_bytes)
        self.publish(*numbers)

    def publish(self, *numbers: Number) -> None:
        """Replaces the registry."""
        self.registry = {each.phone_number_id: each for each in numbers}

    def compile(self) -> int:
        """Compiles all scripts that wait, and returns how many there were."""
        return sum(iter(self.scripts.compile_next, False))


def test_a_script_is_compiled_once_for_all_its_numbers() -> None:
    """A script is compiled once for all numbers that use it. A team may use one script for a thousand numbers."""
    numbers = [number(FIRST, str(identity)) for identity in range(5)]
    worker = Worker(*numbers)
    assert worker.compile() == 1
    assert len({id(worker.scripts.script(each)) for each in numbers}) == 1


def test_the_last_good_script_is_used_until_the_new_one_is_compiled() -> None:
    """A number uses its last good script until its new script is compiled.

    So a drain never waits for a compilation.
    """
    worker = Worker(number(FIRST))
    worker.compile()
    before = worker.scripts.script(number(FIRST))
    worker.publish(number(SECOND))
    assert worker.scripts.script(number(SECOND)) is before
    worker.compile()
    assert worker.scripts.script(number(SECOND)) is not before


def test_a_script_that_is_refused_leaves_the_last_good_one() -> None:
    """If a worker refuses a script, the number keeps its last good script.

    A worker refuses every script that breaks the bounds, even if the operator has published it.
    """
    worker = Worker(number(FIRST))
    worker.compile()
    before = worker.scripts.script(number(FIRST))
    worker.publish(number(BROKEN))
    worker.compile()
    assert worker.scripts.script(number(BROKEN)) is before


def test_a_refused_script_without_an_earlier_one_is_loaded_once() -> None:
    """If a number's first script is refused, each message fails at once and the script is not loaded again."""
    worker = Worker(number(BROKEN))
    assert worker.compile() == 1
    for _ in range(3):
        with pytest.raises(ScriptRefused):
            worker.scripts.script(number(BROKEN))
    assert worker.compile() == 0


def test_a_script_for_which_a_message_waits_comes_first() -> None:
    """A script for which a message waits is compiled before other scripts.

    So after a start with many numbers, the numbers that get messages are served first.
    """
    numbers = [number(f"{FIRST}# {identity}\n", str(identity)) for identity in range(9)]
    worker = Worker(*numbers)
    with pytest.raises(ScriptNotReady):
        worker.scripts.script(numbers[7])
    worker.scripts.compile_next()
    assert worker.scripts.script(numbers[7])


def test_scripts_that_no_number_has_are_dropped() -> None:
    """Scripts that no number uses any more are removed from memory.

    So a number that changes its script a thousand times takes no more memory than one script.
    """
    worker = Worker(number(FIRST))
    worker.compile()
    worker.publish(number(SECOND))
    worker.compile()
    worker.publish()
    worker.compile()
    with pytest.raises(ScriptNotReady):
        worker.scripts.script(number(FIRST))
    with pytest.raises(ScriptNotReady):
        worker.scripts.script(number(SECOND))


def test_the_team_with_the_largest_scripts_makes_room_for_the_others() -> None:
    """If the memory for scripts is full, scripts of the team that uses most of it are dropped.

    They are compiled again when they are needed. The scripts of other teams stay.
    """
    size = script.load(FIRST).memory
    quiet = number(FIRST, "1", "quiet")
    loud = [number(f"{SECOND}# {identity}\n", str(identity), "loud") for identity in range(10, 20)]
    worker = Worker(quiet, *loud, most_bytes=4 * size + 3000)
    for each in (quiet, *loud):
        with pytest.raises(ScriptNotReady):
            worker.scripts.script(each)
        worker.scripts.compile_next()
    ready = {each.phone_number_id for each in (quiet, *loud) if _is_ready(worker, each)}
    assert ready == {"1", "17", "18", "19"}


def _is_ready(worker: Worker, each: Number) -> bool:
    try:
        worker.scripts.script(each)
    except ScriptNotReady:
        return False
    return True


def test_scripts_without_messages_do_not_fill_the_memory() -> None:
    """Scripts for which no message waits do not fill the memory.

    A quarter of the memory is left for scripts that messages need.
    """
    size = script.load(FIRST).memory
    numbers = [number(f"{FIRST}# {identity}\n", str(identity)) for identity in range(20)]
    assert Worker(*numbers, most_bytes=8 * size).compile() < 8


def test_messages_wait_until_the_first_script_is_compiled(database: Engine) -> None:
    """Messages wait until the number's first script is compiled. Then they are answered in order."""
    worker = Worker(number(FIRST))
    world = World(database, number=number(FIRST), bots=Bots(worker.scripts))
    world.say("hello")
    assert [tuple(row) for row in world.rows("SELECT state, attempts FROM event")] == [("waiting", 0)]
    worker.compile()
    world = World(database, number=number(FIRST), bots=Bots(worker.scripts))
    world.say("hello")
    assert {row.state for row in world.rows("SELECT state FROM event")} == {"done"}
    assert [row.body for row in world.rows("SELECT body->'text'->>'body' AS body FROM outbox")] == ["One", "One"]


def test_no_message_overtakes_one_that_waited_for_the_script(database: Engine) -> None:
    """If a message waits for the script, the next message of the conversation waits too.

    The script may become ready between two messages that are handled together.
    """
    worker = Worker(number(FIRST))

    class ReadyAMomentLater(Bots):
        def turn(self, number: Number) -> Turn | None:
            try:
                return super().turn(number)
            except ScriptNotReady:
                worker.compile()
                raise

    world = World(database, number=number(FIRST), bots=ReadyAMomentLater(worker.scripts))
    messages = [
        {"from": "15551234567", "id": f"wamid.{at}", "timestamp": str(int(time.time()) - 9 + at), "type": "text",
         "text": {"body": "hello"}}
        for at in range(2)
    ]  # fmt: skip
    world.deliver({"messages": messages})
    assert [row.state for row in world.rows("SELECT state FROM event")] == ["waiting", "waiting"]
