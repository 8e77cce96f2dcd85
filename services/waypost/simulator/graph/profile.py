"""Calls on the data of a business that users see: its profile and its commerce settings."""

from typing import Any

from waypost.simulator.graph.call import Call, Caller
from waypost.simulator.graph.numbers import check_access
from waypost.simulator.graph.outgoing import AUTHENTICATION, check_product
from waypost.simulator.graph.shape import URL, Rule, anything, array, boolean, one_of, record, text
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.world import Number

FIELDS = ("about", "address", "description", "email", "profile_picture_url", "websites", "vertical")
VERTICALS = (
    "OTHER AUTO BEAUTY APPAREL EDU ENTERTAIN EVENT_PLAN FINANCE GROCERY GOVT HOTEL HEALTH NONPROFIT PROF_SERVICES "
    "RETAIL TRAVEL RESTAURANT ALCOHOL ONLINE_GAMBLING PHYSICAL_GAMBLING OTC_DRUGS MATRIMONY_SERVICE UNDEFINED"
)
PROFILE: Rule = record(
    {"messaging_product": anything},
    {
        "about": text(139),
        "address": text(256, minimum=0),
        "description": text(512, minimum=0),
        "email": text(128, minimum=0),
        "websites": array(URL, minimum=0, maximum=2),
        "vertical": one_of(*VERTICALS.split(), ""),
        "profile_picture_handle": text(2000),
    },
)
COMMERCE: Rule = record(optional={"is_catalog_visible": boolean, "is_cart_enabled": boolean})


def _given(call: Call) -> dict[str, Any]:
    return {key: value for key, value in call.parameters.items() if key not in AUTHENTICATION}


async def profile(_sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Returns a list that contains only the profile."""
    check_access(caller, number)
    names = call.fields() or list(FIELDS)
    for name in names:
        if name not in FIELDS:
            raise Refusal(100, message=f"(#100) Tried accessing nonexisting field ({name})")
    shown = {name: number.profile[name] for name in names if number.profile.get(name)}
    return {"data": [shown | {"messaging_product": "whatsapp"}]}


async def change_profile(_sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Changes those fields of the profile that the call gives."""
    check_access(caller, number)
    given = _given(call)
    check_product(given)
    PROFILE(given, "whatsapp_business_profile")
    number.profile.update({key: value for key, value in given.items() if key in FIELDS})
    return {"success": True}


async def commerce(_sim: Simulation, _call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Returns a list that contains only the commerce settings."""
    check_access(caller, number)
    return {
        "data": [{"id": number.phone_number_id, "is_catalog_visible": False, "is_cart_enabled": True} | number.commerce]
    }


async def change_commerce(_sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Changes those commerce settings that the call gives."""
    check_access(caller, number)
    given = _given(call)
    COMMERCE(given, "whatsapp_commerce_settings")
    number.commerce.update({key: str(value).lower() == "true" for key, value in given.items()})
    return {"success": True}
