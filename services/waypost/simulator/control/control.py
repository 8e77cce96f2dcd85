"""`/_sim/*`: what a test, a developer or the chat page does with the simulator."""

from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from waypost.simulator.control.attachments import attach
from waypost.simulator.control.requests import (
    ClockOrder,
    FieldOrder,
    Inbound,
    Redelivery,
    ResetOrder,
    Sender,
    StatusOrder,
)
from waypost.simulator.control.views import callbacks, sent_view, world_view
from waypost.simulator.graph.faults import Fault
from waypost.simulator.graph.sends import BSUID, dialled
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.config import SimulatorConfig
from waypost.simulator.world.deliveries import value_update
from waypost.simulator.world.ledger import Sent, wamid
from waypost.simulator.world.refusal import Refusal
from waypost.simulator.world.statuses import status_update
from waypost.simulator.world.world import Number, User, WorldSeed, only_digits

WAIT_S = 5.0


def reply(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _order(request: Request, kind: type[Any]) -> Any:
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        # A page of another site in the developer's browser must not play with the simulator.
        raise HTTPException(403, "control calls come from the simulator's own page, or from no page at all")
    try:
        return msgspec.json.decode(await request.body() or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise HTTPException(422, str(error)) from None
    except RecursionError:
        raise HTTPException(422, "the body is nested too deeply") from None


class Control:
    """The control routes of one simulation."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def routes(self) -> list[Route]:
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
            ("PUT", "/behaviour", self.behave),
            ("GET", "/behaviour", self.behaviour),
        ]
        return [Route(f"/_sim{path}", endpoint, methods=[method]) for method, path, endpoint in table]

    async def put_world(self, request: Request) -> Response:
        seed = await _order(request, WorldSeed)
        try:
            self._sim.world.merge(seed, self._sim.now())
        except msgspec.ValidationError as error:
            raise HTTPException(422, str(error)) from None
        return await self.get_world(request)

    async def get_world(self, _request: Request) -> Response:
        return reply(world_view(self._sim.world))

    def _number(self, name: str) -> Number:
        number = self._sim.world.number(name)
        if number is None:
            raise HTTPException(404, "no such number; GET /_sim/world lists them")
        return number

    def _user(self, order: Inbound) -> tuple[User, dict[str, Any]]:
        given = order.sender if isinstance(order.sender, Sender) else None
        if given is None:
            word = str(order.sender)
            given = Sender(user_id=word) if BSUID.fullmatch(word) else Sender(phone=word)
        phone = dialled(f"+{given.phone.strip().lstrip('+')}", "") if given.phone else None
        if phone is None and given.phone:
            raise HTTPException(422, "from must be an international phone number, with its country code")
        if phone is None and given.user_id is None:
            raise HTTPException(422, "from must be a phone number, a BSUID or {phone, user_id, name}")
        user = self._sim.world.user(phone=phone, user_id=given.user_id, name=given.name or order.name)
        profile = {"name": user.name} | ({"username": given.username} if given.username else {})
        contact: dict[str, Any] = {"profile": profile}
        if phone is not None:
            contact["wa_id"] = phone
        contact["user_id"] = user.user_id
        return user, contact

    async def inbound(self, request: Request) -> Response:
        """Deliver a user's message as Meta would; tells its wamid and what the callbacks answered."""
        sim = self._sim
        order: Inbound = await _order(request, Inbound)
        if (order.text is None) == (order.message is None):
            raise HTTPException(422, "give exactly one of text and message")
        number = self._number(order.number)
        user, contact = self._user(order)
        message: dict[str, Any] = {}
        if "wa_id" in contact:
            message["from"] = contact["wa_id"]
        message["from_user_id"] = user.user_id
        message["id"] = wamid(user.phone or user.user_id, outgoing=False)
        message["timestamp"] = str(int(sim.now()))
        if order.context is not None:
            message["context"] = {"from": number.digits, "id": order.context}
        message |= order.message or {"type": "text", "text": {"body": order.text}}
        attach(sim, number, message, f"{request.url.scheme}://{request.url.netloc}")
        received, ticket = sim.inbound(number, user, message, contact=contact, times=max(1, order.times))
        if order.wait and ticket.expected:
            await ticket.wait(WAIT_S)
        return reply(
            {
                "wamid": received.wamid,
                "user_id": user.user_id,
                "wa_id": user.phone,
                "deliveries": ticket.expected,
                "accepted": sum(1 for attempt in ticket.outcomes if attempt.status == 200),
                "attempts": ticket.outcomes,
                "hint": None if ticket.expected else "no app is subscribed to this number's account and to messages",
            }
        )

    async def sent(self, request: Request) -> Response:
        """Accepted sends in order. Query: `to`, `number`, `type`, `since` (a `seq`), `limit` (the last so many)."""
        query = request.query_params
        found = list(self._sim.ledger.sent.values())
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
        return reply([sent_view(sent) for sent in found])

    async def subscriptions(self, _request: Request) -> Response:
        """Every callback in force: of apps, of accounts and of numbers. Verify tokens are not shown."""
        return reply(callbacks(self._sim.world))

    async def deliveries(self, request: Request) -> Response:
        """Attempts in order. Query: `status` (a number, or `none`), `refused=1` (all but 200), `limit`, `body=1`."""
        query = request.query_params
        found = list(self._sim.courier.attempts)
        if "status" in query:
            found = [a for a in found if str(a.status or "none") == query["status"]]
        if query.get("refused") == "1":
            found = [a for a in found if a.status != 200]
        if "limit" in query:
            found = found[-max(1, _integer(query["limit"])) :]
        if query.get("body") == "1":
            bodies = {attempt.id: content.decode("utf-8", "replace") for attempt, content in self._sim.courier.bodies}
            return reply([msgspec.structs.asdict(attempt) | {"body": bodies.get(attempt.id)} for attempt in found])
        return reply(found)

    async def arm(self, request: Request) -> Response:
        fault: Fault = await _order(request, Fault)
        try:
            self._sim.faults.arm(fault)
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        return reply({"armed": len(self._sim.faults.armed)})

    async def faults(self, _request: Request) -> Response:
        return reply(self._sim.faults.armed)

    async def disarm(self, _request: Request) -> Response:
        self._sim.faults.armed.clear()
        return reply({"armed": 0})

    async def reset(self, request: Request) -> Response:
        order: ResetOrder = await _order(request, ResetOrder)
        self._sim.reset(world=order.world)
        return reply({"success": True})

    async def status(self, request: Request) -> Response:
        """Emit a chosen status, also one for a message that was never accepted here."""
        sim = self._sim
        order: StatusOrder = await _order(request, StatusOrder)
        sent = sim.ledger.sent.get(order.wamid) or self._unseen(order)
        error = Refusal(order.code or 131000, order.details) if order.code or order.status == "failed" else None
        at = sim.now() if order.timestamp is None else order.timestamp
        update = status_update(sim.world, sent, order.status, at, error)
        sim.courier.submit([update] * max(1, order.times) if update is not None else [])
        sim.ledger.version += 1
        return reply({"success": update is not None})

    def _unseen(self, order: StatusOrder) -> Sent:
        if order.number is None or order.to is None:
            raise HTTPException(404, "no such send; give number and to for one that was never accepted here")
        number = self._number(order.number)
        by_user_id = BSUID.fullmatch(order.to) is not None
        phone = None if by_user_id else only_digits(order.to)
        return Sent(
            seq=0,
            wamid=order.wamid,
            phone_number_id=number.phone_number_id,
            waba_id=number.waba_id,
            to=order.to,
            user=self._sim.world.user(phone=phone, user_id=order.to if by_user_id else None),
            by_user_id=by_user_id,
            type="text",
            body={},
            context=None,
            time=self._sim.now(),
            callback_data=order.callback_data,
            category="service",
            billable=False,
        )

    async def field(self, request: Request) -> Response:
        """Deliver any webhook field, for instance `account_update` or `user_preferences`."""
        sim = self._sim
        order: FieldOrder = await _order(request, FieldOrder)
        number = self._number(order.number) if order.number else None
        account = sim.world.accounts.get(order.account or (number.waba_id if number else ""))
        if account is None:
            raise HTTPException(404, "no such account; give account or number")
        sim.courier.submit([value_update(account, number, order.field, order.value, sim.now())])
        return reply({"success": True})

    async def redeliver(self, request: Request) -> Response:
        order: Redelivery = await _order(request, Redelivery)
        queued = self._sim.courier.repeat(order.count, times=order.times, shuffle=order.shuffle)
        return reply({"queued": queued})

    async def advance(self, request: Request) -> Response:
        order: ClockOrder = await _order(request, ClockOrder)
        self._sim.clock.offset_s += order.advance_s
        return reply({"now": self._sim.now()})

    async def behave(self, request: Request) -> Response:
        changes: dict[str, Any] = await _order(request, dict[str, Any])
        known = msgspec.structs.asdict(self._sim.config)
        try:
            self._sim.config = msgspec.convert(known | changes, SimulatorConfig)
        except msgspec.ValidationError as error:
            raise HTTPException(422, str(error)) from None
        return await self.behaviour(request)

    async def behaviour(self, _request: Request) -> Response:
        return reply(self._sim.config)


def _integer(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise HTTPException(422, "since and limit must be integers") from None
