"""Tests of deliveries whose member names collide in hash tables.

Python's hash of a text depends on a random number that each process draws, so nobody outside can make names that
collide there. The names here collide in other hash functions, or in the cache of names of msgspec, whose hash
function has no random part.
"""

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from waypost.cloudapi.inbound.delivery import split

pytestmark = pytest.mark.fault("D8")

NAMES = 100_000
LENGTH = 34
MOST_RATIO = 3.0
ROUNDS = 5


def _body(*values: str) -> bytes:
    """Returns a delivery with one change for each of these values, which are JSON texts."""
    changes = ",".join(f'{{"field":"messages","value":{value}}}' for value in values)
    return f'{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{changes}]}}]}}'.encode()


def _object(names: Iterator[str]) -> str:
    """Returns an object with the first of these names, as a JSON text."""
    return "{" + ",".join(f'"{name}":1' for name in itertools.islice(names, NAMES)) + "}"


def _random_names() -> Iterator[str]:
    while True:
        yield "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=LENGTH))


def _names_of_equal_polynomials() -> Iterator[str]:
    """Yields names with one value in hash functions that multiply by 31, as that of Java."""
    return map("".join, itertools.product(("Aa", "BB"), repeat=LENGTH // 2))


def _names_of_equal_polynomials_by_33() -> Iterator[str]:
    """Yields names with one value in hash functions that multiply by 33, as that of Bernstein."""
    return map("".join, itertools.product(("Ez", "FY"), repeat=LENGTH // 2))


def _names_with_a_long_prefix() -> Iterator[str]:
    """Yields names that differ in their last characters only."""
    return (f"{number:x}".rjust(LENGTH, "x") for number in itertools.count())


def _names_with_equal_low_bits() -> Iterator[str]:
    """Yields names whose last character alone differs from block to block, as numbers that are counted up."""
    return (f"{number * 65_536:0{LENGTH}d}" for number in itertools.count())


FAMILIES: dict[str, Callable[[], Iterator[str]]] = {
    "polynomial by 31": _names_of_equal_polynomials,
    "polynomial by 33": _names_of_equal_polynomials_by_33,
    "long prefix": _names_with_a_long_prefix,
    "multiples": _names_with_equal_low_bits,
    "one name again and again": lambda: itertools.repeat("x" * LENGTH),
}


def _ratio(suspect: bytes, ordinary: bytes) -> float:
    """Returns how many times as long as `ordinary` the delivery `suspect` takes, each at its best of some rounds."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for at, body in enumerate((suspect, ordinary)):
            began = time.process_time()
            split(body, default_number="1")
            best[at] = min(best[at], time.process_time() - began)
    return best[0] / best[1]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_names_that_collide_elsewhere_take_no_longer_than_random_names(
    family: str, figure: Callable[..., None]
) -> None:
    """A delivery with 100,000 names of such a family takes at most three times as long as one with random names."""
    ratio = _ratio(_body(_object(FAMILIES[family]())), _body(_object(_random_names())))
    figure(f"time, {family}", round(ratio, 2), "× random names", aim=f"at most {MOST_RATIO:.0f}")
    assert ratio <= MOST_RATIO


def _slot(name: str) -> int:
    """Returns the slot of a name in a cache of 512 names by MurmurHash2, as msgspec has it."""
    data, mask, multiplier = name.encode(), 0xFFFFFFFF, 0x5BD1E995
    found = len(data)
    for at in range(0, len(data) - 3, 4):
        block = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        found = (found * multiplier & mask) ^ ((block ^ (block >> 24)) * multiplier & mask)
    found = (found ^ (found >> 13)) * multiplier & mask
    return (found ^ (found >> 15)) % 512


@pytest.mark.slow
def test_names_that_share_a_slot_of_msgspecs_cache_take_no_longer(figure: Callable[..., None]) -> None:
    """Names that displace each other in msgspec's cache cost a small factor, never more with their number."""
    names = [f"name{number:04d}" for number in range(9_999)]
    by_slot: dict[int, list[str]] = {}
    for name in names:
        by_slot.setdefault(_slot(name), []).append(name)
    shared = max(by_slot.values(), key=len)[:8]
    apart = [each[0] for each in list(by_slot.values())[:8]]

    def body(chosen: list[str]) -> bytes:
        return _body(*[json.dumps(dict.fromkeys(chosen, 1))] * 4_000)

    ratio = _ratio(body(shared), body(apart))
    figure("time, names of one slot of msgspec's cache", round(ratio, 2), "× other names", aim="at most 3")
    assert ratio <= MOST_RATIO


def test_each_process_draws_its_own_hash_function() -> None:
    """Two processes have different hashes of one text, and this also holds for the services' own entry point."""
    program = "import waypost.cli.main; print(hash('a name'))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONHASHSEED"}
    hashes = {
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True).stdout
        for _ in range(2)
    }
    assert len(hashes) == 2


def test_repeated_names_and_depth_are_split_into_events() -> None:
    """A name that occurs 100,000 times, and a value that is 100,000 levels deep, become events like any other value."""
    repeated = split(_body(_object(itertools.repeat("x"))), default_number="1")
    deep = split(_body('{"x":' + "[" * NAMES + "]" * NAMES + "}"), default_number="1")
    assert len(repeated) == len(deep) == 1
