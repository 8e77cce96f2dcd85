"""Handles every Graph call: checks version and token, applies faults, finds the handler, and writes the reply."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from waypost.simulator.graph.call import Call, Caller, authenticate, read_call
from waypost.simulator.graph.faults import Fault
from waypost.simulator.graph.sends import post_messages
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.refusal import Refusal, no_such_object
from waypost.simulator.world.world import Account, App, Media, Number, Template

Node = App | Account | Number | Media | tuple[Account, Template]
NodeHandler = Callable[[Simulation, Call, Caller, Any], Awaitable[dict[str, Any]]]
"""A function that answers a call on a node, an object with an id. Raises `Refusal`."""
PathHandler = Callable[[Simulation, Call], Awaitable[dict[str, Any]]]
"""A function that answers a call on a path that names no node. It checks the token itself. Raises `Refusal`."""

CUT = "waypost.cut"
"""The name of an ASGI extension of `simulator.main` that closes the client's connection without a reply."""


class GraphApi:
    """ASGI application for every path that is not a page or control route of the simulator."""

    def __init__(
        self,
        sim: Simulation,
        node_routes: dict[tuple[type[Any], str, str], NodeHandler],
        path_routes: dict[tuple[str, str], PathHandler],
    ) -> None:
        self._sim = sim
        self._node_routes = node_routes
        self._path_routes = path_routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answer(request)
        except Refusal as refusal:
            response = _json(refusal.envelope(), refusal.status, refusal.headers)
        except ConnectionCut:
            await _cut(scope, receive)
            return
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        sim = self._sim
        call = await read_call(request)
        # Faults come before all checks: a broken proxy in front of Meta checks nothing either.
        fault = sim.faults.take(call, self._caller(call)) if sim.faults.armed else None
        if fault is not None:
            if fault.delay_s:
                await asyncio.sleep(fault.delay_s)
            if fault.reset:
                raise ConnectionCut
            if fault.is_refusal:
                return _fault_response(fault)
        self._check_version(call)
        result = await self._serve(call, fault)
        if fault is not None and fault.reset_after_accept:
            raise ConnectionCut
        return _json(result, 200, call.headers)

    def _caller(self, call: Call) -> str | None:
        """Returns the id of the token's app, whether or not the token is valid."""
        token = self._sim.world.tokens.get(call.token or "")
        return token.app_id if token else (call.token or "").partition("|")[0]

    def _check_version(self, call: Call) -> None:
        if not call.version:
            call.version = self._sim.config.versions[-1]
        if call.version in self._sim.config.versions:
            return
        oldest = _version_key(self._sim.config.versions[0])
        if _version_key(call.version) < oldest:
            raise Refusal(2635, message=f"(#2635) You are calling a deprecated version of the API ({call.version}).")
        raise Refusal(2500, message=f"Unknown path components: /{call.version}{call.path}")

    async def _serve(self, call: Call, fault: Fault | None) -> dict[str, Any]:
        sim = self._sim
        root = self._path_routes.get((call.path, call.method))
        if root is not None:
            return await root(sim, call)
        caller = authenticate(sim.world, call, sim.now())
        if not call.segments or len(call.segments) > 2:
            raise Refusal(2500, message=f"Unknown path components: {call.path}")
        name, edge = call.segments[0], call.segments[1] if len(call.segments) == 2 else ""
        number = sim.world.numbers.get(name)
        if number is not None and edge == "messages" and call.method == "POST":
            return await post_messages(sim, call, caller, number, fault)
        node = number or self._node(name)
        if node is None:
            raise no_such_object(name, call.method)
        handler = self._node_routes.get((type(node), edge, call.method))
        if handler is None:
            if edge and not any((type(node), edge) == key[:2] for key in self._node_routes):
                raise Refusal(2500, message=f"Unknown path components: /{edge}")
            raise no_such_object(name, call.method)
        self._count_management_call(call, caller, node)
        return await handler(sim, call, caller, node)

    def _count_management_call(self, call: Call, caller: Caller, node: Node) -> None:
        """Counts a management call per app and account and reports the usage.

        Raises `Refusal` 80007 if the calls exceed the limit.
        """
        budget = self._sim.config.management_calls_per_hour
        account = node[0] if isinstance(node, tuple) else node
        if budget is None or not isinstance(account, Account):
            return
        key = (caller.app.app_id, account.waba_id)
        wait_s = self._sim.hourly_limit.take(key, self._sim.now(), budget)
        usage = {
            "type": "whatsapp_business_management",
            "call_count": min(100, 100 * self._sim.hourly_limit.used(key) // budget),
            "total_cputime": 0,
            "total_time": 0,
            "estimated_time_to_regain_access": math.ceil(wait_s / 60),
        }
        call.headers["X-Business-Use-Case-Usage"] = msgspec.json.encode({account.waba_id: [usage]}).decode()
        if wait_s:
            raise Refusal(80007, headers=call.headers)

    def _node(self, name: str) -> Node | None:
        world = self._sim.world
        return (
            world.numbers.get(name)
            or world.accounts.get(name)
            or world.apps.get(name)
            or world.templates.get(name)
            or world.media.get(name)
        )


class ConnectionCut(Exception):
    """Raised inside this module when a fault demands that the client gets no reply at all."""


async def _cut(scope: Scope, receive: Receive) -> None:
    cut = scope.get("extensions", {}).get(CUT)
    if cut is None:
        # In process there is no connection to close: raise what the client sees after a reset.
        raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
    cut()
    while (await receive())["type"] != "http.disconnect":
        pass


def _fault_response(fault: Fault) -> Response:
    if fault.body is not None:
        return Response(fault.body, fault.status or 200, fault.headers, "application/json")
    refusal = fault.refusal()
    return _json(refusal.envelope(), refusal.status, refusal.headers)


def _json(content: Any, status: int, headers: dict[str, str]) -> Response:
    return Response(msgspec.json.encode(content), status, headers or None, "application/json")


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version[1:].split("."))
