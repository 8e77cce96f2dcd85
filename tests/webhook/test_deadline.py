"""One timer for many deadlines."""

import asyncio

import pytest

from waypost.webhook.deadline import Deadline

pytestmark = pytest.mark.anyio


async def test_what_is_done_in_time_gives_its_result() -> None:
    """Nothing is seen of the deadline."""
    assert await Deadline(30).hold(asyncio.sleep(0, "done")) == "done"


async def test_what_takes_too_long_ends_with_a_timeout_and_the_task_lives_on() -> None:
    """The task may answer, and may wait again."""
    deadline = Deadline(0.05)
    with pytest.raises(TimeoutError):
        await deadline.hold(asyncio.Event().wait())
    await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await deadline.hold(asyncio.Event().wait())


async def test_a_cancellation_from_outside_stays_one() -> None:
    """A shutdown is not a slow client."""
    task = asyncio.ensure_future(Deadline(30).hold(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_only_the_late_are_ended() -> None:
    """Others that wait at the same time are left alone."""
    deadline = Deadline(0.2)
    late = asyncio.ensure_future(deadline.hold(asyncio.Event().wait()))
    go = asyncio.Event()

    async def in_time() -> str:
        with pytest.raises(TimeoutError):
            await late
        waiting = asyncio.ensure_future(deadline.hold(go.wait()))
        await asyncio.sleep(0)
        go.set()
        await waiting
        return "done"

    assert await in_time() == "done"
