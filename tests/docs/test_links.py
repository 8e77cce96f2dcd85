"""Links between documents lead to files and headings that exist."""

from pathlib import Path

import pytest

from .documents import ROOT, anchors, documents, links


def _is_broken(document: Path, target: str) -> bool:
    if "://" in target or target.startswith("mailto:"):
        return False
    name, _, anchor = target.partition("#")
    path = ((ROOT / document).parent / name).resolve() if name else ROOT / document
    if not path.exists() or not path.is_relative_to(ROOT):
        return True
    return bool(anchor) and (path.suffix != ".md" or anchor not in anchors(path.relative_to(ROOT)))


@pytest.mark.parametrize("document", documents(), ids=str)
def test_links_of_a_document_lead_somewhere(document: Path) -> None:
    """Each link of a document leads to a file or heading that exists, because a newcomer follows the links."""
    assert [f"line {line}: {target}" for line, target in links(document) if _is_broken(document, target)] == []


@pytest.mark.parametrize("target", ["docs/none.md", "docs/bot.md#no-such-heading", "#nor-this", "../outside.md"])
def test_a_link_that_leads_nowhere_is_found(target: str) -> None:
    """The check of links reports each link that leads nowhere."""
    assert _is_broken(Path("README.md"), target)
