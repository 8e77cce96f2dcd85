"""CONTRIBUTING.md and the architecture page name only files that exist, and CONTRIBUTING.md's lists are complete."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .documents import ROOT

PICTURES = sorted((ROOT / "docs").glob("flow-*.svg"))
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
CODE = ROOT / "services/waypost"


def paths_in(text: str) -> list[str]:
    """Returns every text in code marks that looks like a path in the repository."""
    return [span for span in re.findall(r"`([^`\s]+)`", text) if "/" in span and not span.startswith("http")]


@pytest.mark.parametrize("path", sorted(set(paths_in(GUIDE))))
def test_a_file_that_the_guide_names_exists(path: str) -> None:
    """Each file that the guide names exists.

    The guide may leave out `services/waypost/` at the start of a path.
    """
    assert (ROOT / path).exists() or (CODE / path).exists()


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.stem)
def test_each_file_in_a_picture_exists(picture: Path) -> None:
    """Each file in a picture exists, because a reader opens the files in the order of the picture's numbers."""
    texts = [node.text or "" for node in ElementTree.parse(picture).iter() if node.tag.endswith("}text")]
    files = [text for text in texts if text.endswith(".py")]

    assert len(files) > 10
    assert [file for file in files if not (CODE / file).is_file()] == []


def test_each_place_of_the_architecture_page_exists() -> None:
    """Each path on the architecture page exists, because a newcomer uses its table of starting points first."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    names = [name for name in paths_in(text) if name.endswith((".py", "/"))]

    assert names
    assert [name for name in names if not (CODE / name).exists() and not (ROOT / name).exists()] == []


def test_the_glossary_stays_short() -> None:
    """The glossary has at most fifteen terms, because every reader must learn the project's own terms."""
    glossary = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Glossary")[2]
    rows = [line for line in glossary.splitlines() if line.startswith("| ")]

    assert 1 < len(rows) - 1 <= 15


EXAMPLES = {
    "a message kind": ("Link", "cta_url"),
    "a chart value for workers": ("graphConcurrency", "graph_concurrency", "GRAPH_CONCURRENCY"),
    "an action of a schedule": ("tokenCheck", "TokenCheckAction", "TOKEN_EXPIRES"),
    "a condition of a number": ("BotLoaded", "BOT_LOADED"),
}
"""For each list, one that exists, by the names it has in the files."""

USERS = {
    "a message kind": {"services/waypost/cloudapi/messages/commerce.py", "services/waypost/telemetry/tracing.py"},
    "an action of a schedule": {
        "services/waypost/contracts/condition_types.py",
        "services/waypost/operator/number/reconcile.py",
    },
    "a condition of a number": {"docs/tutorial.md"},
}
"""Files in which an example stands by the way: a new one does not need them."""

NOT_LISTED = re.compile(r"tests/|docs/adr/|crds/|/files/crds/|CHANGELOG|__snapshot__|snapshots|/simulator/|benchmarks/")
"""Generated files, and files that happen to use the example."""


@pytest.mark.parametrize("title", EXAMPLES)
def test_a_list_names_each_file_in_which_an_existing_one_stands(title: str) -> None:
    """Each list of files to change names all files that contain an existing thing of the same kind.

    For example, a new message kind needs the same files as an existing message kind. Files that only use the
    existing thing need not be in the list.
    """
    section = GUIDE.partition(f"### {title}")[2].partition("\n### ")[0].partition("\n## ")[0]
    listed = {path for path in paths_in(section) if (ROOT / path).is_file()}
    standing = {
        str(path.relative_to(ROOT))
        for folder in ("services", "charts", "docs", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".yaml", ".json", ".md"}
        and not NOT_LISTED.search(str(path.relative_to(ROOT)))
        and any(re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")) for name in EXAMPLES[title])
    }

    assert standing - listed - USERS.get(title, set()) == set()
