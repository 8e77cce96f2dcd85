"""Tests that the registry's files follow the registry's Secrets, like the files of a mounted volume."""

import base64
from pathlib import Path

import pytest

from waypost.dev.registry_folder import RegistryFolder


def data(**contents: str) -> dict[str, str]:
    """Returns the data of a Secret, with the keys `one.json` and so on."""
    return {f"{key}.json": base64.b64encode(value.encode()).decode() for key, value in contents.items()}


def files(folder: Path) -> dict[str, str]:
    """Returns all files with their content."""
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_each_content_has_its_folder(tmp_path: Path) -> None:
    """The entries of both layouts are in one folder for the workers, and the bots are in another folder.

    Other Secrets give no files.
    """
    mounted = RegistryFolder(tmp_path)
    for name in ("webhook-0", "number-63", "worker-3", "bot-1"):
        mounted.update(f"waypost-registry-{name}", data(**{name: "x"}))
    mounted.update("waypost-number-team-a.support", data(secret="x"))
    mounted.update("waypost-registry-other-0", data(other="x"))
    assert files(tmp_path).keys() == {
        "webhook/webhook-0.json",
        "worker/number-63.json",
        "worker/worker-3.json",
        "bot/bot-1.json",
    }


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_equal_keys_the_later_secret_counts(tmp_path: Path, order: tuple[int, int]) -> None:
    """If two Secrets contain the same entry, the file has the content from the Secret with the higher number.

    This happens while an entry moves. When the entry is removed from one Secret, the file has the other content.
    """
    mounted = RegistryFolder(tmp_path)
    secrets = [("waypost-registry-number-9", "earlier"), ("waypost-registry-number-10", "later")]
    for index in order:
        mounted.update(secrets[index][0], data(one=secrets[index][1]))
    assert files(tmp_path) == {"worker/one.json": "later"}
    mounted.update(secrets[order[0]][0], {})
    assert files(tmp_path) == {"worker/one.json": secrets[order[1]][1]}
    mounted.update(secrets[order[1]][0], {})
    assert files(tmp_path) == {}


def test_the_layout_of_this_version_counts_before_that_of_the_previous_one(tmp_path: Path) -> None:
    """If both layouts contain an entry, the file has the content from the layout of this version.

    The order of the changes does not matter. The worker's volume has the same rule.
    """
    mounted = RegistryFolder(tmp_path)
    mounted.update("waypost-registry-number-0", data(one="new"))
    mounted.update("waypost-registry-worker-3", data(one="old"))
    assert files(tmp_path) == {"worker/one.json": "new"}


def test_only_changed_files_are_written(tmp_path: Path) -> None:
    """A change of one number does not rewrite the files of a thousand other numbers."""
    mounted = RegistryFolder(tmp_path)
    mounted.update("waypost-registry-number-0", data(one="1", two="2"))
    before = (tmp_path / "worker/one.json").stat()
    mounted.update("waypost-registry-number-0", data(one="1", two="other"))
    assert (tmp_path / "worker/one.json").stat().st_ino == before.st_ino
    assert files(tmp_path) == {"worker/one.json": "1", "worker/two.json": "other"}


def test_files_that_an_earlier_process_left_are_removed(tmp_path: Path) -> None:
    """Files that an earlier process left are removed.

    Otherwise, a number that was deleted while no operator ran would still be served.
    """
    earlier = RegistryFolder(tmp_path)
    earlier.update("waypost-registry-number-0", data(one="1", two="2"))
    earlier.update("waypost-registry-bot-0", {"bot.0.yaml.gz": ""})
    mounted = RegistryFolder(tmp_path)
    mounted.update("waypost-registry-number-0", data(one="1"))
    mounted.remove_others()
    assert files(tmp_path) == {"worker/one.json": "1"}
