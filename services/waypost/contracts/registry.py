"""The registry: what the operator publishes and the data plane reads, one JSON file per number and audience.

`<dir>/webhook/<namespace>.<name>.json` holds a `Route` (app secrets, verify tokens),
`<dir>/worker/<namespace>.<name>.json` a `Number` (access token, bot, limits). In a cluster both folders are mounted
Secrets, so a change is an atomic swap of the `..data` link; readers call `refresh()` and see a new snapshot, never a
mixed one. A namespace holds no dot, so the first dot of a file name ends it.

Writer and reader may be of different versions during an upgrade: a reader passes over fields that it does not know,
and a field that came later has a default which means what its absence did.
"""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import msgspec


class _RedactedStruct(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A struct whose repr, plain or by rich, hides its secrets: an entry may end in an error or a log by mistake."""

    secrets: ClassVar[frozenset[str]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, "…" if name in self.secrets else getattr(self, name)) for name in self.__struct_fields__]


class Route(_RedactedStruct, frozen=True, kw_only=True, rename="camel"):
    """What the webhook must know of one number. Index 0 of each tuple is current, the others are still accepted."""

    namespace: str
    name: str
    phone_number_id: str
    waba_id: str
    app_id: str
    app_secrets: tuple[str, ...]
    verify_tokens: tuple[str, ...]

    secrets = frozenset({"app_secrets", "verify_tokens"})


class Template(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message template by name and language code, as Meta knows it."""

    name: str
    language: str


class Number(_RedactedStruct, frozen=True, kw_only=True, rename="camel"):
    """What a worker must know of one number to answer for it."""

    namespace: str
    name: str
    phone_number_id: str
    waba_id: str
    app_id: str
    access_token: str
    app_secret_proof: str | None = None
    """`appsecret_proof` of `access_token`: who may send needs no app secret, which signs deliveries and makes tokens.
    None, as an operator before this field published it, leaves the proof out."""
    bot: str | None = None
    """The bot script, YAML text; None: messages are stored, not answered."""
    bot_plugin: str | None = None
    """`package.module:function` with the signature of `turn`, instead of a script."""
    messages_per_second: int = 80
    outside_window: Template | None = None
    mark_read: bool = False
    typing_indicator: bool = False

    secrets = frozenset({"access_token", "app_secret_proof"})


class RegistryError(Exception):
    """A registry file cannot be read; the message names the file. The last good snapshot stays in use."""


Entry = TypeVar("Entry", Route, Number)


@dataclass(frozen=True)
class Snapshot(Generic[Entry]):
    """One consistent reading of a folder."""

    by_name: dict[tuple[str, str], Entry] = field(default_factory=dict)
    by_phone_number_id: dict[str, Entry] = field(default_factory=dict)
    by_app: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


class Registry(Generic[Entry]):
    """A folder of entries, re-read when it changes. `current` is replaced whole, so readers need no lock."""

    def __init__(self, folder: Path, entry: type[Entry]) -> None:
        self._folder = folder
        self._entry: type[Entry] = entry
        self._fingerprint: object = None
        self.current: Snapshot[Entry] = Snapshot()

    def refresh(self) -> bool:
        """Re-read the folder if it changed; True when `current` is new. A missing folder is an empty one.

        A file that cannot be decoded keeps its previous entry and is named in `current.errors`.
        """
        fingerprint = self._look()
        if fingerprint == self._fingerprint:
            return False
        previous = self.current
        entries: dict[tuple[str, str], Entry] = {}
        errors: list[str] = []
        for path in self._files():
            namespace, _, rest = path.name.partition(".")
            key = (namespace, rest.removesuffix(".json"))
            try:
                entries[key] = msgspec.json.decode(path.read_bytes(), type=self._entry)
            except (OSError, msgspec.MsgspecError) as error:
                errors.append(f"{path.name}: {type(error).__name__}")
                if key in previous.by_name:
                    entries[key] = previous.by_name[key]
        apps: dict[str, list[Entry]] = {}
        for entry in entries.values():
            apps.setdefault(entry.app_id, []).append(entry)
        self.current = Snapshot(
            by_name=entries,
            by_phone_number_id={entry.phone_number_id: entry for entry in entries.values()},
            by_app={app: tuple(members) for app, members in apps.items()},
            errors=tuple(errors),
        )
        self._fingerprint = fingerprint
        return True

    def _files(self) -> list[Path]:
        try:
            return sorted(p for p in self._folder.iterdir() if p.suffix == ".json" and not p.name.startswith("."))
        except FileNotFoundError:
            return []

    def _look(self) -> object:
        seen = []
        for path in self._files():
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            seen.append((path.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(seen)


def routes(registry_dir: Path) -> Registry[Route]:
    """The webhook's half of the registry, already read once."""
    registry = Registry(registry_dir / "webhook", Route)
    registry.refresh()
    return registry


def numbers(registry_dir: Path) -> Registry[Number]:
    """The worker's half of the registry, already read once."""
    registry = Registry(registry_dir / "worker", Number)
    registry.refresh()
    return registry


def publish(registry_dir: Path, route: Route, number: Number) -> None:
    """Write both files of a number, each by rename, so that no reader meets half a file."""
    for folder, entry in (("webhook", route), ("worker", number)):
        directory = registry_dir / folder
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=".")
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(entry)))
        Path(temporary).replace(directory / f"{entry.namespace}.{entry.name}.json")
