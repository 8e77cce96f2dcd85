"""Writes registry files for tests and benchmarks in the form in which the operator publishes them."""

import os
import tempfile
from pathlib import Path

import msgspec

from waypost.contracts.registry import Number, Route


def publish(registry_dir: Path, route: Route, number: Number) -> None:
    """Writes both files of a number. Each is renamed into place, so that no reader sees half a file."""
    for folder, entry in (("webhook", route), ("worker", number)):
        directory = registry_dir / folder
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=directory, prefix=".")
        with os.fdopen(handle, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(entry)))
        Path(temporary).replace(directory / f"{entry.namespace}.{entry.name}.json")
