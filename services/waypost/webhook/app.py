"""The Starlette application: two methods on one path."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from starlette.applications import Starlette
from starlette.routing import Route

from waypost.webhook.deliveries import Deliveries
from waypost.webhook.directory import Directory
from waypost.webhook.endpoints import NUMBER_ROUTE
from waypost.webhook.handshake import Handshake
from waypost.webhook.intake import Intake
from waypost.webhook.throttle import Network, Throttle


def create(
    directory: Directory,
    intake: Intake,
    *,
    throttle: Throttle | None = None,
    trusted_proxies: Sequence[Network] = (),
) -> Starlette:
    """An application that owns `intake` while its lifespan lasts and keeps `directory` up to date."""
    failures = Throttle() if throttle is None else throttle

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        intake.start()
        following = asyncio.create_task(directory.follow(), name="registry")
        try:
            yield
        finally:
            following.cancel()
            await intake.stop()

    # `/webhooks/apps/<app id>` has the same shape; `endpoints` knows which one it is.
    return Starlette(
        routes=[
            Route(NUMBER_ROUTE, Deliveries(directory, intake, failures, trusted_proxies), methods=["POST"]),
            Route(NUMBER_ROUTE, Handshake(directory, failures, trusted_proxies).answer, methods=["GET"]),
        ],
        lifespan=lifespan,
    )
