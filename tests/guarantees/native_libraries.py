"""Small libraries in C that a test loads into real processes, to change their clock or what a crash leaves on disk.

They are compiled when a test needs them. A machine without a C compiler skips these tests.
"""

import shutil
import struct
import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parent / "native"


def build(name: str, folder: Path) -> Path:
    """Returns the library that is compiled from a source of this project. Skips the test without a compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("this needs a C compiler (cc), to change the clock or the disk of real processes")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # PostgreSQL runs as another user if root runs the tests
    library = folder / f"{name}.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-o", str(library), str(SOURCES / f"{name}.c"), "-ldl"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library


class Clock:
    """The wall clock of processes. A test may move it while they run; other clocks go on as they are."""

    def __init__(self, folder: Path) -> None:
        self._library = build("clock", folder)
        self._file = folder / f"offset-{len(list(folder.iterdir()))}"
        self.shift(0)

    def shift(self, seconds: float) -> None:
        """Sets how far the clock is ahead of the real time. Running processes see it at once."""
        data = struct.pack("q", int(seconds * 1e9))
        if not self._file.exists():
            self._file.write_bytes(data)
            self._file.chmod(0o644)
            return
        with self._file.open("r+b") as file:  # the processes have mapped this file
            file.write(data)

    @property
    def environment(self) -> dict[str, str]:
        """Returns the variables with which a process uses this clock."""
        return {"LD_PRELOAD": str(self._library), "CLOCK_OFFSET_FILE": str(self._file)}
