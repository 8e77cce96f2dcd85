"""Where Meta delivers to: tells it, through the Graph API, which callback serves which app, account and number."""

import asyncio
from collections.abc import Sequence

from waypost import settings
from waypost.cli.manifests import DeclaredNumber
from waypost.cloudapi.calls import Credentials, Override
from waypost.cloudapi.client import GraphClient
from waypost.registry import Route, Snapshot

FIELDS = (
    "messages",
    "message_template_status_update",
    "account_update",
    "user_preferences",
    "phone_number_quality_update",
)
"""What an app subscribes to. Template and account fields always go to the app's callback, whatever a number's is."""


def register(numbers: Sequence[DeclaredNumber], routes: Snapshot[Route], *, graph_url: str, public_url: str) -> None:
    """Register each number's callback at its scope, and its app's. Repeating it changes nothing.

    The webhook must serve already: Meta asks it for each verify token before it answers. Raises `GraphError`.
    """
    asyncio.run(_register(numbers, routes, graph_url, public_url.rstrip("/")))


async def _register(
    numbers: Sequence[DeclaredNumber], routes: Snapshot[Route], graph_url: str, public_url: str
) -> None:
    apps: set[str] = set()
    accounts: set[str] = set()
    async with GraphClient(graph_url, settings.load().graph_version, timeout_s=15) as graph:
        for number in numbers:
            route = routes.by_name[number.namespace, number.name]
            scope = number.number.spec.webhook.scope
            of_app = f"{public_url}/webhooks/apps/{route.app_id}"
            system_user = Credentials(number.credentials.access_token)
            if route.app_id not in apps:
                apps.add(route.app_id)
                await graph.set_app_subscription(
                    Credentials(f"{route.app_id}|{route.app_secrets[0]}"),
                    route.app_id,
                    callback_url=of_app,
                    verify_token=route.verify_tokens[0],
                    fields=FIELDS,
                )
            if route.waba_id not in accounts:
                accounts.add(route.waba_id)
                # Without an override first: Meta takes one only for an app that is subscribed already.
                await graph.subscribe_app(system_user, route.waba_id)
            if scope == "Account":
                await graph.subscribe_app(system_user, route.waba_id, Override(of_app, route.verify_tokens[0]))
            own = Override(f"{public_url}/webhooks/{route.namespace}/{route.name}", route.verify_tokens[0])
            await graph.override_number_webhook(system_user, route.phone_number_id, own if scope == "Number" else None)
