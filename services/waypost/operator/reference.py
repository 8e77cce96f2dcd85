"""The reference of a kind as Markdown, from the same schema that the API server checks."""

import json
from collections.abc import Iterator
from typing import Any

from waypost.operator.crd import Kind, crd
from waypost.operator.models import API_VERSION

NOTE = "<!-- Generated from the models by `python -m waypost.operator.crd`; change those. -->"


def reference(kind: Kind) -> str:
    """One page: what the kind is, all fields of its spec with type, default and rules, and those of its status."""
    written = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    lines = [
        NOTE,
        f"# {kind.kind}",
        "",
        kind.description,
        "",
        f"`apiVersion: {API_VERSION}`, `kind: {kind.kind}`, short name `{kind.short}`, category `whatsapp`. "
        f"`kubectl explain {kind.kind.lower()}.spec --recursive` tells the same.",
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
        inner = field.get("items", field)
        if "default" in field and field.get("type") != "object":
            need = f"default `{json.dumps(field['default'])}`"
        else:
            need = "**required**" if name in required else ""
        yield f"| `{path}` | {_type(field)} | {need} | {_cell(field, inner)} |"
        yield from _rows(inner, path + ("[]" if field.get("type") == "array" else ""))


def _is_refused(field: dict[str, Any]) -> bool:
    return any(each["rule"] == "false" for each in field.get("x-kubernetes-validations", ()))


def _type(field: dict[str, Any]) -> str:
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"] if each != "")
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    kind = {"integer": "number", "string": "text"}.get(field["type"], field["type"])
    if "minimum" in field or "maximum" in field:
        kind += f" {field.get('minimum', '')}–{field.get('maximum', '')}"
    return "time" if field.get("format") == "date-time" else kind


def _cell(field: dict[str, Any], inner: dict[str, Any]) -> str:
    text = str(field.get("description", ""))
    if "maxItems" in field:
        text += f" At most {field['maxItems']}."
    if "maxLength" in inner and inner["type"] == "string" and "enum" not in inner and "format" not in inner:
        text += f" At most {inner['maxLength']} characters."
    messages = dict.fromkeys(each["message"] for each in inner.get("x-kubernetes-validations", ()))
    text += "".join(f" *{message[0].upper()}{message[1:]}.*" for message in messages)
    return text.replace("|", "\\|")
