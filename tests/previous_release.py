"""The code of the last release, for tests in which processes of two releases work side by side.

`tests/e2e/previous` holds the package `waypost` as the release had it, and the release's chart. Both are replaced when
a release is made.
"""

import tarfile
from pathlib import Path

(ARCHIVE,) = (Path(__file__).parent / "e2e/previous").glob("waypost-*-code.tar.xz")


def unpack(folder: Path) -> Path:
    """Unpacks the code below `folder`. Returns the folder that a process needs first in its PYTHONPATH."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder
