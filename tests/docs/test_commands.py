"""Tests that a reader can type the commands in the documents.

The programs, options, targets, files and routes in these commands must exist.
"""

import pytest

from .documents import Block, blocks, documents, spans
from .shell import commands, problems

SHELL = [block for document in documents() for block in blocks(document, "sh")]
SPANS = [
    pytest.param(text, id=f"{document}:{line}")
    for document in documents()
    for line, text in spans(document)
    if text.startswith(("waypost ", "make "))
]


def _written_before(block: Block) -> set[str]:
    """Returns the files that the reader has created up to and including this block."""
    earlier = [each for each in blocks(block.document, "sh", "yaml", "json", "python") if each.line <= block.line]
    saved = {each.file for each in earlier if each.file is not None}
    shell = [each.text for each in earlier if each.language == "sh"]
    return saved | {name for text in shell for _, written in commands(text) for name in written}


@pytest.mark.parametrize("block", SHELL, ids=str)
def test_every_command_of_a_shell_block_can_be_typed(block: Block) -> None:
    """Every command of a shell block works without a change, because a newcomer copies the block and runs it."""
    written = _written_before(block)

    assert [each for words, _ in commands(block.text) for each in problems(words, written)] == []


@pytest.mark.parametrize("text", SPANS)
def test_a_command_in_running_text_exists(text: str) -> None:
    """A command in running text may hold placeholders, but each command and option in it must exist."""
    words = next(words for words, _ in commands(text))
    if len(words) > 1 and not words[1].isupper():
        assert problems(words, set(words), whole=False) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("waypost develop examples/", "no command: waypost develop examples/"),
        ("waypost doctor --verbose", "No such option: --verbose"),
        ("waypost send team-a/support", "Missing parameter: to"),
        ("make everything", "make everything does not exist"),
        ("make demo SPEED=1", "make SPEED=1 does not exist"),
        ("kubectl apply --filename examples/none.yaml", "no file examples/none.yaml"),
        ("helm install waypost charts/other", "no file charts/other"),
        ("curl -d '{}' http://127.0.0.1:8082/_sim/outbound", "no route: POST /_sim/outbound"),
        ("curl http://127.0.0.1:8082/_sim/inbound", "no route: GET /_sim/inbound"),
        ("cat README.md | frobnicate", "frobnicate is no program that a document may name"),
        ("python -m benchmarks.none", "no module benchmarks.none"),
    ],
)
def test_a_command_that_cannot_work_is_found(text: str, problem: str) -> None:
    """The check of commands reports each command that cannot work."""
    found = [each for words, _ in commands(text) for each in problems(words, set())]

    assert len(found) == 1
    assert problem in found[0]
