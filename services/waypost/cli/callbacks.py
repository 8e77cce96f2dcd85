"""Where Meta delivers to: tells it, through the Graph API, which callback serves which app, account and number."""

import asyncio
from collections.abc import Sequence

from waypost.cli.manifests import DeclaredNumber
from waypost.cloudapi.client import Credentials, GraphClient
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
    async with GraphClient(graph_url, "v26.0", timeout_s=15) as graph:
        apps: dict[str, str] = {}
        for number in numbers:
            route = routes.by_name[number.namespace, number.name]
            callback = f"{public_url}/webhooks/apps/{route.app_id}"
            if route.app_id not in apps:
                apps[route.app_id] = route.verify_tokens[0]
                await graph.subscribe_app(
                    Credentials(f"{route.app_id}|{route.app_secrets[0]}"),
                    route.app_id,
                    callback_url=callback,
                    verify_token=route.verify_tokens[0],
                    fields=FIELDS,
                )
            system_user = Credentials(number.credentials.access_token)
            await graph.subscribe_account(system_user, route.waba_id)
            if number.number.spec.webhook.scope == "Account":
                await graph.override_account_callback(
                    system_user, route.waba_id, callback_url=callback, verify_token=route.verify_tokens[0]
                )
            elif number.number.spec.webhook.scope == "Number":
                await graph.override_number_callback(
                    system_user,
                    route.phone_number_id,
                    callback_url=f"{public_url}/webhooks/{route.namespace}/{route.name}",
                    verify_token=route.verify_tokens[0],
                )
