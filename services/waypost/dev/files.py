"""Lists YAML files, notices changes of files, and replaces a file atomically."""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from waypost.dev.manifests import ManifestError


def yaml_files(paths: Sequence[Path]) -> list[Path]:
    """Returns the files in `paths`, and the YAML files in the folders in `paths`.

    Raises `ManifestError` for a folder without YAML files.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in {".yaml", ".yml"})
            if not inside:
                raise ManifestError([f"{path}: contains no .yaml or .yml file; name one"])
            files.extend(inside)
        else:
            files.append(path)
    return files


def fingerprint(paths: Sequence[Path]) -> tuple[tuple[str, int, int, int], ...]:
    """Returns a value that changes if a file is edited, replaced, added or removed."""
    seen = []
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            with contextlib.suppress(FileNotFoundError):
                stat = file.stat()
                seen.append((str(file), stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(seen)


def replace(path: Path, content: str | bytes) -> None:
    """Replaces a file atomically, so that a reader never sees half of it. Only the file's owner can read it."""
    # A name may have 255 bytes, and the names of registry files may have almost as many.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
    Path(temporary).replace(path)
