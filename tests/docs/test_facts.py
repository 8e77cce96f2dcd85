"""Facts that a document repeats from the code must be the same as in the code."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from waypost.operator.engine.workers import CONCURRENCY
from waypost.settings import Settings

from .documents import ROOT, Block, blocks, documents, spans

PYTHON = [block for document in documents() for block in blocks(document, "python")]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python_of_a_document_runs(block: Block) -> None:
    """Each Python block of a document runs without an error, so the names that it imports exist."""
    exec(compile(block.text, str(block), "exec"), {})


VALUES = yaml.safe_load((ROOT / "charts/waypost/values.yaml").read_text(encoding="utf-8"))
CRDS = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted((ROOT / "crds").glob("*.yaml"))]
SCHEMAS = [crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"] for crd in CRDS]
CODE = "".join(
    path.read_text(encoding="utf-8")
    for folder in ("services/waypost", "tests", "tools", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path.parent != Path(__file__).parent
)


def _is_value(name: str) -> bool:
    """Returns whether the chart has this value. Below an empty value any name is accepted."""
    known: Any = VALUES
    for part in name.split("."):
        if not known:
            return True
        if not isinstance(known, dict) or part not in known:
            return False
        known = known[part]
    return True


def _is_field(name: str) -> bool:
    """Returns whether one of our kinds has this field. A name without `spec` in front is a field of the spec."""
    return any(_has(schema, name.split(".")) or _has(schema, ["spec", *name.split(".")]) for schema in SCHEMAS)


def _has(properties: dict[str, Any], path: list[str]) -> bool:
    node = properties.get(path[0])
    return node is not None and (len(path) == 1 or _has(node.get("properties", {}), path[1:]))


def _is_variable(name: str) -> bool:
    return name.removeprefix("WAYPOST_").lower() in Settings.model_fields or name in CODE


NAMES: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (r"(benchmarks|charts|crds|docs|examples|services|tests|tools)/[\w./-]+", lambda name: (ROOT / name).exists()),
    (r"WAYPOST_[A-Z_]+", _is_variable),
    (r"(spec|status)(\.\w+)+", _is_field),
    (rf"({'|'.join(VALUES)})(\.[a-zA-Z]+)+(?<!\.yaml)", lambda name: _is_value(name) or _is_field(name)),
)
"""Names in running text by their form, and whether what they name exists."""


@pytest.mark.parametrize("document", documents(), ids=str)
def test_what_running_text_names_exists(document: Path) -> None:
    """Paths, environment variables, chart values and fields of our kinds exist if running text names them."""
    named = [(line, re.split("[=:]", text)[0]) for line, text in spans(document)]

    assert [
        f"line {line}: {name}"
        for line, name in named
        for form, exists in NAMES
        if re.fullmatch(form, name) and not exists(name)
    ] == []


@pytest.mark.parametrize("name", ["docs/none.md", "WAYPOST_NONE", "spec.none", "bot.none", "webhook.none"])
def test_a_name_of_nothing_is_found(name: str) -> None:
    """The check of names in running text reports each name that does not exist."""
    assert [exists(name) for form, exists in NAMES if re.fullmatch(form, name)] == [False]


def test_the_layers_in_the_document_are_those_that_the_linter_enforces() -> None:
    """docs/how-it-works.md has one row for each layer that the linter enforces, with all packages of the layer."""
    text = (ROOT / "docs/how-it-works.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]*`) \|", text.partition("\n## Packages\n")[2], re.MULTILINE)
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")

    assert [set(re.findall(r"`([\w.]+)`", row)) for row in rows] == [
        {each.removeprefix("waypost.") for each in re.split(r" [|:] ", layer)} for layer in layers
    ]


def test_the_number_of_reconciles_at_a_time_is_that_of_the_code() -> None:
    """ADR 6 and the setting's default give the number of parallel reconciles that the code has."""
    text = (ROOT / "docs/adr/0006-how-kopf-is-used.md").read_text(encoding="utf-8")

    assert re.findall(r"(\d+) of them run at a time", text) == [str(CONCURRENCY)]
    assert Settings.model_fields["operator_concurrency"].default == CONCURRENCY


def test_every_reason_in_the_table_of_conditions_is_one_that_the_operator_gives() -> None:
    """The operator still uses every reason in the table of conditions in docs/numbers.md.

    The table says what a reader should do about each reason.
    """
    rows = re.findall(r"^\| [^|]*\| (`[^|]*)\|", (ROOT / "docs/numbers.md").read_text(encoding="utf-8"), re.MULTILINE)
    reasons = {reason for row in rows for reason in re.findall(r"`([A-Z]\w+)`", row)}

    operator = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "services/waypost").rglob("*.py"))

    assert len(reasons) > 30
    assert {each for each in reasons if f'"{each}"' not in operator} - OF_META == set()


OF_META = {"Banned", "Restricted", "Blocked", "Limited"}
"""States that Meta gives to a number or to what it belongs to, written as a reason."""
