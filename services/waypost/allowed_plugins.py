"""Reads the platform's list of allowed plugins. This module is pure.

Plugins are bots in Python. A worker serves the numbers of all teams, and code that it imports runs with the
worker's rights. So the platform, not the author of a number, decides what may be imported.

The list has entries separated by commas. An entry is a function (`support_bot:turn`) or a package
(`acme_bots.*`). A package allows the public functions of every public module inside it. The entry `*` allows
everything that can be imported.
"""

import re
from dataclasses import dataclass
from typing import Final, Self

EVERYTHING: Final = "*"
"""The entry that allows every plugin. It is for a developer's own machine, whose user can run any code anyway."""

_MODULE: Final = r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*"
_FUNCTION: Final = r":[A-Za-z_][A-Za-z0-9_]*"
PATH: Final = re.compile(_MODULE + _FUNCTION)
"""Form of a plugin's path. The function is a single name, so a path cannot reach attributes of a function."""
ENTRY: Final = re.compile(rf"{_MODULE}({_FUNCTION}|\.\*)")
"""Form of an entry of the list, except `EVERYTHING`."""


class PluginListInvalid(ValueError):
    """Raised when the list of plugins contains an invalid entry. A retry makes no sense."""


@dataclass(frozen=True)
class AllowedPlugins:
    """The list of allowed plugins. By default it is empty, and no plugin is allowed."""

    entries: frozenset[str] = frozenset()

    @classmethod
    def read(cls, text: str) -> Self:
        """Parses the list from a setting. An empty text allows no plugin. Raises `PluginListInvalid`."""
        entries = text.split(",") if text else []
        for entry in entries:
            if entry != EVERYTHING and not ENTRY.fullmatch(entry):
                raise PluginListInvalid(f"{entry[:200]!r} is neither package.module:function nor package.*")
        return cls(frozenset(entries))

    def __contains__(self, path: str) -> bool:
        """Returns whether the plugin at `path` may be imported and called.

        The path is written as in the settings of a number.
        """
        if not PATH.fullmatch(path):
            return False
        return path in self.entries or EVERYTHING in self.entries or self._has_package_of(path)

    def _has_package_of(self, path: str) -> bool:
        module, _, function = path.partition(":")
        parts = module.split(".")
        for depth in range(1, len(parts)):
            # A leading underscore marks private names. Importing `__main__` would run a program.
            is_public = not any(name.startswith("_") for name in (*parts[depth:], function))
            if is_public and f"{'.'.join(parts[:depth])}.*" in self.entries:
                return True
        return False
