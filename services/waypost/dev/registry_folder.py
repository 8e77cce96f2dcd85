"""Writes the registry's Secrets as files, as a kubelet does for pods that mount them."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from waypost.dev.files import replace

_SECRET = re.compile(r"waypost-registry-(webhook|worker|number|bot)-(\d+)")
_FOLDERS = {"webhook": "webhook", "worker": "worker", "number": "worker", "bot": "bot"}
_ORDER = ("worker", "webhook", "number", "bot")
"""Contents in the order in which pods mount them: a key in a later Secret counts. `worker` is the previous layout."""

_Rank = tuple[int, int]
"""Place of a Secret in the mounted volume."""


class RegistryFolder:
    """The folder that the other processes read. Only files of changed keys are written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._data: dict[str, Mapping[str, str]] = {}
        self._holders: dict[Path, dict[_Rank, str]] = {}

    def update(self, secret: str, data: Mapping[str, str]) -> None:
        """Writes the files of the keys that have changed in a Secret. `data` is the Secret's data in base64.

        Does nothing if the Secret does not belong to the registry.
        """
        matched = _SECRET.fullmatch(secret)
        if matched is None:
            return
        before, self._data[secret] = self._data.get(secret, {}), data
        rank = _ORDER.index(matched[1]), int(matched[2])
        folder = self._folder / _FOLDERS[matched[1]]
        for key in [each for each, value in data.items() if before.get(each) is not value]:
            self._change(folder / key, rank, data[key])
        for key in before.keys() - data.keys():
            self._change(folder / key, rank, None)

    def remove_others(self) -> None:
        """Removes files that an earlier process left and that are in no Secret."""
        for name in set(_FOLDERS.values()):
            folder = self._folder / name
            for path in (*folder.glob("*.json"), *folder.glob("*.gz")):
                if path not in self._holders:
                    path.unlink()

    def _change(self, path: Path, rank: _Rank, value: str | None) -> None:
        holders = self._holders.setdefault(path, {})
        if value is None:
            holders.pop(rank, None)
        else:
            holders[rank] = value
        if not holders:
            del self._holders[path]
            path.unlink(missing_ok=True)
            return
        content = base64.b64decode(holders[max(holders)])
        try:
            if path.read_bytes() == content:
                return
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace(path, content)
