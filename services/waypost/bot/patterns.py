"""Regular expressions of a script, run by RE2.

A script is written by a tenant and is run on text that a stranger wrote. With Python's `re`, some patterns
would run practically forever on some texts. The interpreter lock would then block all other conversations.
RE2 runs in linear time. It has no look-around and no back-references.

The time and memory that RE2 needs grow with the number of instructions of a pattern. So the number of
instructions of all patterns of a script together is limited.
"""

from typing import Any

import re2  # type: ignore[import-untyped]

LONGEST_PATTERN = 500
"""The longest pattern, in characters."""

LONGEST_TEXT = 1024
"""The most characters of a message that a pattern is tried on. The rest of the message is ignored."""

MOST_INSTRUCTIONS = 10_000
"""The most RE2 instructions of one pattern, and of all patterns of the intents, since a message may be tried on all of
these. An instruction takes at most 20 µs for the longest text, so a message takes at most 0.2 s."""

MOST_INSTRUCTIONS_OF_ANSWERS = 20_000
"""The most RE2 instructions of all patterns of answers. A message is tried on only one of these."""

FEWEST_INSTRUCTIONS = 30
"""A shorter pattern counts as this many instructions, because each pattern takes some memory."""

_BYTES, _BYTES_PER_INSTRUCTION = 16 << 10, 256
"""The memory of a pattern. With this, searches for usual patterns are as fast as with RE2's default of 8 MiB."""

_MOST_BYTES = 512 << 10
"""The memory for a pattern whose instructions are not counted yet. It is enough for twice `MOST_INSTRUCTIONS`."""


class PatternError(Exception):
    """The pattern cannot be used. The error message says why. A retry does not help."""


class Pattern:
    """A compiled regular expression. It ignores case."""

    __slots__ = ("_compiled", "instructions", "memory", "source")

    def __init__(self, source: str) -> None:
        """Compiles the pattern. Raises `PatternError` if it cannot be used."""
        if len(source) > LONGEST_PATTERN:
            raise PatternError(f"is longer than {LONGEST_PATTERN} characters")
        size: int = _compile(source, _MOST_BYTES).programsize
        self.instructions = max(size, FEWEST_INSTRUCTIONS)
        """What the pattern counts in the total of its script."""
        if size > MOST_INSTRUCTIONS:
            raise _too_large(f"has {size} instructions of RE2", MOST_INSTRUCTIONS)
        self.memory = _BYTES + size * _BYTES_PER_INSTRUCTION
        """The most bytes that the pattern takes, with what RE2 remembers of searches."""
        self._compiled = _compile(source, self.memory)
        # RE2 compiles a second program when a search first needs it. That happens here and not during a turn.
        _ = self._compiled.reverseprogramsize
        # The library would otherwise keep the last 128 patterns for as long as the process runs.
        re2.purge()
        self.source = source

    def found_in(self, text: str) -> bool:
        """Returns whether the pattern occurs anywhere in `text`, which must not contain lone surrogates."""
        return self._compiled.search(text[:LONGEST_TEXT]) is not None

    def is_all_of(self, text: str) -> bool:
        """Returns whether the pattern matches all of `text`. A text longer than `LONGEST_TEXT` never matches."""
        return len(text) <= LONGEST_TEXT and self._compiled.fullmatch(text) is not None


class PatternBudget:
    """Compiles the patterns of one part of a script. All these patterns share a limited number of instructions."""

    def __init__(self, part: str, most: int) -> None:
        """Creates the budget of one part of a script. Error messages contain the name of the part."""
        self._part = part
        self._most = most
        self._used = 0
        self.memory = 0
        """The most bytes that all patterns take."""

    def compile(self, source: str) -> Pattern:
        """Returns the compiled pattern. Raises `PatternError`."""
        found = Pattern(source)
        self._used += found.instructions
        self.memory += found.memory
        if self._used > self._most:
            raise _too_large(f"brings all patterns of {self._part} to {self._used} instructions of RE2", self._most)
        return found


def _too_large(problem: str, most: int) -> PatternError:
    return PatternError(
        f"{problem}; at most {most} are allowed. Use keywords for plain words, + in place of counts such as {{1,100}}, "
        "and [a-z] in place of large classes such as \\pL"
    )


def _compile(source: str, memory: int) -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    # Groups are never asked for, and copying them in each step makes searches several times slower.
    options.never_capture = True
    options.max_mem = memory
    try:
        return re2.compile(source, options)
    except re2.error as error:
        detail = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        if "too large" in detail:
            raise _too_large("has too many instructions of RE2", MOST_INSTRUCTIONS) from None
        raise PatternError(f"is not valid ({detail}); look-around and back-references are not supported") from None
