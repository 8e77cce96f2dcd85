"""Tests of the data folder of `waypost dev`. Unusable paths are refused before anything is created."""

import os
from pathlib import Path

import pytest

from waypost.dev.data_folder import LENGTH_LIMIT, DevError, make


@pytest.mark.parametrize("name", ["my wörk #1 100%", "a?b", "o'clock", '"quoted"', "$HOME", "日本 😀", "x" * 250])
def test_a_folder_may_have_any_printable_name(tmp_path: Path, name: str) -> None:
    """A data folder may have any printable name. Spaces, special characters and letters of any language are allowed."""
    make(tmp_path / name / "data")

    assert {each.name for each in (tmp_path / name / "data").iterdir()} == {"logs", "traces"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("two\nlines", "control character"),
        ("tab\tstop", "control character"),
        (os.fsdecode(b"latin-\xe9"), "no UTF-8"),
        ("/".join(["x" * 200] * 5), f"PostgreSQL can use {LENGTH_LIMIT}"),
    ],
)
def test_a_path_that_some_process_could_not_use_is_refused_in_one_line(tmp_path: Path, name: str, words: str) -> None:
    """If one of the processes could not use a path, the path is refused with one line, and nothing is created.

    The line can be printed on any terminal and names the option to change.
    """
    with pytest.raises(DevError, match=words) as refused:
        make(tmp_path / name)

    (problem,) = refused.value.problems
    assert problem.isprintable()
    assert "--data" in problem
    assert list(tmp_path.iterdir()) == []
