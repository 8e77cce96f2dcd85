"""Makes the C library give memory back to the system, so that an attack does not leave a large process behind."""

import ctypes

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
"""Parameters of mallopt(3)."""

_LARGE = 128 * 1024
_MOST_KEPT = 4 * 1024 * 1024
"""Bytes that the heap keeps free at its end, because the next deliveries need them."""


def give_memory_back() -> None:
    """Makes large blocks of memory separate mappings, which end when they are freed. Call this before threads start.

    By default, glibc raises its threshold with each large block that is freed, up to 32 MiB. From then on bodies
    are on the heap between small blocks, and the heap never shrinks. Does nothing where the C library has no
    mallopt, such as musl.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    mallopt(_MMAP_THRESHOLD, _LARGE)
    mallopt(_TRIM_THRESHOLD, _MOST_KEPT)
    # Threads allocate from heaps of their own otherwise, each of which keeps what it once needed.
    mallopt(_ARENA_MAX, 2)
