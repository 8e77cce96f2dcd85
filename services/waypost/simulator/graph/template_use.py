"""Checks that a template message fits an approved template.

The template must exist, its status must be right, and the parameters must fit.
"""

import re
from collections.abc import Iterable
from typing import Any

from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.values import ComponentType, ParameterFormat, TemplateStatus
from waypost.simulator.world.world import Template

PLACEHOLDER = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
BLOCKED: dict[str, int] = {TemplateStatus.PAUSED: 132015, TemplateStatus.DISABLED: 132016}
"""Maps the statuses that forbid sending a template to the error code of each."""


def sendable_template(templates: Iterable[Template], name: str, language: str) -> Template:
    """Returns the template if it may be sent. Otherwise raises `Refusal` 132001, 132015 or 132016."""
    found = next((t for t in templates if (t.name, t.language) == (name, language)), None)
    if found is not None and found.status in BLOCKED:
        raise Refusal(BLOCKED[found.status], f"Template {name} in {language} is {found.status.lower()}.")
    if found is None or found.status != TemplateStatus.APPROVED:
        raise Refusal(
            132001,
            f"template name ({name}) does not exist in {language}",
            message="(#132001) Template name does not exist in the translation",
        )
    return found


def check_parameters(template: Template, sent: list[dict[str, Any]]) -> None:
    """Raises `Refusal` 132000, 132005 or 132012 unless the parameters fill exactly the template's variables."""
    given = {str(part.get("type")): part for part in sent if part.get("type") in ("header", "body")}
    buttons = {int(part.get("index", 0)): part for part in sent if part.get("type") == "button"}
    for component in template.components:
        kind = str(component.get("type", "")).upper()
        if kind == ComponentType.BODY:
            _texts(template, "body", str(component.get("text", "")), given.get("body"), 32768)
        elif kind == ComponentType.HEADER:
            _header(template, component, given.get("header"))
        elif kind == ComponentType.BUTTONS:
            _buttons(component.get("buttons", []), buttons)
    kinds = {str(component.get("type", "")).upper() for component in template.components}
    for kind in (ComponentType.HEADER, ComponentType.BODY):
        name = kind.lower()
        if kind not in kinds and given.get(name, {}).get("parameters"):
            raise Refusal(
                132000, f"{name}: number of localizable_params does not match the expected number of params (0)"
            )


def _texts(template: Template, name: str, wording: str, part: dict[str, Any] | None, longest: int) -> None:
    variables = list(dict.fromkeys(PLACEHOLDER.findall(wording)))
    parameters = (part or {}).get("parameters") or []
    if len(parameters) != len(variables):
        raise Refusal(
            132000,
            f"{name}: number of localizable_params ({len(parameters)}) does not match the expected number of params "
            f"({len(variables)})",
        )
    named = template.parameter_format.upper() == ParameterFormat.NAMED
    for index, parameter in enumerate(parameters):
        variable = parameter.get("parameter_name") if named else variables[index]
        if variable not in variables:
            raise Refusal(132000, f"{name}: parameter_name is missing or unknown for a template with named parameters")
        value = parameter.get(parameter["type"])
        if parameter["type"] not in ("text", "currency", "date_time") or value is None:
            raise Refusal(132012, f"{name}: parameter {index} must be text, currency or date_time and carry a value")
        shown = value if isinstance(value, str) else value["fallback_value"]
        if re.search(r"[\n\t]| {5,}", shown):
            raise Refusal(
                132012, f"{name}: Param text cannot have new-line/tab characters or more than 4 consecutive spaces"
            )
    filled = _filled(wording, parameters)
    if len(filled) > longest:
        raise Refusal(132005, f"{name}: the text is too long ({len(filled)} of {longest} characters)")


def _header(template: Template, component: dict[str, Any], part: dict[str, Any] | None) -> None:
    kind = str(component.get("format", "TEXT")).lower()
    if kind == "text":
        _texts(template, "header", str(component.get("text", "")), part, 60)
        return
    parameters = (part or {}).get("parameters") or []
    if len(parameters) != 1 or parameters[0]["type"] != kind:
        got = parameters[0]["type"].upper() if parameters else "UNKNOWN"
        raise Refusal(132012, f"header: Format mismatch, expected {kind.upper()}, received {got}")


def _buttons(defined: list[dict[str, Any]], sent: dict[int, dict[str, Any]]) -> None:
    for index, part in sent.items():
        if index >= len(defined):
            raise Refusal(132000, f"button: there is no button at index {index}")
        kind = str(defined[index].get("type", "")).lower()
        if part.get("sub_type") != kind:
            raise Refusal(132012, f"button: sub_type at index {index} must be {kind}")
    for index, button in enumerate(defined):
        dynamic = str(button.get("type", "")).upper() == "URL" and PLACEHOLDER.search(str(button.get("url", "")))
        if dynamic and len(sent.get(index, {}).get("parameters") or []) != 1:
            raise Refusal(131008, f"button: Button at index {index} of type Url requires a parameter")


def rendered(template: Template, sent: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the message as the user reads it: the parts of the template, filled with the parameters."""
    given = {str(part.get("type")): part.get("parameters") or [] for part in sent if part.get("type") != "button"}
    buttons = {int(part.get("index", 0)): part.get("parameters") or [] for part in sent if part.get("type") == "button"}
    shown: dict[str, Any] = {}
    for component in template.components:
        kind = str(component.get("type", "")).lower()
        if kind in ("header", "body", "footer") and component.get("text"):
            shown[kind] = _filled(str(component["text"]), given.get(kind, []))
        elif kind == "buttons":
            shown["buttons"] = [
                {
                    "type": str(button.get("type", "")).lower(),
                    "text": button.get("text", ""),
                    "payload": next(
                        (p["payload"] for p in buttons.get(index, []) if "payload" in p), button.get("text")
                    ),
                }
                for index, button in enumerate(component.get("buttons", []))
            ]
    return shown


def _filled(wording: str, parameters: list[dict[str, Any]]) -> str:
    variables = list(dict.fromkeys(PLACEHOLDER.findall(wording)))
    values: dict[str, str] = {}
    for index, parameter in enumerate(parameters[: len(variables)]):
        value = parameter.get(parameter["type"])
        name = parameter.get("parameter_name") or variables[index]
        values[name] = value if isinstance(value, str) else str((value or {}).get("fallback_value", ""))
    return PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), wording)
