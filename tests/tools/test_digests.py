"""Tests that a cached image or program is only used while its inputs are the same."""

from pathlib import Path

import pytest

from tools.digests import digest
from tools.offline import images, recipes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Returns a folder with one file in a subfolder."""
    folder = tmp_path / "files"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/config").write_text("one")
    return folder


def test_the_same_content_in_another_place_has_the_same_digest(folder: Path, tmp_path: Path) -> None:
    """The same content in another folder has the same digest, so that two clones of the repository share one cache."""
    before = digest("packages", folder)
    moved = folder.rename(tmp_path / "elsewhere")
    assert digest("packages", moved) == before


def test_changed_content_has_another_digest(folder: Path) -> None:
    """Changed content has another digest, so an edited file leads to a new build."""
    before = digest(folder)
    (folder / "etc/config").write_text("two")
    assert digest(folder) != before


def test_a_renamed_file_has_another_digest(folder: Path) -> None:
    """A renamed file has another digest, because a file's path is part of the image."""
    before = digest(folder)
    (folder / "etc/config").rename(folder / "etc/settings")
    assert digest(folder) != before


def test_a_readme_does_not_change_the_digest(folder: Path) -> None:
    """A README does not change the digest, because a better explanation must not cost a rebuild."""
    before = digest(folder)
    (folder / "README.md").write_text("explained")
    assert digest(folder) == before


def test_texts_are_digested_separately() -> None:
    """Texts are digested separately. A package that moves from one list to the next leads to another image."""
    assert digest("ab", "c") != digest("a", "bc")


def test_only_our_own_images_from_other_inputs_are_outdated() -> None:
    """Only our own images that were built from other inputs are outdated.

    Current images, the application's image and other people's images stay.
    """
    present = [recipes.SERVERS, "waypost/servers:older", "waypost:0.1.0", "postgres:18", "waypost/else:1"]
    assert images.outdated(present) == ["waypost/servers:older"]
