"""The files with bot scripts in the registry. Each script is stored once, however many numbers use it.

A script's file is `<dir>/bot/bot.<digest>.yaml.gz`. The digest is the SHA-256 of the script's UTF-8 text in
hexadecimal. So a file never changes, because a changed script gets a file with another name. In a cluster,
the scripts are in a different volume than the entries. The reason is that a kubelet writes a whole volume
when one of its files changes.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Collection
from pathlib import Path

LONGEST_TEXT = 1_048_576
"""Most bytes of a script's text. A ConfigMap, from which each script comes, holds no more."""

_PREFIX, _SUFFIX = "bot.", ".yaml.gz"


class BotDamaged(Exception):
    """Raised when the content of a bot's file is not the script that its name promises.

    Writing the file again helps. Reading it again does not.
    """


def digest_of(text: str) -> str:
    """Returns the digest of a script, under which its file is stored."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_name(digest: str) -> str:
    """Returns the name of the file that holds the script with this digest."""
    return f"{_PREFIX}{digest}{_SUFFIX}"


def pack(text: str) -> bytes:
    """Returns the content of a script's file. Equal scripts have equal contents."""
    return gzip.compress(text.encode(), 9, mtime=0)


def unpack(content: bytes, digest: str) -> str:
    """Extracts the script from the content of a file and returns it.

    Raises `BotDamaged` if the content is not the script with this digest.
    """
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        text = decompressor.decompress(content, LONGEST_TEXT + 1)
    except zlib.error:
        raise BotDamaged("the file is not compressed with gzip") from None
    if len(text) > LONGEST_TEXT or not decompressor.eof or hashlib.sha256(text).hexdigest() != digest:
        raise BotDamaged("the file holds another script than its name says")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise BotDamaged("the file holds no text") from None


class BotFiles:
    """Reads scripts from a folder.

    A script that was read is kept while a registry entry uses it. So all numbers with the same script share one
    text.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts: dict[str, str] = {}

    def text(self, digest: str) -> str:
        """Returns the script with this digest. Raises `BotDamaged`, or `OSError` if there is no such file."""
        found = self._texts.get(digest)
        if found is None:
            content = (self._folder / file_name(digest)).read_bytes()
            found = self._texts[digest] = unpack(content, digest)
        return found

    def keep(self, used: Collection[str]) -> None:
        """Drops all scripts except those with these digests."""
        self._texts = {digest: text for digest, text in self._texts.items() if digest in used}

    def version(self) -> object:
        """Returns a value that changes when files are added, replaced or removed. A missing folder counts as empty."""
        return folder_version(self._folder, _SUFFIX)


def folder_version(folder: Path, suffix: str) -> object:
    """Returns a value that changes when files in the folder whose name ends with `suffix` change.

    A missing folder counts as empty. Raises `OSError` if the folder cannot be read.
    """
    try:
        # In a mounted Secret this link leads to the current files, and each change makes it lead elsewhere. One call
        # is then enough, however many files there are.
        return (folder / "..data").readlink()
    except OSError:
        pass
    seen = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(suffix) and not entry.name.startswith("."):
                    try:
                        stat = entry.stat()
                    except FileNotFoundError:
                        continue
                    seen.append((entry.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    except FileNotFoundError:
        return ()
    return tuple(sorted(seen))
