"""Facts that a document repeats from the code are still those of the code."""

import re
import tomllib

import pytest

from waypost.operator.engine.workers import CONCURRENCY
from waypost.settings import Settings

from .documents import ROOT, Block, blocks, documents

PYTHON = [block for document in documents() for block in blocks(document, "python")]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_of_a_document_runs(block: Block) -> None:
    """What it imports exists."""
    exec(compile(block.text, str(block), "exec"), {})


def test_the_layers_in_the_document_are_those_that_the_linter_enforces() -> None:
    """docs/how-it-works.md has one row for each layer, with all of its packages."""
    text = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*`) \|", text.partition("\n## Packages\n")[2], re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")

    assert [set(re.findall(r"`([\w.]+)`", row)) for row in rows] == [
        {each.removeprefix("waypost.") for each in re.split(r" [|:] ", layer)} for layer in layers
    ]


def test_the_number_of_reconciles_at_a_time_is_that_of_the_code() -> None:
    """ADR 6 says how many there are, and the setting's default is the same."""
    text = (ROOT / "docs/adr/0006-how-kopf-is-used.md").read_text(encoding="utf-8")

    assert re.findall(r"(\d+) of them run at a time", text) == [str(CONCURRENCY)]
    assert Settings.model_fields["operator_concurrency"].default == CONCURRENCY


def test_every_reason_in_the_table_of_conditions_is_one_that_the_operator_gives() -> None:
    """docs/numbers.md tells what to do about it, so it must not be a reason of the past."""
    rows = re.findall(r"^\| [^|]*\| (`[^|]*)\|", (ROOT / "docs/numbers.md").read_text(encoding="utf-8"), re.MULTILINE)
    reasons = {reason for row in rows for reason in re.findall(r"`([A-Z]\w+)`", row)}
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "services/waypost").rglob("*.py"))

    assert len(reasons) > 30
    assert {each for each in reasons if f'"{each}"' not in code} - OF_META == set()


OF_META = {"Banned", "Restricted", "Blocked", "Limited"}
"""States that Meta gives to a number or to what it belongs to, written as a reason."""
