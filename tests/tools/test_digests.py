"""A cached image or program is used only while it is made of the same."""

from pathlib import Path

import pytest

from tools.digests import digest
from tools.offline import images, recipes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    (folder / "etc").mkdir(parents=True)
    (folder / "etc/config").write_text("one")
    return folder


def test_the_same_content_elsewhere_has_the_same_digest(folder: Path, tmp_path: Path) -> None:
    """Two clones of the repository share what they built."""
    before = digest("packages", folder)
    moved = folder.rename(tmp_path / "elsewhere")
    assert digest("packages", moved) == before


def test_changed_content_has_another_digest(folder: Path) -> None:
    """A file that is edited is built in."""
    before = digest(folder)
    (folder / "etc/config").write_text("two")
    assert digest(folder) != before


def test_a_renamed_file_has_another_digest(folder: Path) -> None:
    """Where a file lies in an image is part of the image."""
    before = digest(folder)
    (folder / "etc/config").rename(folder / "etc/settings")
    assert digest(folder) != before


def test_a_readme_is_no_part_of_an_image(folder: Path) -> None:
    """A better explanation costs nobody a rebuild."""
    before = digest(folder)
    (folder / "README.md").write_text("explained")
    assert digest(folder) == before


def test_texts_do_not_run_into_each_other() -> None:
    """A word that moves from one list of packages to the next makes another image."""
    assert digest("ab", "c") != digest("a", "bc")


def test_only_our_own_images_of_other_content_are_superseded() -> None:
    """What was made of older files goes; today's, the application's and other people's stay."""
    present = [recipes.SERVERS, "waypost/servers:older", "waypost:0.1.0", "postgres:18", "waypost/else:1"]
    assert images.superseded(present) == ["waypost/servers:older"]
