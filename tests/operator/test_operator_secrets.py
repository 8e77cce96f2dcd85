"""The operator caches its own Secrets, and reads them again only if they may have changed."""

import pytest

from waypost.dev.file_cluster import FileCluster
from waypost.operator.cluster.interface import ClusterAway, Manifest, Stored
from waypost.operator.number.operator_secrets import NumberSecrets, OperatorSecrets, RefreshedToken

from .installation import Clock

pytestmark = pytest.mark.anyio

FRESH_S = 60.0
NUMBER = ("team-a", "support")


class CountingCluster(FileCluster):
    """A cluster that counts the reads of Secrets.

    With `loses_answers`, each write is made and then raises an error, as if the answer was lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.loses_answers = False

    async def secret(self, namespace: str, name: str) -> Stored | None:
        """Reads a Secret, and counts the read."""
        self.reads += 1
        return await super().secret(namespace, name)

    async def apply(self, manifest: Manifest, *, manager: str) -> Manifest:
        """Applies an object. Raises `ClusterAway` afterwards if answers are lost."""
        written = await super().apply(manifest, manager=manager)
        if self.loses_answers:
            raise ClusterAway("no answer from the API server")
        return written


@pytest.fixture
def cluster() -> CountingCluster:
    """Returns an empty cluster."""
    return CountingCluster()


@pytest.fixture
def clock() -> Clock:
    """Returns a clock that the test moves."""
    return Clock()


@pytest.fixture
def secrets(cluster: CountingCluster, clock: Clock) -> OperatorSecrets:
    """Returns the object through which one operator reads and writes its own Secrets."""
    return OperatorSecrets(cluster, "waypost", fresh_s=FRESH_S, clock=clock)


async def test_saved_secrets_are_returned_without_a_read(cluster: CountingCluster, secrets: OperatorSecrets) -> None:
    """Saved secrets are returned from the cache without a read.

    Reads would be frequent, because a number is reconciled again and again until the webhook serves it.
    """
    saved = NumberSecrets("v" * 40, previous_app_secret="before", previous_app_secret_until=1_800_000_060.0)
    await secrets.save(*NUMBER, saved)
    assert await secrets.read(*NUMBER) == saved
    assert cluster.reads == 0


async def test_a_missing_secret_is_read_once(cluster: CountingCluster, secrets: OperatorSecrets) -> None:
    """A missing Secret is read only once, because most credentials have no refreshed token."""
    assert [await secrets.read_refreshed(*NUMBER) for _ in range(3)] == [None] * 3
    assert cluster.reads == 1


async def test_the_write_of_another_is_seen_after_a_while_or_without_the_cache(
    cluster: CountingCluster, secrets: OperatorSecrets, clock: Clock
) -> None:
    """A write by another process is seen after the cache expires, or at once if the cache is bypassed.

    The other process stands for a person who edits the Secret.
    """
    await secrets.save(*NUMBER, NumberSecrets("v" * 40))
    other = OperatorSecrets(cluster, "waypost")
    await other.save(*NUMBER, NumberSecrets("w" * 40))
    assert await secrets.read(*NUMBER, bypass_cache=True) == NumberSecrets("w" * 40)
    await other.save(*NUMBER, NumberSecrets("x" * 40))
    clock.advance(FRESH_S)
    assert await secrets.read(*NUMBER) == NumberSecrets("x" * 40)


async def test_deleted_secrets_are_not_returned(secrets: OperatorSecrets) -> None:
    """After a deletion, neither the secrets of a number nor a refreshed token is returned."""
    await secrets.save(*NUMBER, NumberSecrets("v" * 40))
    await secrets.save_refreshed(*NUMBER, RefreshedToken("t", "s"))
    await secrets.delete(*NUMBER)
    await secrets.delete_refreshed(*NUMBER)
    assert await secrets.read(*NUMBER) is None
    assert await secrets.read_refreshed(*NUMBER) is None


async def test_after_a_write_whose_answer_was_lost_the_secret_is_read(
    cluster: CountingCluster, secrets: OperatorSecrets
) -> None:
    """After a write whose answer was lost, the Secret is read again, because the write may have been made."""
    await secrets.save(*NUMBER, NumberSecrets("v" * 40))
    cluster.loses_answers = True
    with pytest.raises(ClusterAway):
        await secrets.save(*NUMBER, NumberSecrets("w" * 40))
    assert await secrets.read(*NUMBER) == NumberSecrets("w" * 40)
