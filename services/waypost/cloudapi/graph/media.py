"""Calls about media at Meta: upload, look up, download, delete.

Source: Meta's "Media" (2026-04-17). Meta keeps an upload for 30 days, and the upload belongs to its number.
The address of a media object is valid for 5 minutes, so look it up right before each download.
"""

from collections.abc import Callable

import msgspec

from waypost.cloudapi.graph import responses
from waypost.cloudapi.graph.calls import Credentials, File, GraphCalls
from waypost.cloudapi.graph.errors import GraphRefused

MEBIBYTE = 1024 * 1024
LIMITS = {"image/webp": 500 * 1024, "image": 5 * MEBIBYTE, "audio": 16 * MEBIBYTE, "video": 16 * MEBIBYTE}
"""The most bytes that Meta accepts, by MIME type or its first part.

The longest matching name counts; all other types are limited as documents.
"""
DOCUMENT_LIMIT = 100 * MEBIBYTE
TRANSFER_TIMEOUT_S = 300.0
"""Seconds that one upload or download may take: enough for 100 MB at 3 Mbit/s."""


class MediaDetails(msgspec.Struct, frozen=True):
    """The address and the properties of a media object."""

    id: str
    url: str
    mime_type: str | None = None
    sha256: str | None = None
    file_size: int | None = None
    """The size of the file in bytes."""


class _Uploaded(msgspec.Struct):
    id: str


def limit_of(mime_type: str) -> int:
    """Returns the largest size in bytes that Meta accepts for a file of this MIME type."""
    return LIMITS.get(mime_type, LIMITS.get(mime_type.partition("/")[0], DOCUMENT_LIMIT))


class MediaCalls(GraphCalls):
    """The calls `/{phone_number_id}/media` and `/{media_id}`."""

    async def upload_media(self, credentials: Credentials, phone_number_id: str, file: File) -> str:
        """Uploads a file and returns its media id. A file that is too large is refused before any byte is sent."""
        limit = limit_of(file.mime_type)
        if len(file.content) > limit:
            raise GraphRefused.by_client(f"not sent: more than the {limit} bytes of this media type")
        reply = await self.call(
            "POST",
            "/{phone_number_id}/media",
            credentials,
            ids={"phone_number_id": phone_number_id},
            form={"messaging_product": "whatsapp", "type": file.mime_type},
            file=file,
            quotable=False,
            timeout_s=TRANSFER_TIMEOUT_S,
        )
        return responses.convert(reply, _Uploaded).id

    async def media(
        self, credentials: Credentials, media_id: str, *, phone_number_id: str | None = None
    ) -> MediaDetails:
        """Looks up a media object. With `phone_number_id`, Meta checks that the object belongs to that number."""
        query = {"phone_number_id": phone_number_id} if phone_number_id else None
        reply = await self.call("GET", "/{media_id}", credentials, ids={"media_id": media_id}, query=query)
        return responses.convert(reply, MediaDetails)

    async def download_media(
        self,
        credentials: Credentials,
        url: str,
        write: Callable[[bytes], object],
        *,
        limit_bytes: int = DOCUMENT_LIMIT,
    ) -> int:
        """Passes the bytes at `url` to `write` and returns their number.

        `url` comes from `media` or from a webhook. `GraphUnreachable` with `http_status` 404 means that the address
        has expired, or that something before Meta answered. Look it up again in that case: only a refused look-up
        shows that the media is gone. `GraphRefused` is raised for a host that is not Meta's or leads into a private
        network, and for a file of more than `limit_bytes`.
        """
        return await self.fetch(url, credentials, write, limit_bytes=limit_bytes, timeout_s=TRANSFER_TIMEOUT_S)

    async def delete_media(
        self, credentials: Credentials, media_id: str, *, phone_number_id: str | None = None
    ) -> None:
        """Deletes a media object."""
        query = {"phone_number_id": phone_number_id} if phone_number_id else None
        responses.require_success(
            await self.call("DELETE", "/{media_id}", credentials, ids={"media_id": media_id}, query=query)
        )
