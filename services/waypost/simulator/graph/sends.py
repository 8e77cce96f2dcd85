"""Answers `POST /{phone-number-id}/messages`. Checks the recipient, the rate and the content of each message."""

import asyncio
import re
from functools import lru_cache
from typing import Any

import phonenumbers

from waypost.simulator.graph.call import Call, Caller
from waypost.simulator.graph.faults import Fault
from waypost.simulator.graph.outgoing import check_mark, check_message
from waypost.simulator.graph.template_use import check_parameters, rendered, sendable_template
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.history import Sent, wamid
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.values import NameStatus, NumberStatus, Scope, TemplateCategory
from waypost.simulator.world.world import Number, Template, User, country, only_digits

BSUID = re.compile(r"[A-Z]{2}\.(?:ENT\.)?[A-Za-z0-9]{1,128}")
FREE_SERVICE_MESSAGES = 1000
MEDIA_TYPES = ("image", "video", "audio", "document", "sticker")
UNREGISTERED = frozenset(NumberStatus) - {NumberStatus.CONNECTED, NumberStatus.BANNED}


async def post_messages(
    sim: Simulation, call: Call, caller: Caller, number: Number, fault: Fault | None = None
) -> dict[str, Any]:
    """Accepts a message or a mark-as-read. Otherwise raises `Refusal` with the code that Meta uses."""
    caller.require_scope(Scope.MESSAGING)
    caller.require_account(number.waba_id)
    if "status" in call.body:
        return _mark_as_read(sim, call, number)
    body = call.body or call.parameters
    kind = check_message(body)
    _check_sender(sim, number)
    user, by_user_id = recipient(sim, number, body)
    _check_recipient(number, user, by_user_id)
    template = _template(sim, number, body, by_user_id=by_user_id) if kind == "template" else None
    _check_media(sim, number, kind, body[kind])
    late_failure = _check_window(sim, number, user) if template is None else None
    _check_limits(sim, number, user)
    category, billable = _price(sim, number, template)
    sent = Sent(
        seq=sim.history.next_seq(),
        wamid=wamid(user.phone or user.user_id, outgoing=True),
        phone_number_id=number.phone_number_id,
        waba_id=number.waba_id,
        to=body.get("to") or body["recipient"],
        user=user,
        by_user_id=by_user_id,
        type=kind,
        body=body[kind],
        context=(body.get("context") or {}).get("message_id"),
        time=sim.now(),
        callback_data=body.get("biz_opaque_callback_data"),
        category=category,
        billable=billable,
        rendered=rendered(template, body["template"].get("components") or []) if template else None,
    )
    sim.history.add_sent(sent)
    ordered = Refusal(fault.code or 131000, fault.details) if fault and fault.fail_after_accept else None
    sim.plan_statuses(sent, ordered or late_failure)
    if sim.config.reply_after_s:
        await asyncio.sleep(sim.config.reply_after_s)
    contact: dict[str, Any] = {"input": sent.to}
    if by_user_id:
        contact["user_id"] = user.user_id
    else:
        contact["wa_id"] = user.phone
    return {
        "messaging_product": "whatsapp",
        "contacts": [contact],
        "messages": [{"id": sent.wamid, "message_status": "accepted"}],
    }


def _mark_as_read(sim: Simulation, call: Call, number: Number) -> dict[str, Any]:
    check_mark(call.body)
    received = sim.history.received.get(call.body["message_id"])
    if received is None or received.phone_number_id != number.phone_number_id:
        raise Refusal(131009, "Param message_id does not name a message that this number has received.")
    for earlier in sim.history.received.values():
        if earlier.user is received.user and earlier.seq <= received.seq:
            earlier.read = True
    if "typing_indicator" in call.body:
        received.typing_until = sim.now() + 25
    sim.history.version += 1
    return {"success": True}


def _check_sender(sim: Simulation, number: Number) -> None:
    account = sim.world.account_of(number)
    if account.locked or number.status == NumberStatus.BANNED:
        raise Refusal(131031, "Your account has been locked.")
    if number.status in UNREGISTERED:
        raise Refusal(133010, "The phone number is not registered on the WhatsApp Business Platform.")
    if number.name_status in (NameStatus.DECLINED, NameStatus.NONE):
        raise Refusal(131037)
    if not account.has_payment_method:
        raise Refusal(131042, "There was an error related to your payment method.")


@lru_cache(maxsize=65_536)
def normalize_phone(to: str, calling_code: str) -> str | None:
    """Returns the digits of the number that Meta would write to, or None if they cannot be a phone number.

    If `to` has no `+` and does not begin with the calling code of the business number, that calling code is added
    to `to`.
    """
    digits = only_digits(to)
    if re.search(r"[^0-9+()\-. ]", to) or not 5 <= len(digits) <= 20:
        return None
    candidates = [digits] if to.strip().startswith("+") else [calling_code + digits]
    if not to.strip().startswith("+") and calling_code and digits.startswith(calling_code):
        candidates.insert(0, digits)
    for candidate in candidates:
        try:
            if phonenumbers.is_possible_number(phonenumbers.parse("+" + candidate)):
                return candidate
        except phonenumbers.NumberParseException:
            continue
    return None


def recipient(sim: Simulation, number: Number, body: dict[str, Any]) -> tuple[User, bool]:
    """Returns the recipient, and whether the message names the recipient by a BSUID. Raises `Refusal`.

    If both `to` and a BSUID are given, `to` takes precedence.
    """
    if body.get("recipient_type", "individual") == "group":
        raise Refusal(131051, "The simulator has no groups.")
    to = body.get("to")
    if to is None:
        user_id = body["recipient"]
        if not BSUID.fullmatch(user_id):
            raise Refusal(131009, "Param recipient is not a business-scoped user ID.")
        user = sim.world.users.get(user_id)
        if user is None:
            raise Refusal(131026, "No user with this business-scoped user ID.")
        return user, True
    digits = normalize_phone(to, country(number.digits)[0])
    if digits is None:
        raise Refusal(131009, "Param to is not a valid phone number.")
    return sim.world.user(phone=digits), False


def _check_recipient(number: Number, user: User, by_user_id: bool) -> None:
    if user.phone is not None and user.phone == number.digits:
        raise Refusal(131021)
    if number.allowed_recipients is not None and not by_user_id:
        allowed = {only_digits(entry) for entry in number.allowed_recipients}
        if user.phone not in allowed:
            raise Refusal(131030, "Recipient phone number not in allowed list: Add it to the list and try again.")


def _check_window(sim: Simulation, number: Number, user: User) -> Refusal | None:
    last = sim.history.last_inbound.get((number.phone_number_id, user.user_id), float("-inf"))
    if sim.now() - last <= sim.config.window_s:
        return None
    refusal = Refusal(
        131047,
        "Message failed to send because more than 24 hours have passed since the customer last replied to this number.",
    )
    if sim.config.window_refusal == "reply":
        raise refusal
    return refusal


def _check_limits(sim: Simulation, number: Number, user: User) -> None:
    now = sim.now()
    rate = number.messages_per_second
    if rate and sim.throughput_limit.take(number.phone_number_id, now, 1 / rate, rate):
        raise Refusal(130429, "Cloud API message throughput has been reached.")
    config = sim.config
    pair = (number.phone_number_id, user.user_id)
    if config.pair_burst and sim.pair_limit.take(pair, now, config.pair_interval_s, config.pair_burst):
        raise Refusal(131056, "Too many messages sent from this phone number to the same recipient.")


def _template(sim: Simulation, number: Number, body: dict[str, Any], *, by_user_id: bool) -> Template:
    given = body["template"]
    templates = sim.world.account_of(number).templates.values()
    template = sendable_template(templates, given["name"], given["language"]["code"])
    if by_user_id and template.category == TemplateCategory.AUTHENTICATION:
        raise Refusal(131062)
    check_parameters(template, given.get("components") or [])
    return template


def _check_media(sim: Simulation, number: Number, kind: str, content: Any) -> None:
    media_id = content.get("id") if kind in MEDIA_TYPES else None
    if media_id is None:
        return
    media = sim.world.media.get(media_id)
    if media is None or media.phone_number_id != number.phone_number_id or media.expires_at <= sim.now():
        raise Refusal(131009, f"Param {kind}['id'] is not a media id of this phone number.")


def _price(sim: Simulation, number: Number, template: Template | None) -> tuple[str, bool]:
    if template is not None:
        return template.category.lower(), True
    used = sim.free_service.get(number.phone_number_id, 0) + 1
    sim.free_service[number.phone_number_id] = used
    return "service", used > FREE_SERVICE_MESSAGES
