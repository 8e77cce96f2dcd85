"""Tests that the bytes of bodies are bounded before their signature is known, and are given back."""

import select
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, text

from waypost.webhook.body import LARGEST

from ...webhook import posts
from .clients import MIB, allow_connections, connect, delivery, exchange, head, memory_mib, receive, send, statuses
from .conftest import Attacked


def large_batch(size: int) -> bytes:
    """Returns a body of many messages with about `size` bytes."""
    items = [posts.item(posts.wamid(), sender=f"1555{n:07d}", body="x" * 2_800) for n in range(size // 3_000)]
    return posts.delivery(*items)


@pytest.mark.fault("D10")
def test_200_half_bodies_of_4_mib(attacked: Attacked, wait_for: Callable[..., object]) -> None:
    """Of 200 bodies that stop one byte before their end, most are refused with 503 and Retry-After, at once.

    When their connections close, the memory is given back.
    """
    connections = [connect(attacked.address) for _ in range(allow_connections(200))]
    for connection in connections:
        send(connection, head(f"content-length: {LARGEST}"))
    for connection in connections:
        send(connection, b"a" * (LARGEST - 1))
    wait_for(lambda: attacked.answers(503) >= 190, what="the answers 503")
    ended, _, _ = select.select(connections, [], [], 0)
    answers = [answer for answer in map(receive, ended) if answer]
    assert answers
    assert all(statuses(answer) == [503] and b"retry-after: 5\r\n" in answer for answer in answers)
    for connection in connections:
        connection.close()
    wait_for(
        lambda: memory_mib(attacked.pid, "VmRSS") < attacked.rest_mib + 32, what="the webhook to give its memory back"
    )


@pytest.mark.fault("D10")
def test_thousands_of_small_half_bodies(attacked: Attacked) -> None:
    """Half bodies below the size of large ones make place for each other, and never for a good delivery."""
    connections = [connect(attacked.address) for _ in range(allow_connections(1_500))]
    for connection in connections:
        send(connection, head("content-length: 60000") + b"a" * 59_000)
    for connection in connections:
        connection.close()


@pytest.mark.fault("D10")
def test_bodies_in_tiny_pieces(attacked: Attacked) -> None:
    """Chunks of a byte, endless extensions of a chunk and endless trailers are refused like other bodies."""
    chunked = head("transfer-encoding: chunked")
    answers = [
        exchange(attacked.address, chunked, *[b"1\r\na\r\n" * 40_000] * 200),
        exchange(attacked.address, chunked, b"5;", *[b"a" * MIB] * 40),
        exchange(attacked.address, chunked, b"0\r\n", *[b"a:\r\n" * (MIB // 4)] * 40),
        exchange(attacked.address, chunked, b"0\r\na:", *[b"a" * MIB] * 40),
    ]
    assert [statuses(answer) for answer in answers] == [[400], [400], [400], [400]]


@pytest.mark.fault("D10")
def test_large_bodies_with_wrong_signatures(attacked: Attacked) -> None:
    """Large bodies without a right signature are refused, whether their clients wait for the answer or not."""
    request = delivery(b"a" * LARGEST, secret="wrong")
    for round_ in range(20):
        with connect(attacked.address) as connection:
            if send(connection, request) and round_ % 2:
                assert connection.recv(65536)[9:12] in {b"400", b"429", b"503"}


@pytest.mark.fault("D5")
def test_a_body_of_3_mb(attacked: Attacked, database: Engine, figure: Callable[..., None]) -> None:
    """A signed body of 3 MB is stored. While it is split, other deliveries go on."""
    body = large_batch(3_000_000)
    assert statuses(exchange(attacked.address, delivery(body, "connection: close"))) == [200]
    figure("longest good delivery beside 3 MB", round(max(attacked.bystander.seconds) * 1000, 1), "ms")
    with database.connect() as connection:
        stored = connection.execute(
            text("SELECT count(*) FROM event WHERE contact_key LIKE '1555_______'")
        ).scalar_one()
    assert stored == 1_000


@pytest.mark.fault("D5")
def test_one_byte_too_many(attacked: Attacked) -> None:
    """A body of one byte more than the largest is refused with 413, with and without a Content-Length."""
    assert statuses(exchange(attacked.address, delivery(b"a" * (LARGEST + 1)))) == [413]
    chunks = [b"10000\r\n" + b"a" * 0x10000 + b"\r\n"] * 65
    assert statuses(exchange(attacked.address, head("transfer-encoding: chunked"), *chunks)) == [413]
