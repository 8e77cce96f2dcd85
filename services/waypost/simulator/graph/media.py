"""Calls on media: upload, look-up, download and delete.

A download URL is valid for five minutes, and a download needs the token.
"""

import hashlib
import hmac
import secrets
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from waypost.simulator.graph.call import Call, Caller, authenticate, read_call
from waypost.simulator.graph.outgoing import check_product
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.config import DAY_S
from waypost.simulator.world.refusal import Refusal, no_such_object
from waypost.simulator.world.values import Scope
from waypost.simulator.world.world import Media, Number, new_id

UPLOADED_LIFETIME_S = 30 * DAY_S
RECEIVED_LIFETIME_S = 7 * DAY_S
URL_LIFETIME_S = 300
MB = 1024 * 1024
SIZES: dict[str, int] = {
    **dict.fromkeys(("image/jpeg", "image/png"), 5 * MB),
    "image/webp": 500 * 1024,
    **dict.fromkeys(("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"), 16 * MB),
    **dict.fromkeys(("video/mp4", "video/3gpp"), 16 * MB),
    **dict.fromkeys(
        (
            "text/plain",
            "application/pdf",
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ),
        100 * MB,
    ),
}
"""MIME types that Meta accepts, and the largest size of each in bytes."""

_url_key = secrets.token_bytes(32)


async def upload(sim: Simulation, call: Call, caller: Caller, number: Number) -> dict[str, Any]:
    """Stores an uploaded file for this number, for 30 days."""
    caller.require_scope(Scope.MESSAGING)
    caller.require_account(number.waba_id)
    check_product(call.parameters)
    file = call.files.get("file")
    if file is None:
        raise Refusal(100, message="(#100) The parameter file is required.")
    mime_type = (call.text("type") or file.mime_type).partition(";")[0].strip().lower()
    limit = SIZES.get(mime_type)
    if limit is None:
        raise Refusal(
            100, message=f"(#100) Param file must be a file with one of the following types: {', '.join(SIZES)}"
        )
    if not file.content:
        raise Refusal(131053, "The file is empty.")
    if len(file.content) > limit:
        raise Refusal(131053, f"The file is larger than {limit} bytes, the most for {mime_type}.")
    media = store_media(sim, number, mime_type, file.content, for_s=UPLOADED_LIFETIME_S, filename=file.filename or None)
    return {"id": media.id}


def store_media(
    sim: Simulation, number: Number, mime_type: str, content: bytes, *, for_s: float, filename: str | None = None
) -> Media:
    """Stores a file under a new id for the given number of seconds."""
    media = Media(
        id=new_id(),
        phone_number_id=number.phone_number_id,
        mime_type=mime_type,
        sha256=hashlib.sha256(content).hexdigest(),
        content=content,
        expires_at=sim.now() + for_s,
        filename=filename,
    )
    sim.world.add_media(media)
    return media


def _allowed(sim: Simulation, caller: Caller, media: Media, call: Call) -> None:
    caller.require_scope(Scope.MESSAGING)
    number = sim.world.numbers.get(media.phone_number_id)
    asked = call.text("phone_number_id")
    if number is None or asked not in (None, media.phone_number_id) or media.expires_at <= sim.now():
        raise no_such_object(media.id, call.method)
    caller.require_account(number.waba_id)


async def node(sim: Simulation, call: Call, caller: Caller, media: Media) -> dict[str, Any]:
    """Returns the properties of the file and a download URL that is valid for five minutes."""
    _allowed(sim, caller, media, call)
    return {
        "url": download_url(sim, call.base_url, media),
        "mime_type": media.mime_type,
        "sha256": media.sha256,
        "file_size": len(media.content),
        "id": media.id,
        "messaging_product": "whatsapp",
    }


async def delete(sim: Simulation, call: Call, caller: Caller, media: Media) -> dict[str, Any]:
    """Deletes the file."""
    _allowed(sim, caller, media, call)
    sim.world.remove_media(media.id)
    return {"success": True}


def download_url(sim: Simulation, base_url: str, media: Media) -> str:
    """Returns a URL that works for five minutes, and only with a token."""
    until = int(sim.now()) + URL_LIFETIME_S
    return f"{base_url}/whatsapp_business/attachments/?mid={media.id}&ext={until}&hash={_url_hash(media.id, until)}"


def _url_hash(media_id: str, until: int) -> str:
    return hmac.new(_url_key, f"{media_id} {until}".encode(), hashlib.sha256).hexdigest()[:32]


async def download(sim: Simulation, request: Request) -> Response:
    """Returns the content of the file. Answers 404 if the URL is expired or forged. Raises `Refusal`."""
    call = await read_call(request)
    caller = authenticate(sim.world, call, sim.now())
    until = call.query.get("ext", "0")
    media = sim.world.media.get(call.query.get("mid", ""))
    is_valid = (
        media is not None
        and until.isdigit()
        and int(until) > sim.now()
        and hmac.compare_digest(_url_hash(media.id, int(until)).encode(), call.query.get("hash", "").encode())
    )
    if media is None or not is_valid:
        return Response(status_code=404)
    _allowed(sim, caller, media, call)
    return Response(media.content, media_type=media.mime_type)
