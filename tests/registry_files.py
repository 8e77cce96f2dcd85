"""Writes registry files for tests and benchmarks in the form in which the operator publishes them."""

import os
import tempfile
from pathlib import Path

import msgspec

from waypost.contracts import bot_files
from waypost.contracts.registry import Number, Route


def publish(registry_dir: Path, route: Route, number: Number) -> None:
    """Writes the files of a number, including its bot."""
    _publish_entry(registry_dir / "webhook", route)
    publish_number(registry_dir, number)


def publish_number(registry_dir: Path, number: Number) -> None:
    """Writes a number's file for workers. If the number has the text of a bot, also writes the bot's file."""
    if number.bot is not None:
        publish_bot(registry_dir, number.bot)
    _publish_entry(registry_dir / "worker", msgspec.structs.replace(number, bot=None))


def publish_bot(registry_dir: Path, script: str) -> None:
    """Writes the file of a bot."""
    _write(registry_dir / "bot" / bot_files.file_name(bot_files.digest_of(script)), bot_files.pack(script))


def _publish_entry(folder: Path, entry: Route | Number) -> None:
    content = msgspec.json.format(msgspec.json.encode(entry))
    _write(folder / f"{entry.namespace}.{entry.name}.json", content)


def _write(path: Path, content: bytes) -> None:
    """Writes a file by rename, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)
