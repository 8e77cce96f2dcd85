"""What the operator keeps for itself is read again only where another could have written it."""

from typing import Any

import pytest

from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster.interface import ClusterAway, Stored
from waypost.operator.number.operator_secrets import Access, Keeping, Kept

from .installation import Clock

pytestmark = pytest.mark.anyio

FRESH_S = 60.0
PLACE = ("team-a", "support")


class Shelf(FileCluster):
    """Counts who asks it for a Secret; `breaks` ends a write after it was done, as a lost answer does."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.breaks = False

    async def secret(self, namespace: str, name: str) -> Stored | None:
        """As it is, and counted."""
        self.asked += 1
        return await super().secret(namespace, name)

    async def apply(self, manifest: dict[str, Any], *, manager: str) -> dict[str, Any]:
        """Done, whether or not the caller hears of it."""
        done = await super().apply(manifest, manager=manager)
        if self.breaks:
            raise ClusterAway("no answer from the API server")
        return done


@pytest.fixture
def shelf() -> Shelf:
    """Empty."""
    return Shelf()


@pytest.fixture
def clock() -> Clock:
    """Moved by the test."""
    return Clock()


@pytest.fixture
def keeping(shelf: Shelf, clock: Clock) -> Keeping:
    """Of one operator."""
    return Keeping(shelf, "waypost", fresh_s=FRESH_S, clock=clock)


async def test_what_was_written_is_known_without_asking(shelf: Shelf, keeping: Keeping) -> None:
    """A number is looked at again and again until its webhook serves it."""
    kept = Kept("v" * 40, previous_app_secret="before", previous_app_secret_until=1_800_000_060.0)
    await keeping.write(*PLACE, kept)
    assert await keeping.read(*PLACE) == kept
    assert shelf.asked == 0


async def test_that_there_is_nothing_is_known_too(shelf: Shelf, keeping: Keeping) -> None:
    """Most credentials have no refreshed token."""
    assert [await keeping.read_access(*PLACE) for _ in range(3)] == [None] * 3
    assert shelf.asked == 1


async def test_what_somebody_else_wrote_is_found_after_a_while_or_when_asked_for(
    shelf: Shelf, keeping: Keeping, clock: Clock
) -> None:
    """Another process stands for whoever did it."""
    await keeping.write(*PLACE, Kept("v" * 40))
    other = Keeping(shelf, "waypost")
    await other.write(*PLACE, Kept("w" * 40))
    assert await keeping.read(*PLACE, anew=True) == Kept("w" * 40)
    await other.write(*PLACE, Kept("x" * 40))
    clock.advance(FRESH_S)
    assert await keeping.read(*PLACE) == Kept("x" * 40)


async def test_what_was_deleted_is_not_remembered(keeping: Keeping) -> None:
    """Of a number, and of credentials."""
    await keeping.write(*PLACE, Kept("v" * 40))
    await keeping.write_access(*PLACE, Access("t", "s"))
    await keeping.forget(*PLACE)
    await keeping.forget_access(*PLACE)
    assert await keeping.read(*PLACE) is None
    assert await keeping.read_access(*PLACE) is None


async def test_a_write_whose_answer_was_lost_is_looked_up(shelf: Shelf, keeping: Keeping) -> None:
    """Nobody knows whether it was done."""
    await keeping.write(*PLACE, Kept("v" * 40))
    shelf.breaks = True
    with pytest.raises(ClusterAway):
        await keeping.write(*PLACE, Kept("w" * 40))
    assert await keeping.read(*PLACE) == Kept("w" * 40)
