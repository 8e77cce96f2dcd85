"""The action `tokenCheck`: asks Meta how long the number's access token is valid."""

import asyncio
from typing import TYPE_CHECKING

from pydantic import Field

from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.calls import Credentials
from waypost.cloudapi.graph.errors import GraphError, GraphRefused
from waypost.contracts import registry
from waypost.contracts.registry import Number
from waypost.schedule.actions.action import ActionModel, PodNeeds, ScheduleAction, everything_is_supported
from waypost.schedule.outcome import ActionOutcome, NotYet, RunResult

if TYPE_CHECKING:
    from waypost.schedule.context import RunContext

RENEW = "make a new token for the system user (Business settings) and put it into the Secret"
DAY_S = 86_400
_TOKEN_REFUSED = 190


class TokenCheckAction(ActionModel):
    """Check the number's access token at Meta, and warn before it expires."""

    warn_days: int = Field(default=14, ge=1, le=60)
    """Number of days before the token expires from which a run warns."""


def run(context: "RunContext", action: TokenCheckAction) -> ActionOutcome:
    """Asks Meta about the token and returns the outcome.

    Raises `NotYet` if the number is not published yet or if Meta does not answer.
    """
    order = context.order
    number = registry.numbers(context.registry_dir, with_bots=False).current.by_name.get(
        (order.namespace, order.number)
    )
    if number is None:
        raise NotYet(f"the registry does not hold {order.namespace}/{order.number} yet")
    try:
        details = asyncio.run(_ask(context, number))
    except GraphRefused as error:
        if error.code == _TOKEN_REFUSED:
            return ActionOutcome(RunResult.TOKEN_INVALID, f"the access token is not valid; {RENEW}")
        raise NotYet(f"Meta refused to answer: {error}") from None
    except GraphError as error:
        raise NotYet(f"Meta does not answer: {error}") from None
    return judge(details, warn_days=action.warn_days, now=context.now.timestamp())


async def _ask(context: "RunContext", number: Number) -> TokenDetails:
    # An app may ask about any of its tokens. A run has no app secret, so the token asks about itself.
    credentials = Credentials(number.access_token, number.app_secret_proof)
    async with context.graph() as client:
        return await client.debug_token(credentials, number.access_token)


def judge(token: TokenDetails, *, warn_days: int, now: float) -> ActionOutcome:
    """Returns the outcome that follows from Meta's answer about the token.

    `now` is in seconds since 1970. The function has no side effects.
    """
    if not token.is_valid:
        return ActionOutcome(RunResult.TOKEN_INVALID, f"the access token is not valid; {RENEW}")
    if not token.expires_at:
        return ActionOutcome(detail="the access token never expires")
    days = int((token.expires_at - now) // DAY_S)
    if days < warn_days:
        return ActionOutcome(RunResult.TOKEN_EXPIRES, f"the access token expires in {max(0, days)} days; {RENEW}")
    return ActionOutcome(detail=f"the access token expires in {days} days")


ACTION = ScheduleAction(
    model=TokenCheckAction,
    pod=PodNeeds(access_token=True),
    run=run,
    unsupported=everything_is_supported,
    sends_messages=False,
)
