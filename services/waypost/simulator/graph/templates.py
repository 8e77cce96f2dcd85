"""Calls on message templates: create, list, read, edit and delete. Meta's review of templates is also simulated."""

import re
from typing import Any

from waypost.simulator.graph.call import Call, Caller
from waypost.simulator.graph.paging import page, selected_fields
from waypost.simulator.graph.shape import Rule, anything, array, one_of, record, text
from waypost.simulator.graph.template_use import PLACEHOLDER
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.deliveries import value_update
from waypost.simulator.world.refusal import Refusal, unexpected_key
from waypost.simulator.world.values import ComponentType, ParameterFormat, Scope, TemplateCategory, TemplateStatus
from waypost.simulator.world.world import Account, Template

CREATIONS_PER_HOUR = 100
FORMATS = ("TEXT", "IMAGE", "VIDEO", "DOCUMENT", "LOCATION", "GIF", "PRODUCT")
BUTTONS = (
    "QUICK_REPLY",
    "URL",
    "PHONE_NUMBER",
    "COPY_CODE",
    "OTP",
    "FLOW",
    "CATALOG",
    "MPM",
    "SPM",
    "VOICE_CALL",
    "REQUEST_CONTACT_INFO",
)
BUTTON: Rule = record(
    {"type": one_of(*BUTTONS, *(word.lower() for word in BUTTONS))},
    {
        "text": text(25),
        "url": text(2000),
        "phone_number": text(20),
        "example": anything,
        **dict.fromkeys(
            ("otp_type", "autofill_text", "supported_apps", "flow_id", "flow_name", "flow_json", "flow_action",
             "navigate_screen", "zero_tap_terms_accepted", "ttl_minutes"),
            anything,
        ),
    },
)  # fmt: skip
COMPONENT_TYPES = (*ComponentType, "CAROUSEL", "LIMITED_TIME_OFFER", "CALL_PERMISSION_REQUEST")
COMPONENT: Rule = record(
    {"type": one_of(*COMPONENT_TYPES, *(word.lower() for word in COMPONENT_TYPES))},
    {
        "format": one_of(*FORMATS, *(word.lower() for word in FORMATS)),
        "text": text(1024),
        "buttons": array(BUTTON, maximum=10),
        "example": anything,
        **dict.fromkeys(
            ("cards", "limited_time_offer", "add_security_recommendation", "code_expiration_minutes"), anything
        ),
    },
)
COMPONENTS: Rule = array(COMPONENT, maximum=10)
PARAMETERS = frozenset(
    {
        *("name", "language", "category", "components", "parameter_format", "allow_category_change"),
        *("message_send_ttl_seconds", "access_token", "appsecret_proof", "library_template_name"),
    }
)


def _allowed(caller: Caller, account: Account) -> None:
    caller.require_scope(Scope.MANAGEMENT)
    caller.require_account(account.waba_id)


def _invalid(details: str, subcode: int | None = None) -> Refusal:
    return Refusal(100, details, message="Invalid parameter", subcode=subcode)


def check_components(components: Any, *, named: bool) -> None:
    """Raises `Refusal` unless Meta would accept a template with these components for review."""
    COMPONENTS(components, "components")
    kinds = [str(part["type"]).upper() for part in components]
    if kinds.count(ComponentType.BODY) != 1:
        raise _invalid("components must have exactly one BODY.", 2388042)
    for part in components:
        kind, wording = str(part["type"]).upper(), str(part.get("text", ""))
        limit = 60 if kind in (ComponentType.HEADER, ComponentType.FOOTER) else 1024
        if len(wording) > limit:
            raise _invalid(f"{kind} text is longer than {limit} characters.", 2388040)
        variables = list(dict.fromkeys(PLACEHOLDER.findall(wording)))
        if kind == ComponentType.FOOTER and variables:
            raise _invalid("FOOTER takes no variables.", 2388043)
        if not named and variables != [str(index + 1) for index in range(len(variables))]:
            raise _invalid("Variables must be numbered {{1}}, {{2}}, … without gaps.", 2388023)
        if kind == ComponentType.BODY and re.match(r"\s*\{\{|.*\}\}\s*\Z", wording, re.DOTALL):
            raise _invalid("Variables can't be at the start or end of the template.", 2388299)
        if variables and not part.get("example"):
            raise _invalid(f"{kind} has variables but no example.", 2388043)


async def create(sim: Simulation, call: Call, caller: Caller, account: Account) -> dict[str, Any]:
    """Creates a template. The template's status is PENDING until its review ends."""
    _allowed(caller, account)
    for key in call.parameters:
        if key not in PARAMETERS:
            raise unexpected_key(key, "message_templates")
    name, language = call.text("name", required=True) or "", call.text("language", required=True) or ""
    category = (call.text("category", required=True) or "").upper()
    if not re.fullmatch(r"[a-z0-9_]{1,512}", name):
        raise _invalid("name may hold lower-case letters, digits and underscores, at most 512.")
    if not re.fullmatch(r"[a-z]{2,3}(_[A-Z]{2,3})?", language):
        raise _invalid("language is not a language code such as en_US.")
    if category not in list(TemplateCategory):
        raise Refusal(100, message=f"(#100) Param category must be one of {{{', '.join(TemplateCategory)}}}.")
    parameter_format = (call.text("parameter_format") or ParameterFormat.POSITIONAL).upper()
    components = call.parameters.get("components")
    check_components(components, named=parameter_format == ParameterFormat.NAMED)
    if any((t.name, t.language) == (name, language) for t in account.templates.values()):
        raise _invalid("There is already content in this language for this template.", 2388024)
    if sim.hourly_limit.take(("templates", account.waba_id), sim.now(), CREATIONS_PER_HOUR):
        raise Refusal(80007, "At most 100 templates may be created in an hour.")
    template = sim.world.add_template(
        account,
        Template(
            name=name,
            language=language,
            category=category,
            status=TemplateStatus.PENDING,
            parameter_format=parameter_format,
            components=components if isinstance(components, list) else [],
        ),
    )
    _review(sim, account, template)
    return {"id": template.id, "status": template.status, "category": category}


def _review(sim: Simulation, account: Account, template: Template) -> None:
    if sim.config.template_review_s is not None:
        sim.later(sim.config.template_review_s, lambda: decide(sim, account, template, TemplateStatus.APPROVED))


def decide(sim: Simulation, account: Account, template: Template, event: str, reason: str = "NONE") -> None:
    """Gives a template the status that Meta's review decided on, and sends the webhook about it."""
    template.status = event
    value: dict[str, Any] = {
        "event": event,
        "message_template_id": int(template.id),
        "message_template_name": template.name,
        "message_template_language": template.language,
        "message_template_category": template.category,
        "reason": reason,
    }
    sim.delivery_sender.submit([value_update(account, None, "message_template_status_update", value, sim.now())])


def _fields(template: Template) -> dict[str, Any]:
    return {
        "id": template.id,
        "name": template.name,
        "language": template.language,
        "status": template.status,
        "category": template.category,
        "parameter_format": template.parameter_format,
        "components": template.components,
        "quality_score": {"score": "UNKNOWN"},
        "rejected_reason": "NONE",
    }


DEFAULT_FIELDS = ("name", "parameter_format", "components", "language", "status", "category", "id")


async def listing(_sim: Simulation, call: Call, caller: Caller, account: Account) -> dict[str, Any]:
    """Lists templates in pages. They can be filtered by `name`, `language`, `status` or `category`."""
    _allowed(caller, account)
    found = list(account.templates.values())
    for name in ("name", "language", "status", "category"):
        wanted = call.text(name)
        if wanted is not None:
            found = [template for template in found if str(getattr(template, name)).lower() == wanted.lower()]
    views = [selected_fields(call, _fields(template), DEFAULT_FIELDS, "MessageTemplate") for template in found]
    return page(call, views)


async def delete(sim: Simulation, call: Call, caller: Caller, account: Account) -> dict[str, Any]:
    """Deletes a template in all its languages. With `hsm_id`, deletes only the language that has this id."""
    _allowed(caller, account)
    name, hsm_id = call.text("name", required=True), call.text("hsm_id")
    found = [t for t in account.templates.values() if t.name == name and hsm_id in (None, t.id)]
    if not found:
        raise _invalid("Message template not found", 2593002)
    for template in found:
        sim.world.remove_template(account, template)
    return {"success": True}


async def node(_sim: Simulation, call: Call, caller: Caller, owned: tuple[Account, Template]) -> dict[str, Any]:
    """Returns the fields of a template."""
    account, template = owned
    _allowed(caller, account)
    return selected_fields(call, _fields(template), DEFAULT_FIELDS, "MessageTemplate")


async def edit(sim: Simulation, call: Call, caller: Caller, owned: tuple[Account, Template]) -> dict[str, Any]:
    """Replaces the components or the category of a template, which is then reviewed again."""
    account, template = owned
    _allowed(caller, account)
    for key in call.parameters:
        if key not in PARAMETERS - {"name", "language"}:
            raise unexpected_key(key, "message_template")
    if "components" in call.parameters:
        check_components(call.parameters["components"], named=template.parameter_format == ParameterFormat.NAMED)
        template.components = call.parameters["components"]
    if "category" in call.parameters:
        category = str(call.parameters["category"]).upper()
        if category not in list(TemplateCategory):
            raise Refusal(100, message=f"(#100) Param category must be one of {{{', '.join(TemplateCategory)}}}.")
        template.category = category
    template.status = TemplateStatus.PENDING
    _review(sim, account, template)
    return {"success": True, "id": template.id, "name": template.name, "category": template.category}
