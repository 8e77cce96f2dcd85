"""Tests that the layout of the code stays readable: short modules, small folders."""

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

MAX_LINES = 400
MAX_MODULES = 18
"""Limit per folder, without its sub-folders."""


@pytest.fixture
def modules(pytestconfig: pytest.Config) -> list[Path]:
    """Returns all modules of the product except the migrations, which never change."""
    found = (pytestconfig.rootpath / "services/waypost").rglob("*.py")
    return [path for path in found if "migrations" not in path.parts]


def test_no_module_is_too_long(modules: list[Path]) -> None:
    """A module that grows past the limit holds two things and is split."""
    lines = {str(path): len(path.read_text().splitlines()) for path in modules}

    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_no_folder_has_too_many_modules(modules: list[Path]) -> None:
    """A folder that grows past the limit is sorted into sub-folders whose names say what is in them."""
    per_folder = Counter(str(path.parent) for path in modules if path.name != "__init__.py")

    assert {folder: count for folder, count in per_folder.items() if count > MAX_MODULES} == {}


IMPORT = re.compile(r"^from (waypost[.\w]*) import ([\w, ]+)$", re.MULTILINE)


def test_what_scripts_in_strings_import_exists(pytestconfig: pytest.Config) -> None:
    """Tests of a release run scripts in its pods; a type checker does not see what these import."""
    sources = [path.read_text() for path in (pytestconfig.rootpath / "tests").rglob("*.py")]
    imported = {
        (module, name.strip())
        for source in sources
        for module, names in IMPORT.findall(source)
        for name in names.split(",")
    }

    missing = [
        (module, name)
        for module, name in sorted(imported)
        if not hasattr(importlib.import_module(module), name.partition(" ")[0])
        and importlib.util.find_spec(f"{module}.{name.partition(' ')[0]}") is None
    ]
    assert missing == []
