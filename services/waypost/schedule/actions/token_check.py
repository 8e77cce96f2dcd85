"""The action `tokenCheck`: what Meta says of the number's access token."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.calls import Credentials
from waypost.cloudapi.graph.client import GraphClient
from waypost.cloudapi.graph.errors import GraphError, GraphRefused
from waypost.contracts import registry
from waypost.contracts.order import Order, TokenCheckAction
from waypost.contracts.registry import Number
from waypost.schedule.ending import Ending, NotYet

RENEW = "make a new token for the system user (Business settings) and put it into the Secret"
_TOKEN_REFUSED = 190


def check(
    order: Order, action: TokenCheckAction, *, registry_dir: Path, graph: Callable[[], GraphClient], now: float
) -> Ending:
    """Ask Meta. Raises `NotYet` when the number is not published or Meta does not answer."""
    number = registry.numbers(registry_dir).current.by_name.get((order.namespace, order.number))
    if number is None:
        raise NotYet(f"the registry does not hold {order.namespace}/{order.number} yet")
    try:
        details = asyncio.run(_ask(graph, number))
    except GraphRefused as error:
        if error.code == _TOKEN_REFUSED:
            return Ending("TokenInvalid", f"the access token is not valid; {RENEW}")
        raise NotYet(f"Meta refused to tell: {error}") from None
    except GraphError as error:
        raise NotYet(f"Meta does not answer: {error}") from None
    return judge(details, warn_days=action.warn_days, now=now)


async def _ask(graph: Callable[[], GraphClient], number: Number) -> TokenDetails:
    # An app may ask about any of its tokens; a run has no secret of it, so the token is asked about itself.
    credentials = Credentials(number.access_token, number.app_secret_proof)
    async with graph() as client:
        return await client.debug_token(credentials, number.access_token)


def judge(token: TokenDetails, *, warn_days: int, now: float) -> Ending:
    """What the run's result is. Pure; `now` in seconds since 1970."""
    if not token.is_valid:
        return Ending("TokenInvalid", f"the access token is not valid; {RENEW}")
    if not token.expires_at:
        return Ending(detail="the access token never lapses")
    days = int((token.expires_at - now) // 86_400)
    if days < warn_days:
        return Ending("TokenExpires", f"the access token lapses in {max(0, days)} days; {RENEW}")
    return Ending(detail=f"the access token lapses in {days} days")
