"""The registry of numbers. The operator publishes it, and the data plane (webhook and workers) reads it.

Each number has one JSON file per audience. `<dir>/webhook/<namespace>.<name>.json` is for the webhook and
holds a `Route` (app secrets, verify tokens). `<dir>/worker/<namespace>.<name>.json` is for the workers and
holds a `Number` (access token, limits, digest of its bot). `<dir>/bot/` holds each bot once (see
`bot_files.py`). In a cluster, the folders are mounted Secrets. The kubelet changes a mounted Secret
atomically by its `..data` link. Readers call `refresh()` and get a consistent snapshot. A namespace contains
no dot, so the first dot of a file name ends the namespace.

During an upgrade, the process that writes and the process that reads may have different versions. So a reader
ignores unknown fields. Each field that was added later has a default for files that lack it. Entries of the
previous version hold the text of the bot in place of its digest.
"""

import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from waypost.contracts.bot_files import BotDamaged, BotFiles, digest_of, folder_version


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


class OnError(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a contact gets whose message the bot could not handle: a text, a person, or both."""

    reply: str | None = None
    hand_off: bool = False
    hand_off_minutes: int | None = None
    """None if a person ends the hand-off."""


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
    """The bot script as YAML text. If it is None and there is no `bot_plugin`, messages are stored but not answered.
    All numbers with the same script share one text. Files hold it only if the previous version wrote them."""
    bot_digest: str | None = None
    """SHA-256 of the script's text in hexadecimal. It is set whenever there is a script, and equal for equal scripts,
    so that work on a script need not be done for each of its numbers."""
    bot_plugin: str | None = None
    """The Python function that answers in place of a script, as `package.module:function`. It has the signature of
    `turn`."""
    messages_per_second: int = 80
    outside_window: Template | None = None
    mark_read: bool = False
    typing_indicator: bool = False
    on_error: OnError | None = None
    """None in entries of operators that did not know this field: the contact gets no answer then."""

    secrets = frozenset({"access_token", "app_secret_proof"})

    def __post_init__(self) -> None:
        if self.bot is not None and self.bot_digest is None:
            msgspec.structs.force_setattr(self, "bot_digest", digest_of(self.bot))


Entry = TypeVar("Entry", Route, Number)


@dataclass(frozen=True)
class Snapshot(Generic[Entry]):
    """All entries of a registry folder, as they were at one time."""

    by_name: dict[tuple[str, str], Entry] = field(default_factory=dict)
    by_phone_number_id: dict[str, Entry] = field(default_factory=dict)
    by_app: dict[str, tuple[Entry, ...]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()
    """Files that cannot be decoded."""
    without_bot: tuple[str, ...] = ()
    """Files whose bot cannot be read, usually because its volume is updated a moment later. Such a number has the bot
    that it had before; a number that is new is left out until its bot arrives."""


@dataclass(frozen=True)
class _Decoded(Generic[Entry]):
    content: bytes
    """Digest of the file's content."""
    entry: Entry = field(repr=False)


class Registry(Generic[Entry]):
    """Reads the entries of a registry folder. `current` is replaced as a whole, so that readers need no lock.

    `bots` is None for entries that have no bots, and for readers that do not need them.
    """

    def __init__(self, folder: Path, entry: type[Entry], bots: BotFiles | None = None) -> None:
        self._folder = folder
        self._entry: type[Entry] = entry
        self._bots = bots
        self._version: object = None
        self._decoded: dict[str, _Decoded[Entry]] = {}
        self.current: Snapshot[Entry] = Snapshot()

    def refresh(self) -> bool:
        """Reads the folder again if it has changed. Returns whether `current` is new.

        A missing folder counts as empty. If a file cannot be decoded, its previous entry stays and `current.errors`
        names the file.
        """
        version = (folder_version(self._folder, ".json"), self._bots.version() if self._bots else None)
        if version == self._version:
            return False
        previous = self.current.by_name
        entries: dict[tuple[str, str], Entry] = {}
        decoded: dict[str, _Decoded[Entry]] = {}
        errors: list[str] = []
        without_bot: list[str] = []
        for file in self._files():
            namespace, _, rest = file.partition(".")
            key = (namespace, rest.removesuffix(".json"))
            try:
                found = decoded[file] = self._read(file)
            except (OSError, msgspec.MsgspecError) as error:
                errors.append(f"{file}: {type(error).__name__}")
                if key in previous:
                    entries[key] = previous[key]
                continue
            try:
                entries[key] = self._with_bot(found.entry, previous.get(key))
            except (OSError, BotDamaged) as error:
                without_bot.append(f"{file}: {type(error).__name__}")
                if key in previous:
                    entries[key] = _with_bot_of(found.entry, previous[key])
        apps: dict[str, list[Entry]] = {}
        for entry in entries.values():
            apps.setdefault(entry.app_id, []).append(entry)
        self.current = Snapshot(
            by_name=entries,
            by_phone_number_id={entry.phone_number_id: entry for entry in entries.values()},
            by_app={app: tuple(members) for app, members in apps.items()},
            errors=tuple(errors),
            without_bot=tuple(without_bot),
        )
        self._decoded, self._version = decoded, version
        if self._bots is not None:
            digests = (each.bot_digest for each in entries.values() if isinstance(each, Number))
            self._bots.keep({digest for digest in digests if digest is not None})
        return True

    def _read(self, file: str) -> _Decoded[Entry]:
        """Returns a file's entry. Decodes the file only if its content has changed.

        A change of one entry in a mounted Secret replaces the files of all its entries.
        """
        with io.FileIO(f"{self._folder}/{file}") as opened:  # half the time of a Path, for thousands of files
            raw = opened.readall()
        content = hashlib.blake2b(raw, digest_size=16).digest()
        before = self._decoded.get(file)
        if before is not None and before.content == content:
            return before
        return _Decoded(content, msgspec.json.decode(raw, type=self._entry))

    def _with_bot(self, entry: Entry, previous: Entry | None) -> Entry:
        """Returns the entry with the text of its bot. Raises `OSError` and `BotDamaged`."""
        if self._bots is None or not isinstance(entry, Number) or entry.bot is not None or entry.bot_digest is None:
            return entry
        complete = msgspec.structs.replace(entry, bot=self._bots.text(entry.bot_digest))
        return previous if complete == previous else complete

    def _files(self) -> list[str]:
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        return sorted(name for name in names if name.endswith(".json") and not name.startswith("."))


def _with_bot_of(entry: Entry, previous: Entry) -> Entry:
    """Returns `entry` with the bot of `previous`. That bot may be a script, a plugin or None."""
    if not isinstance(entry, Number) or not isinstance(previous, Number):
        return entry
    return msgspec.structs.replace(
        entry, bot=previous.bot, bot_digest=previous.bot_digest, bot_plugin=previous.bot_plugin
    )


def routes(registry_dir: Path) -> Registry[Route]:
    """Reads the webhook's entries once and returns their registry."""
    registry = Registry(registry_dir / "webhook", Route)
    registry.refresh()
    return registry


def numbers(registry_dir: Path, *, with_bots: bool = True) -> Registry[Number]:
    """Reads the workers' entries once and returns their registry.

    If `with_bots` is False, entries of this version have the digest of their script but not its text.
    """
    registry = Registry(registry_dir / "worker", Number, BotFiles(registry_dir / "bot") if with_bots else None)
    registry.refresh()
    return registry
