"""Regular expressions of a script, on RE2.

A script is a tenant's, the text is a stranger's, and `re` may take longer than the universe lasts on both together
while it holds the interpreter lock of every other conversation. RE2 is linear in the text; it knows no look-around
and no back-references.
"""

import re2  # type: ignore[import-untyped]

LONGEST_PATTERN = 500
"""Characters."""

LONGEST_TEXT = 1024
"""Characters of a message that a pattern is tried on; what comes after is not looked at."""

_MEMORY = 1 << 20


class PatternError(Exception):
    """The pattern cannot be used; the message says what is wrong with it. A retry is pointless."""


class Pattern:
    """A compiled pattern; letters match in either case."""

    __slots__ = ("_compiled", "source")

    def __init__(self, source: str) -> None:
        """Raises `PatternError`."""
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
            raise PatternError(
                f"is not understood ({detail}); look-around and back-references are not offered"
            ) from None
        self.source = source

    def found_in(self, text: str) -> bool:
        """Whether the pattern occurs anywhere in `text`, which holds no lone surrogates."""
        return self._compiled.search(text[:LONGEST_TEXT]) is not None

    def is_all_of(self, text: str) -> bool:
        """Whether the whole of `text` is what the pattern describes; a text beyond the limit never is."""
        return len(text) <= LONGEST_TEXT and self._compiled.fullmatch(text) is not None
