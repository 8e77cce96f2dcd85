"""Answers `/_sim/*`, with which tests, developers and the chat page control the simulator."""

from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from waypost.simulator.control.attachments import attach
from waypost.simulator.control.requests import (
    ClockRequest,
    FieldRequest,
    InboundRequest,
    RedeliveryRequest,
    ResetRequest,
    Sender,
    StatusRequest,
)
from waypost.simulator.control.views import callbacks, sent_view, world_view
from waypost.simulator.graph.faults import Fault
from waypost.simulator.graph.sends import BSUID, normalize_phone
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.config import SimulatorConfig
from waypost.simulator.world.deliveries import value_update
from waypost.simulator.world.history import Sent, wamid
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.statuses import status_update
from waypost.simulator.world.values import SendStatus
from waypost.simulator.world.world import Number, User, WorldSeed, only_digits

INBOUND_WAIT_S = 5.0
"""The most seconds that `POST /_sim/inbound` waits for the first attempts at delivery."""


def json_response(content: Any, status: int = 200) -> Response:
    """Returns an HTTP response with a JSON body that msgspec encodes."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _decoded(request: Request, kind: type[Any]) -> Any:
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        # A page of another site in the developer's browser must not control the simulator.
        raise HTTPException(403, "control calls come from the simulator's own page, or from no page at all")
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise HTTPException(422, str(error)) from None
    except RecursionError:
        raise HTTPException(422, "the body is nested too deeply") from None


class Control:
    """The control routes of one simulation."""

    def __init__(self, sim: Simulation, inbound_wait_s: float) -> None:
        self._sim = sim
        self._inbound_wait_s = inbound_wait_s

    def routes(self) -> list[Route]:
        """Returns the routes below `/_sim`."""
        table: list[tuple[str, str, Any]] = [
            ("PUT", "/world", self.put_world),
            ("GET", "/world", self.get_world),
            ("POST", "/inbound", self.inbound),
            ("GET", "/sent", self.sent),
            ("GET", "/subscriptions", self.subscriptions),
            ("GET", "/deliveries", self.deliveries),
            ("POST", "/faults", self.arm),
            ("GET", "/faults", self.faults),
            ("DELETE", "/faults", self.disarm),
            ("POST", "/reset", self.reset),
            ("POST", "/status", self.status),
            ("POST", "/field", self.field),
            ("POST", "/redeliver", self.redeliver),
            ("POST", "/clock", self.advance),
            ("PUT", "/behaviour", self.change_behaviour),
            ("GET", "/behaviour", self.behaviour),
        ]
        return [Route(f"/_sim{path}", endpoint, methods=[method]) for method, path, endpoint in table]

    async def put_world(self, request: Request) -> Response:
        """Adds or changes the given objects. If any object has a mistake, no object is changed."""
        seed = await _decoded(request, WorldSeed)
        try:
            self._sim.world.merge(seed, self._sim.now())
        except msgspec.ValidationError as error:
            raise HTTPException(422, str(error)) from None
        return await self.get_world(request)

    async def get_world(self, _request: Request) -> Response:
        """Shows all objects of the simulated Meta, without secrets."""
        return json_response(world_view(self._sim.world))

    def _number(self, name: str) -> Number:
        number = self._sim.world.number(name)
        if number is None:
            raise HTTPException(404, "no such number; GET /_sim/world lists them")
        return number

    def _user(self, body: InboundRequest) -> tuple[User, dict[str, Any]]:
        given = body.sender if isinstance(body.sender, Sender) else None
        if given is None:
            name = str(body.sender)
            given = Sender(user_id=name) if BSUID.fullmatch(name) else Sender(phone=name)
        phone = normalize_phone(f"+{given.phone.strip().lstrip('+')}", "") if given.phone else None
        if phone is None and given.phone:
            raise HTTPException(422, "from must be an international phone number, with its country code")
        if phone is None and given.user_id is None:
            raise HTTPException(422, "from must be a phone number, a BSUID or {phone, user_id, name}")
        user = self._sim.world.user(phone=phone, user_id=given.user_id, name=given.name or body.name)
        profile = {"name": user.name} | ({"username": given.username} if given.username else {})
        contact: dict[str, Any] = {"profile": profile}
        if phone is not None:
            contact["wa_id"] = phone
        contact["user_id"] = user.user_id
        return user, contact

    async def inbound(self, request: Request) -> Response:
        """Delivers a user's message as Meta does. Returns the message's wamid and the answers of the callbacks."""
        sim = self._sim
        body: InboundRequest = await _decoded(request, InboundRequest)
        if (body.text is None) == (body.message is None):
            raise HTTPException(422, "give exactly one of text and message")
        number = self._number(body.number)
        user, contact = self._user(body)
        message: dict[str, Any] = {}
        if "wa_id" in contact:
            message["from"] = contact["wa_id"]
        message["from_user_id"] = user.user_id
        message["id"] = wamid(user.phone or user.user_id, outgoing=False)
        message["timestamp"] = str(int(sim.now()))
        if body.context is not None:
            message["context"] = {"from": number.digits, "id": body.context}
        message |= body.message or {"type": "text", "text": {"body": body.text}}
        attach(sim, number, message, f"{request.url.scheme}://{request.url.netloc}")
        received, receipt = sim.inbound(number, user, message, contact=contact, times=max(1, body.times))
        if body.wait and receipt.expected:
            await receipt.wait(self._inbound_wait_s)
        return json_response(
            {
                "wamid": received.wamid,
                "user_id": user.user_id,
                "wa_id": user.phone,
                "deliveries": receipt.expected,
                "accepted": sum(1 for attempt in receipt.first_attempts if attempt.status == 200),
                "attempts": receipt.first_attempts,
                "hint": None if receipt.expected else "no app is subscribed to this number's account and to messages",
            }
        )

    async def sent(self, request: Request) -> Response:
        """Returns accepted sends in order.

        The query can have `to`, `number`, `type`, `since` (a `seq`) and `limit`. `limit` selects only the last sends.
        """
        query = request.query_params
        found = list(self._sim.history.sent.values())
        if "number" in query:
            wanted = self._sim.world.number(query["number"])
            found = [sent for sent in found if wanted and sent.phone_number_id == wanted.phone_number_id]
        if "to" in query:
            name = query["to"].strip()
            digits = only_digits(name)
            found = [s for s in found if name == s.user.user_id or (digits and digits == s.user.phone)]
        if "type" in query:
            found = [sent for sent in found if sent.type == query["type"]]
        if "since" in query:
            found = [sent for sent in found if sent.seq > _integer(query["since"])]
        if "limit" in query:
            found = found[-max(1, _integer(query["limit"])) :]
        return json_response([sent_view(sent) for sent in found])

    async def subscriptions(self, _request: Request) -> Response:
        """Returns the callbacks of apps, accounts and numbers, without verify tokens."""
        return json_response(callbacks(self._sim.world))

    async def deliveries(self, request: Request) -> Response:
        """Returns attempts at delivery in order.

        The query can have `status`, `refused=1`, `limit` and `body=1`. `status=none` selects attempts without an
        answer. `refused=1` selects all attempts except those that were answered with 200. `body=1` adds the bodies.
        """
        query = request.query_params
        found = list(self._sim.delivery_sender.attempts)
        if "status" in query:
            found = [a for a in found if str(a.status or "none") == query["status"]]
        if query.get("refused") == "1":
            found = [a for a in found if a.status != 200]
        if "limit" in query:
            found = found[-max(1, _integer(query["limit"])) :]
        if query.get("body") == "1":
            bodies = {
                attempt.id: content.decode("utf-8", "replace") for attempt, content in self._sim.delivery_sender.bodies
            }
            return json_response(
                [msgspec.structs.asdict(attempt) | {"body": bodies.get(attempt.id)} for attempt in found]
            )
        return json_response(found)

    async def arm(self, request: Request) -> Response:
        """Arms the fault in the request's body."""
        fault: Fault = await _decoded(request, Fault)
        try:
            self._sim.faults.arm(fault)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        return json_response({"armed": len(self._sim.faults.armed)})

    async def faults(self, _request: Request) -> Response:
        """Returns the armed faults."""
        return json_response(self._sim.faults.armed)

    async def disarm(self, _request: Request) -> Response:
        """Disarms all faults."""
        self._sim.faults.armed.clear()
        return json_response({"armed": 0})

    async def reset(self, request: Request) -> Response:
        """Forgets all traffic and, if the request's body asks for it, all objects too."""
        body: ResetRequest = await _decoded(request, ResetRequest)
        self._sim.reset(world=body.world)
        return json_response({"success": True})

    async def status(self, request: Request) -> Response:
        """Delivers the status in the request's body. It may be for a message that the simulator never accepted."""
        sim = self._sim
        body: StatusRequest = await _decoded(request, StatusRequest)
        sent = sim.history.sent.get(body.wamid) or self._unknown_send(body)
        error = Refusal(body.code or 131000, body.details) if body.code or body.status == SendStatus.FAILED else None
        at = sim.now() if body.timestamp is None else body.timestamp
        update = status_update(sim.world, sent, body.status, at, error)
        sim.delivery_sender.submit([update] * max(1, body.times) if update is not None else [])
        sim.history.version += 1
        return json_response({"success": update is not None})

    def _unknown_send(self, body: StatusRequest) -> Sent:
        if body.number is None or body.to is None:
            raise HTTPException(404, "no such send; give number and to for one that was never accepted here")
        number = self._number(body.number)
        by_user_id = BSUID.fullmatch(body.to) is not None
        phone = None if by_user_id else only_digits(body.to)
        return Sent(
            seq=0,
            wamid=body.wamid,
            phone_number_id=number.phone_number_id,
            waba_id=number.waba_id,
            to=body.to,
            user=self._sim.world.user(phone=phone, user_id=body.to if by_user_id else None),
            by_user_id=by_user_id,
            type="text",
            body={},
            context=None,
            time=self._sim.now(),
            callback_data=body.callback_data,
            category="service",
            billable=False,
        )

    async def field(self, request: Request) -> Response:
        """Delivers any webhook field, for instance `account_update` or `user_preferences`."""
        sim = self._sim
        body: FieldRequest = await _decoded(request, FieldRequest)
        number = self._number(body.number) if body.number else None
        account = sim.world.accounts.get(body.account or (number.waba_id if number else ""))
        if account is None:
            raise HTTPException(404, "no such account; give account or number")
        sim.delivery_sender.submit([value_update(account, number, body.field, body.value, sim.now())])
        return json_response({"success": True})

    async def redeliver(self, request: Request) -> Response:
        """Sends the bodies of the last deliveries again."""
        body: RedeliveryRequest = await _decoded(request, RedeliveryRequest)
        queued = self._sim.delivery_sender.resend(body.count, times=body.times, shuffle=body.shuffle)
        return json_response({"queued": queued})

    async def advance(self, request: Request) -> Response:
        """Moves the simulated time forward."""
        body: ClockRequest = await _decoded(request, ClockRequest)
        self._sim.clock.offset_s += body.advance_s
        return json_response({"now": self._sim.now()})

    async def change_behaviour(self, request: Request) -> Response:
        """Changes some fields of the simulator's configuration."""
        changes: dict[str, Any] = await _decoded(request, dict[str, Any])
        current = msgspec.structs.asdict(self._sim.config)
        try:
            self._sim.config = msgspec.convert(current | changes, SimulatorConfig)
        except msgspec.ValidationError as error:
            raise HTTPException(422, str(error)) from None
        return await self.behaviour(request)

    async def behaviour(self, _request: Request) -> Response:
        """Returns the simulator's configuration."""
        return json_response(self._sim.config)


def _integer(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise HTTPException(422, "since and limit must be integers") from None
