"""The layout of the code stays readable: short modules, small folders."""

from collections import Counter
from pathlib import Path

import pytest

MOST_LINES = 400
MOST_MODULES = 18
"""In one folder, beside its sub-folders."""


@pytest.fixture
def modules(pytestconfig: pytest.Config) -> list[Path]:
    """All modules of the product but the migrations, which are history."""
    found = (pytestconfig.rootpath / "services/waypost").rglob("*.py")
    return [path for path in found if "migrations" not in path.parts]


def test_no_module_is_longer_than_a_reader_can_hold(modules: list[Path]) -> None:
    """A module that grows past the limit holds two things and is split."""
    lines = {str(path): len(path.read_text().splitlines()) for path in modules}

    assert {path: count for path, count in lines.items() if count > MOST_LINES} == {}


def test_no_folder_is_a_heap(modules: list[Path]) -> None:
    """A folder that grows past the limit is sorted into sub-folders whose names say what is in them."""
    per_folder = Counter(str(path.parent) for path in modules if path.name != "__init__.py")

    assert {folder: count for folder, count in per_folder.items() if count > MOST_MODULES} == {}
