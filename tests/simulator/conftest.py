"""Fixtures: a simulator in this process with a small world, and a real callback server on loopback."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from .meta import WORLD, CallbackServer, Driver, LoopbackServer, build_simulator


@pytest.fixture
async def callback() -> AsyncIterator[CallbackServer]:
    """Runs a callback server that serves `/hook` and all paths below it."""
    server = CallbackServer()
    routes = [Route("/{rest:path}", server.handle, methods=["GET", "POST"])]
    async with LoopbackServer(Starlette(routes=routes)) as listening:
        server.url = f"{listening.url}/hook"
        yield server


@pytest.fixture
async def simulator() -> AsyncIterator[Driver]:
    """Runs a simulator with one app, account, number and token, and without subscriptions."""
    app = build_simulator()
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://graph") as client,
    ):
        answer = await client.put("/_sim/world", json=WORLD)
        assert answer.status_code == 200, answer.text
        yield Driver(app, client)
