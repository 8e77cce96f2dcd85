"""Creates the ASGI application, which answers `GET` and `POST` on the callback URLs."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.routing import Route, Router

from waypost.clients import Network, Throttle
from waypost.webhook.adoption import Adoption
from waypost.webhook.deliveries import Deliveries
from waypost.webhook.directory import Directory
from waypost.webhook.endpoints import NUMBER_ROUTE
from waypost.webhook.handshake import Handshake
from waypost.webhook.intake import Intake


def create(
    directory: Directory,
    intake: Intake,
    *,
    adoption: Adoption | None = None,
    throttle: Throttle | None = None,
    trusted_proxies: Sequence[Network] = (),
) -> Router:
    """Returns an ASGI application that starts and stops `intake`, and keeps `directory` up to date.

    Starlette's router is used without Starlette's error middlewares. They would cost a tenth of a delivery's
    time. They are not needed, because uvicorn also answers 500 after an error.
    """
    failures = Throttle() if throttle is None else throttle

    @contextlib.asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        intake.start()
        tasks = [asyncio.create_task(directory.follow(), name="registry")]
        if adoption is not None:
            tasks.append(asyncio.create_task(adoption.follow(), name="adoption"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await intake.stop()

    deliveries = Deliveries(directory, intake, failures, trusted_proxies=trusted_proxies)
    handshake = Handshake(directory, failures, trusted_proxies)
    # `/webhooks/apps/<app id>` has the same shape, so one route serves both; `Endpoints` has a key for each.
    return Router(
        routes=[
            Route(NUMBER_ROUTE, deliveries, methods=["POST"]),
            Route(NUMBER_ROUTE, handshake.answer, methods=["GET"]),
        ],
        redirect_slashes=False,
        lifespan=lifespan,
    )
