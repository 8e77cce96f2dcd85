"""The simulator as one ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from waypost.simulator.control.control import Control, reply
from waypost.simulator.graph.api import GraphApi
from waypost.simulator.graph.edges import EDGES, ROOTS
from waypost.simulator.graph.media import download
from waypost.simulator.page.chat import Chat
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.config import SimulatorConfig
from waypost.simulator.world.refusal import Refusal


def build(config: SimulatorConfig | None = None) -> Starlette:
    """The application. Its state is `app.state.simulation`; the lifespan ends deliveries and connections.

    In process, use it as `async with app.router.lifespan_context(app)`, with `httpx.ASGITransport(app)`.
    """
    sim = Simulation(config or SimulatorConfig())

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
            return reply(refusal.envelope(), refusal.status)

    attachments = Route("/whatsapp_business/attachments/", attachment, methods=["GET"])
    app = Starlette(
        routes=[*Control(sim).routes(), *Chat(sim).routes(), attachments, Mount("/", app=GraphApi(sim, EDGES, ROOTS))],
        exception_handlers={HTTPException: _plain},
        lifespan=lifespan,
    )
    app.state.simulation = sim
    return app


async def _plain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return reply({"error": error.detail}, error.status_code)
