"""Renders the reference of a kind as Markdown, from the schema that the API server checks."""

from collections.abc import Iterator
from typing import Any

from waypost.operator.api.crd import Kind, crd
from waypost.operator.api.number_models import API_VERSION

NOTE = "<!-- Generated from services/waypost/operator/api by `make generate`. Do not edit. -->"


def reference(kind: Kind) -> str:
    """Returns one page about the kind, with all fields of its spec and its status.

    Each field of the spec has its type, default and rules.
    """
    written = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    lines = [
        NOTE,
        f"# {kind.kind}",
        "",
        kind.description,
        "",
        f"`apiVersion: {API_VERSION}`, `kind: {kind.kind}`, short name `{kind.short}`, category `whatsapp`. "
        f"`kubectl explain {kind.kind.lower()}.spec --recursive` shows the same.",
        "",
        "## spec",
        "",
        *_table(written["spec"], "spec"),
        "",
        "## status",
        "",
        "Written by the operator.",
        "",
        *_table(written["status"], "status"),
    ]
    return "\n".join(lines) + "\n"


def _table(schema: dict[str, Any], at: str) -> Iterator[str]:
    yield "| Field | Type | | What it means |"
    yield "|---|---|---|---|"
    yield from _rows(schema, at)


def _rows(schema: dict[str, Any], at: str) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        if _is_refused(field):
            continue
        path = f"{at}.{name}"
        need = "**required**" if name in required else ""
        text = field.get("description", "").replace("|", "\\|")
        yield f"| `{path}` | {_type(field)} | {need} | {text} |"
        yield from _rows(field.get("items", field), path + ("[]" if field.get("type") == "array" else ""))


def _is_refused(field: dict[str, Any]) -> bool:
    return any(each["rule"] == "false" for each in field.get("x-kubernetes-validations", ()))


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"] if each != "")
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if field.get("format") == "date-time":
        return "time"
    return str({"integer": "number", "string": "text"}.get(field["type"], field["type"]))
