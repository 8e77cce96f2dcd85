"""Which call leads where: the edges of each kind of node, and the paths that have no node."""

from typing import Any

from waypost.simulator.graph import accounts, apps, media, numbers, profile, templates
from waypost.simulator.graph.api import Edge, Root
from waypost.simulator.world.world import Account, App, Media, Number

OWNED_TEMPLATE: type[Any] = tuple
"""A template comes with its account."""

EDGES: dict[tuple[type[Any], str, str], Edge] = {
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

ROOTS: dict[tuple[str, str], Root] = {
    ("/debug_token", "GET"): apps.debug_token,
    ("/oauth/access_token", "GET"): apps.access_token,
    ("/oauth/access_token", "POST"): apps.access_token,
    ("/oauth/revoke", "GET"): apps.revoke,
}
