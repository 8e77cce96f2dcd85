"""Adds files to media messages of users, as Meta does."""

import base64
from typing import Any

from waypost.simulator.graph.media import RECEIVED_LIFETIME_S, download_url, store_media
from waypost.simulator.simulation import Simulation
from waypost.simulator.world.world import Media, Number

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SAMPLES: dict[str, tuple[str, bytes]] = {
    "image": ("image/png", PIXEL),
    "sticker": ("image/webp", b"RIFF\x1a\x00\x00\x00WEBPVP8L"),
    "video": ("video/mp4", b"\x00\x00\x00\x18ftypmp42"),
    "audio": ("audio/ogg; codecs=opus", b"OggS"),
    "document": ("application/pdf", b"%PDF-1.4\n%%EOF\n"),
}
"""Maps the type of a media message to the file that a user sends if the request gives none: its MIME type and its
bytes."""


def attach(sim: Simulation, number: Number, message: dict[str, Any], base_url: str) -> None:
    """Adds to a user's media message the members that Meta adds: `id`, `mime_type`, `sha256` and a `url`."""
    kind = str(message.get("type"))
    content = message.get(kind)
    if kind not in SAMPLES or not isinstance(content, dict) or content.get("id"):
        return
    mime_type, sample = SAMPLES[kind]
    media: Media = store_media(
        sim, number, str(content.get("mime_type") or mime_type), sample, for_s=RECEIVED_LIFETIME_S
    )
    content.update(id=media.id, mime_type=media.mime_type, sha256=media.sha256, url=download_url(sim, base_url, media))
