"""Regular expressions of a script, run by RE2.

A script is written by a tenant and is run on text that a stranger wrote. With Python's `re`, some patterns
would run practically forever on some texts. The interpreter lock would then block all other conversations.
RE2 runs in linear time. It has no look-around and no back-references.
"""

import re2  # type: ignore[import-untyped]

LONGEST_PATTERN = 500
"""The longest pattern, in characters."""

LONGEST_TEXT = 1024
"""The most characters of a message that a pattern is tried on. The rest of the message is ignored."""

_MEMORY = 1 << 20


class PatternError(Exception):
    """The pattern cannot be used. The error message says why. A retry does not help."""


class Pattern:
    """A compiled regular expression. It ignores case."""

    __slots__ = ("_compiled", "source")

    def __init__(self, source: str) -> None:
        """Compiles the pattern. Raises `PatternError` if it cannot be used."""
        if len(source) > LONGEST_PATTERN:
            raise PatternError(f"is longer than {LONGEST_PATTERN} characters")
        options = re2.Options()
        options.case_sensitive = False
        options.log_errors = False
        options.max_mem = _MEMORY
        try:
            self._compiled = re2.compile(source, options)
        except re2.error as error:
            detail = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
            raise PatternError(f"is not valid ({detail}); look-around and back-references are not supported") from None
        self.source = source

    def found_in(self, text: str) -> bool:
        """Returns whether the pattern occurs anywhere in `text`, which must not contain lone surrogates."""
        return self._compiled.search(text[:LONGEST_TEXT]) is not None

    def is_all_of(self, text: str) -> bool:
        """Returns whether the pattern matches all of `text`. A text longer than `LONGEST_TEXT` never matches."""
        return len(text) <= LONGEST_TEXT and self._compiled.fullmatch(text) is not None
