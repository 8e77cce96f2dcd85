"""Tests that the code accepts the YAML in the documents: our kinds, bot scripts and chart values."""

from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from waypost.bot import script
from waypost.dev import kinds, manifests

from .documents import ROOT, Block, blocks, documents, heredocs

IN_DOCUMENTS = [block for document in documents() for block in blocks(document, "yaml")]
IN_COMMANDS = [each for document in documents() for block in blocks(document, "sh") for each in heredocs(block)]
EXAMPLES = [
    Block(path.relative_to(ROOT), 1, "yaml", (), path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "examples").glob("*.yaml"))
]
OURS: dict[str, type[BaseModel]] = {
    "WhatsAppNumber": kinds.WhatsAppNumber,
    "BotSchedule": kinds.BotSchedule,
    "ConfigMap": kinds.ConfigMap,
    "Secret": kinds.Secret,
}
PARTS_OF_A_SCRIPT = {"cancel", "consent", "dialogs", "fallback", "phrases", "time_zone"}
LEAST_SCRIPT = "version: 1\nintents: {any: {keywords: [any], reply: Any.}}\n"
VALUES = yaml.safe_load((ROOT / "charts/waypost/values.yaml").read_text(encoding="utf-8"))


def _unknown(values: Any, known: Any, place: str) -> list[str]:
    """Returns the keys of chart values that the chart does not have. Below an empty value any key is accepted."""
    if not isinstance(values, dict) or not isinstance(known, dict) or not known:
        return []
    unknown = [f"{place}{name}" for name in values if name not in known]
    inner = [
        each for name in values if name in known for each in _unknown(values[name], known[name], f"{place}{name}.")
    ]
    return unknown + inner


def check(block: Block) -> None:
    """Raises the error that the code raises for this text.

    A block with `fragment` on its fence is only a part of an object or file.
    """
    for content in yaml.safe_load_all(block.text):
        if "fragment" in block.info:
            assert "apiVersion" not in content, "a whole object is no fragment"
        elif "apiVersion" in content:
            model = OURS.get(content["kind"])
            assert model is not None or not content["apiVersion"].startswith("waypost.dev/")
            if model is not None:
                model.model_validate(content)
            if content["kind"] == "ConfigMap" and manifests.BOT_KEY in content["data"]:
                script.load(content["data"][manifests.BOT_KEY])
        elif "intents" in content:
            script.load(block.text)
        elif content.keys() <= PARTS_OF_A_SCRIPT:
            script.load(f"{LEAST_SCRIPT}{block.text}")
        else:
            assert _unknown(content, VALUES, "") == []


@pytest.mark.parametrize("block", [*IN_DOCUMENTS, *IN_COMMANDS, *EXAMPLES], ids=str)
def test_yaml_of_a_document_is_taken_by_the_code(block: Block) -> None:
    """The code accepts the YAML of a document.

    Our kinds fit their schema, scripts load, and chart values are keys of the chart.
    """
    check(block)


@pytest.mark.parametrize(
    "text",
    [
        "{apiVersion: waypost.dev/v1alpha1, kind: WhatsAppNumber, metadata: {name: a}, spec: {phoneNumberId: '1'}}",
        "{apiVersion: waypost.dev/v1alpha1, kind: WhatsAppNumbers, metadata: {name: a}, spec: {}}",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {bot.yaml: 'version: 1'}}",
        "{version: 1, intents: {a: {keywords: [a], replies: b}}}",
        "{worker: {replica: 3}}",
    ],
)
def test_yaml_that_the_code_refuses_is_found(text: str) -> None:
    """The check of YAML reports each text that the code refuses."""
    with pytest.raises((ValueError, AssertionError, script.ScriptError)):
        check(Block(ROOT, 1, "yaml", (), text))
