"""The project's documents as Markdown: their code blocks, code spans, headings and links."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", *(f"{each}/**/*.md" for each in (".github", "benchmarks", "charts", "docs", "examples", "services")))
_PARSER = MarkdownIt("commonmark").enable("table")
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1(.*)\n((?:.*\n)*?)\s*\2\n")


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    `info` holds the words after the language on the opening fence, such as `fragment`.
    """

    document: Path
    line: int
    language: str
    info: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def file(self) -> str | None:
        """Returns the name under which the reader is asked to save the block.

        The name is given as `file=NAME` on the opening fence.
        """
        return next((each.removeprefix("file=") for each in self.info if each.startswith("file=")), None)


def documents() -> list[Path]:
    """Returns every document, relative to the repository."""
    return sorted({path.relative_to(ROOT) for place in PLACES for path in ROOT.glob(place)} | set(_of_tools()))


def _of_tools() -> Iterator[Path]:
    for path in (ROOT / "tools").rglob("README.md"):
        yield path.relative_to(ROOT)


def blocks(document: Path, *languages: str) -> list[Block]:
    """Returns the fenced blocks of a document in these languages, in order."""
    found = []
    for token in _tokens(document):
        if token.type == "fence" and token.map is not None:
            language, *info = token.info.split() or [""]
            if language in languages:
                found.append(Block(document, token.map[0] + 1, language, tuple(info), token.content))
    return found


def heredocs(block: Block) -> list[Block]:
    """Returns the here-documents of a shell block: the text that the block itself feeds to a program."""
    return [
        Block(block.document, block.line, "", (), found.group(4))
        for found in _HEREDOC.finditer(block.text)
        if block.language == "sh"
    ]


def without_heredocs(text: str) -> str:
    """Returns a shell text without its here-documents."""
    return _HEREDOC.sub(r"\3\n", text)


def spans(document: Path) -> list[tuple[int, str]]:
    """Returns the line and text of every code span of a document."""
    return [(line, token.content) for line, token in _inline(document) if token.type == "code_inline"]


def links(document: Path) -> list[tuple[int, str]]:
    """Returns the line and target of every link and picture of a document."""
    found = []
    for line, token in _inline(document):
        target = token.attrGet("href") if token.type == "link_open" else token.attrGet("src")
        if isinstance(target, str):
            found.append((line, target))
    return found


def anchors(document: Path) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a document."""
    found: set[str] = set()
    tokens = _tokens(document)
    for heading, content in pairwise(tokens):
        if heading.type != "heading_open":
            continue
        words = "".join(each.content for each in content.children or [])
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(next(each for each in (slug, *(f"{slug}-{n}" for n in range(1, 99))) if each not in found))
    return found


@cache
def _tokens(document: Path) -> list[Token]:
    return _PARSER.parse((ROOT / document).read_text(encoding="utf-8"))


def _inline(document: Path) -> Iterator[tuple[int, Token]]:
    for token in _tokens(document):
        line = token.map[0] + 1 if token.map else 0
        for child in token.children or []:
            yield line, child
