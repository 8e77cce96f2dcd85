"""The files of `waypost dev` on disk: which ones, whether they changed, and how one is replaced."""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from waypost.dev.manifests import ManifestError


def yaml_files(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and those directly inside of folders. Raises `ManifestError` for a folder without any."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in {".yaml", ".yml"})
            if not inside:
                raise ManifestError([f"{path}: holds no .yaml file; name one"])
            files.extend(inside)
        else:
            files.append(path)
    return files


def fingerprint(paths: Sequence[Path]) -> tuple[tuple[str, int, int, int], ...]:
    """Changes when a file is edited, replaced, added or removed."""
    seen = []
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat()
                seen.append((str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(seen)


def replace(path: Path, text: str) -> None:
    """Write a file whole, readable by its owner alone, so that a reader never meets half of it."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    Path(temporary).replace(path)
