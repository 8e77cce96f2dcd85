"""The registry of numbers. The operator publishes it, and the data plane (webhook and workers) reads it.

Each number has one JSON file per audience. `<dir>/webhook/<namespace>.<name>.json` is for the webhook and
holds a `Route` (app secrets, verify tokens). `<dir>/worker/<namespace>.<name>.json` is for the workers and
holds a `Number` (access token, bot, limits). In a cluster, both folders are mounted Secrets, which kubelet
changes atomically by the `..data` link. Readers call `refresh()` and get a consistent snapshot. A namespace
contains no dot, so the first dot of a file name ends the namespace.

During an upgrade, the process that writes and the process that reads may have different versions. So a reader
ignores unknown fields. Each field that was added later has a default for files that lack it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import msgspec


class _RedactedStruct(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A struct whose repr hides the fields named in `secrets`.

    A repr may end up in an error or a log. The fields are hidden when rich prints the struct, too.
    """

    secrets: ClassVar[frozenset[str]]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [(name, "…" if name in self.secrets else getattr(self, name)) for name in self.__struct_fields__]


class Route(_RedactedStruct, frozen=True, kw_only=True, rename="camel"):
    """The registry entry that the webhook reads for one number.

    In both tuples, item 0 is the secret that is in use now. The other secrets are still accepted.
    """

    namespace: str
    name: str
    phone_number_id: str
    waba_id: str
    app_id: str
    app_secrets: tuple[str, ...]
    verify_tokens: tuple[str, ...]

    secrets = frozenset({"app_secrets", "verify_tokens"})


class Template(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message template at Meta, identified by its name and language code."""

    name: str
    language: str


class Number(_RedactedStruct, frozen=True, kw_only=True, rename="camel"):
    """The registry entry that the workers read for one number."""

    namespace: str
    name: str
    phone_number_id: str
    waba_id: str
    app_id: str
    access_token: str
    app_secret_proof: str | None = None
    """`appsecret_proof` of `access_token`. Workers get this proof in place of the app secret, because the app secret
    could also sign deliveries and create tokens. It is None in entries of operators that did not know this field; calls
    to Meta then carry no proof."""
    bot: str | None = None
    """The bot script as YAML text. If it is None and there is no `bot_plugin`, messages are stored but not answered."""
    bot_plugin: str | None = None
    """The Python function that answers in place of a script, as `package.module:function`. It has the signature of
    `turn`."""
    messages_per_second: int = 80
    outside_window: Template | None = None
    mark_read: bool = False
    typing_indicator: bool = False

    secrets = frozenset({"access_token", "app_secret_proof"})


Entry = TypeVar("Entry", Route, Number)


@dataclass(frozen=True)
class Snapshot(Generic[Entry]):
    """All entries of a registry folder, as they were at one time."""

    by_name: dict[tuple[str, str], Entry] = field(default_factory=dict)
    by_phone_number_id: dict[str, Entry] = field(default_factory=dict)
    by_app: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()


class Registry(Generic[Entry]):
    """Reads the entries of a registry folder. `current` is replaced as a whole, so that readers need no lock."""

    def __init__(self, folder: Path, entry: type[Entry]) -> None:
        self._folder = folder
        self._entry: type[Entry] = entry
        self._fingerprint: object = None
        self.current: Snapshot[Entry] = Snapshot()

    def refresh(self) -> bool:
        """Reads the folder again if it has changed. Returns whether `current` is new.

        A missing folder counts as empty. If a file cannot be decoded, its previous entry stays and `current.errors`
        names the file.
        """
        fingerprint = self._current_fingerprint()
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

    def _current_fingerprint(self) -> object:
        seen = []
        for path in self._files():
            try:
                stat = path.stat()
            except FileNotFoundError:
                continue
            seen.append((path.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
        return tuple(seen)


def routes(registry_dir: Path) -> Registry[Route]:
    """Reads the webhook's entries once and returns their registry."""
    registry = Registry(registry_dir / "webhook", Route)
    registry.refresh()
    return registry


def numbers(registry_dir: Path) -> Registry[Number]:
    """Reads the workers' entries once and returns their registry."""
    registry = Registry(registry_dir / "worker", Number)
    registry.refresh()
    return registry
