"""Builds the simulator as one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from waypost.simulator.control.control import INBOUND_WAIT_S, Control, json_response
from waypost.simulator.graph.api import GraphApi
from waypost.simulator.graph.media import download
from waypost.simulator.graph.routes import NODE_ROUTES, PATH_ROUTES
from waypost.simulator.page.chat import Chat
from waypost.simulator.simulation import Clock, Simulation
from waypost.simulator.world.config import SimulatorConfig
from waypost.simulator.world.refusal import Refusal


def build(
    config: SimulatorConfig | None = None, *, clock: Clock | None = None, inbound_wait_s: float = INBOUND_WAIT_S
) -> Starlette:
    """Returns the application. Its state is `app.state.simulation`.

    When the application's lifespan ends, deliveries and connections end too. To use the application inside a test
    process, enter `app.router.lifespan_context(app)` and call the application through `httpx.ASGITransport(app)`.
    `inbound_wait_s` limits how long `POST /_sim/inbound` waits for the first attempts at delivery.
    """
    sim = Simulation(config or SimulatorConfig(), clock or Clock())

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await sim.close()

    async def attachment(request: Request) -> Response:
        try:
            return await download(sim, request)
        except Refusal as refusal:
            return json_response(refusal.envelope(), refusal.status)

    attachments = Route("/whatsapp_business/attachments/", attachment, methods=["GET"])
    app = Starlette(
        routes=[
            *Control(sim, inbound_wait_s).routes(),
            *Chat(sim).routes(),
            attachments,
            Mount("/", app=GraphApi(sim, NODE_ROUTES, PATH_ROUTES)),
        ],
        exception_handlers={HTTPException: _plain},
        lifespan=lifespan,
    )
    app.state.simulation = sim
    return app


async def _plain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return json_response({"error": error.detail}, error.status_code)
