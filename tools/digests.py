"""Computes digests of the inputs of programs and images. A cached build is used only while its digest is the same."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest(*parts: str | Path) -> str:
    """Returns the digest of texts, files and folders: twelve hexadecimal digits.

    The digits depend on content and names, not on the location of a file or folder. Several checkouts can
    therefore share one cache. README files do not change the digest.
    """
    whole = hashlib.sha256()
    for part in parts:
        for name, content in _contents(part):
            whole.update(f"{len(name)} {len(content)} {name}".encode() + content)
    return whole.hexdigest()[:12]


def _contents(part: str | Path) -> Iterable[tuple[str, bytes]]:
    if isinstance(part, str):
        yield "", part.encode()
    elif part.is_file():
        yield part.name, part.read_bytes()
    else:
        for file in sorted(part.rglob("*")):
            if file.is_file() and file.suffix != ".md" and "__pycache__" not in file.parts:
                yield str(file.relative_to(part)), file.read_bytes()
