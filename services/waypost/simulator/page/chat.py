"""Serves the chat page and its data: the conversations of a number, and the messages of a conversation."""

from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from waypost.simulator.control.control import json_response
from waypost.simulator.control.views import readable_text, sent_view
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.history import Received, Sent
from waypost.simulator.world.values import SendStatus
from waypost.simulator.world.world import Number, User, only_digits

FOLDER = Path(__file__).parent
PAGES = {
    "/": ("chat.html", "text/html"),
    "/_sim/chat.css": ("chat.css", "text/css"),
    "/_sim/chat.js": ("chat.js", "text/javascript"),
}
SECURITY = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="6" fill="#0b7a5c"/>'
    '<path d="M12 4v16M12 6h5l2 2-2 2h-5M12 12H7l-2 2 2 2h5" fill="none" stroke="#fff" stroke-width="1.8"/></svg>'
)
INLINE = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
SHOWN = 200


class Chat:
    """The routes of the page."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim

    def routes(self) -> list[Route]:
        """Returns the routes of the chat page."""
        files = [Route(path, self.file, methods=["GET"]) for path in PAGES]
        return [
            *files,
            Route("/_sim/icon.svg", self.icon, methods=["GET"]),
            Route("/_sim/conversations", self.conversations, methods=["GET"]),
            Route("/_sim/conversation", self.conversation, methods=["GET"]),
            Route("/_sim/media/{media_id}", self.media, methods=["GET"]),
        ]

    async def file(self, request: Request) -> Response:
        """Returns a file of the page."""
        name, kind = PAGES[request.url.path]
        return Response((FOLDER / name).read_bytes(), headers=SECURITY, media_type=kind)

    async def icon(self, _request: Request) -> Response:
        """Returns the icon of the page."""
        return Response(ICON, headers=SECURITY, media_type="image/svg+xml")

    def _version(self) -> str:
        return f"{self._sim.history.version}.{self._sim.delivery_sender.accepted}"

    def _number(self, request: Request) -> Number:
        number = self._sim.world.number(request.query_params.get("number", ""))
        if number is None:
            raise HTTPException(404, "no such number; GET /_sim/world lists them")
        return number

    async def conversations(self, request: Request) -> Response:
        """Returns the users who exchanged messages with the number. The user with the latest message comes first."""
        number = self._number(request)
        version = self._version()
        if request.query_params.get("version") == version:
            return json_response({"version": version, "unchanged": True})
        latest: dict[str, dict[str, Any]] = {}
        for item in _messages_of(self._sim, number):
            text = _text(item)
            latest.pop(item.user.user_id, None)
            latest[item.user.user_id] = {
                "phone": item.user.phone,
                "user_id": item.user.user_id,
                "name": item.user.name,
                "text": text[:120],
                "time": item.time,
            }
        return json_response({"version": version, "conversations": list(latest.values())[::-1][:SHOWN]})

    async def conversation(self, request: Request) -> Response:
        """Returns the last messages between the number and the user `from` (a phone number or a BSUID)."""
        number = self._number(request)
        version = self._version()
        if request.query_params.get("version") == version:
            return json_response({"version": version, "unchanged": True})
        name = request.query_params.get("from", "")
        user = self._sim.world.users.get(name) or self._sim.world.users.get(only_digits(name))
        ledger = self._sim.history
        if user is None:
            return json_response({"version": version, "messages": [], "typing": False})
        found = [item for item in _messages_of(self._sim, number) if item.user is user][-SHOWN:]
        now = self._sim.now()
        last_reply = max((item.time for item in found if isinstance(item, Sent)), default=0.0)
        return json_response(
            {
                "version": version,
                "user": _user(user),
                "messages": [_shown(item) for item in found],
                "typing": any(isinstance(i, Received) and i.typing_until > now and i.time > last_reply for i in found),
                "window_closes_at": ledger.last_inbound.get((number.phone_number_id, user.user_id), 0.0)
                + self._sim.config.window_s,
            }
        )

    async def media(self, request: Request) -> Response:
        """Returns a stored file. The page shows only pictures. The browser downloads all other files."""
        media = self._sim.world.media.get(request.path_params["media_id"])
        if media is None:
            raise HTTPException(404, "no such file")
        headers = SECURITY | {"content-security-policy": "default-src 'none'; sandbox"}
        if media.mime_type in INLINE:
            return Response(media.content, headers=headers, media_type=media.mime_type)
        headers["content-disposition"] = "attachment"
        return Response(media.content, headers=headers, media_type="application/octet-stream")


def _messages_of(sim: Simulation, number: Number) -> list[Sent | Received]:
    ledger = sim.history
    items: list[Sent | Received] = [*ledger.sent.values(), *ledger.received.values()]
    of_number = [item for item in items if item.phone_number_id == number.phone_number_id]
    return sorted(of_number, key=lambda item: item.seq)


def _user(user: User) -> dict[str, Any]:
    return {"phone": user.phone, "user_id": user.user_id, "name": user.name}


def _text(item: Sent | Received) -> str:
    if isinstance(item, Sent):
        return str(sent_view(item)["text"])
    kind = str(item.message.get("type"))
    content = item.message.get(kind)
    if kind == "interactive" and isinstance(content, dict):
        answer = content.get(str(content.get("type")))
        return str(answer.get("title", "")) if isinstance(answer, dict) else ""
    if kind == "button" and isinstance(content, dict):
        return str(content.get("text", ""))
    return readable_text(kind, content)


def _shown(item: Sent | Received) -> dict[str, Any]:
    if isinstance(item, Sent):
        return sent_view(item) | {"from_user": False}
    kind = str(item.message.get("type"))
    context = item.message.get("context")
    status = SendStatus.READ if item.read else SendStatus.DELIVERED if item.receipt.accepted else SendStatus.SENT
    return {
        "from_user": True,
        "seq": item.seq,
        "wamid": item.wamid,
        "type": kind,
        "body": item.message.get(kind),
        "text": _text(item),
        "context": context.get("id") if isinstance(context, dict) else None,
        "time": item.time,
        "status": status,
    }
