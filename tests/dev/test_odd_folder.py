"""Test of `waypost dev` with code, files and data below a folder with an odd name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_bot_answers_below_a_folder_with_an_odd_name(pytestconfig: pytest.Config, short_folder: Path) -> None:
    """`waypost dev` works below a folder with unusual characters in its name.

    The name has spaces, special characters of addresses and settings, and letters beyond ASCII.
    """
    folder = short_folder / "my wörk #1 100%" / "o'clock? a,b=c"
    root = pytestconfig.rootpath
    shutil.copytree(root / "services" / "waypost", folder / "services" / "waypost")
    shutil.copytree(root / "examples", folder / "examples")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WAYPOST_")}
    environment["PYTHONPATH"] = f"{folder / 'services'}:{folder / 'examples' / 'plugins'}"
    ports = [word for name in ("webhook", "console", "simulator") for word in (f"--port-{name}", "0")]

    ended = subprocess.run(
        [sys.executable, "-m", "waypost.cli", "dev", "examples", "--once", *ports],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert ended.returncode == 0, ended.stderr
    assert "I am the support bot" in ended.stdout
    assert (folder / ".waypost" / "postgres" / "data").is_dir()
