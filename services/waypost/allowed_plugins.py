"""Which bots in Python may run: a list that the platform sets. Pure.

A worker serves the numbers of all teams, and what it imports runs as the worker: whoever may write a number must not
thereby choose that.

The list is entries with commas between them: one function, `support_bot:turn`, or `acme_bots.*`, the public functions
of every public module inside that package. `*` alone is everything that can be imported.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

EVERYTHING: Final = "*"
"""Where whoever writes numbers may run anything anyway: on a developer's own machine."""

_MODULE: Final = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
_FUNCTION: Final = r":[A-Za-z_][A-Za-z0-9_]*"
PATH: Final = re.compile(_MODULE + _FUNCTION)
"""What names a plugin; the function is one name, so that nothing is reached through it."""
ENTRY: Final = re.compile(rf"{_MODULE}({_FUNCTION}|\.\*)")


class PluginListInvalid(ValueError):
    """The list holds something that is no entry. No retry makes sense."""


@dataclass(frozen=True)
class AllowedPlugins:
    """The list. Without entries, as it is unless somebody sets it, no plugin is allowed."""

    entries: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str) -> Self:
        """The list as a setting writes it; nothing in it is nothing allowed. Raises `PluginListInvalid`."""
        entries = text.split(",") if text else []
        for entry in entries:
            if entry != EVERYTHING and not ENTRY.fullmatch(entry):
                raise PluginListInvalid(f"{entry[:200]!r} is neither package.module:function nor package.*")
        return cls(frozenset(entries))

    def __contains__(self, path: str) -> bool:
        """Whether the plugin at `path`, as a number writes it, may be imported and called."""
        if not PATH.fullmatch(path):
            return False
        return path in self.entries or EVERYTHING in self.entries or self._has_package_of(path)

    def _has_package_of(self, path: str) -> bool:
        module, _, function = path.partition(":")
        parts = module.split(".")
        for depth in range(1, len(parts)):
            # An underscore says that others are not to use it, and importing `__main__` would run a program.
            is_public = not any(name.startswith("_") for name in (*parts[depth:], function))
            if is_public and f"{'.'.join(parts[:depth])}.*" in self.entries:
                return True
        return False
