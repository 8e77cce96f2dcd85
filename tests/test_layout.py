"""Tests that the layout of the code stays readable: modules are short, and folders are small."""

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
    """No module is longer than the limit. A longer module has two purposes and must be split."""
    lines = {str(path): len(path.read_text().splitlines()) for path in modules}

    assert {path: count for path, count in lines.items() if count > MAX_LINES} == {}


def test_no_folder_has_too_many_modules(modules: list[Path]) -> None:
    """No folder has more modules than the limit. A larger folder is split into sub-folders with clear names."""
    per_folder = Counter(str(path.parent) for path in modules if path.name != "__init__.py")

    assert {folder: count for folder, count in per_folder.items() if count > MAX_MODULES} == {}


IMPORT = re.compile(r"^from (waypost[.\w]*) import ([\w, ]+)$", re.MULTILINE)


def test_what_scripts_in_strings_import_exists(pytestconfig: pytest.Config) -> None:
    """Scripts that are strings in the tests import only names that exist.

    A type checker does not see these imports. The tests of a release run such scripts in the release's pods.
    """
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
