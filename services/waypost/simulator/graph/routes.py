"""Lists the handler of each call.

A handler is found by the kind of node and the path after the node's id. If the call is not about a node, its
handler is found by the whole path.
"""

from typing import Any

from waypost.simulator.graph import accounts, apps, media, numbers, profile, templates
from waypost.simulator.graph.api import NodeHandler, PathHandler
from waypost.simulator.world.world import Account, App, Media, Number

OWNED_TEMPLATE: type[Any] = tuple
"""The type of a template's node: the template together with its account."""

NODE_ROUTES: dict[tuple[type[Any], str, str], NodeHandler] = {
    (App, "", "GET"): apps.node,
    (App, "subscriptions", "GET"): apps.subscription,
    (App, "subscriptions", "POST"): apps.subscribe,
    (App, "subscriptions", "DELETE"): apps.unsubscribe,
    (Account, "", "GET"): accounts.node,
    (Account, "phone_numbers", "GET"): accounts.phone_numbers,
    (Account, "subscribed_apps", "GET"): accounts.subscribed,
    (Account, "subscribed_apps", "POST"): accounts.subscribe,
    (Account, "subscribed_apps", "DELETE"): accounts.unsubscribe,
    (Account, "message_templates", "GET"): templates.listing,
    (Account, "message_templates", "POST"): templates.create,
    (Account, "message_templates", "DELETE"): templates.delete,
    (Number, "", "GET"): numbers.node,
    (Number, "", "POST"): numbers.change,
    (Number, "register", "POST"): numbers.register,
    (Number, "deregister", "POST"): numbers.deregister,
    (Number, "request_code", "POST"): numbers.request_code,
    (Number, "verify_code", "POST"): numbers.verify_code,
    (Number, "media", "POST"): media.upload,
    (Number, "whatsapp_business_profile", "GET"): profile.profile,
    (Number, "whatsapp_business_profile", "POST"): profile.change_profile,
    (Number, "whatsapp_commerce_settings", "GET"): profile.commerce,
    (Number, "whatsapp_commerce_settings", "POST"): profile.change_commerce,
    (OWNED_TEMPLATE, "", "GET"): templates.node,
    (OWNED_TEMPLATE, "", "POST"): templates.edit,
    (Media, "", "GET"): media.node,
    (Media, "", "DELETE"): media.delete,
}

PATH_ROUTES: dict[tuple[str, str], PathHandler] = {
    ("/debug_token", "GET"): apps.debug_token,
    ("/oauth/access_token", "GET"): apps.access_token,
    ("/oauth/access_token", "POST"): apps.access_token,
    ("/oauth/revoke", "GET"): apps.revoke,
}
