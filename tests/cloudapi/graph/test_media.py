"""Media can be uploaded, looked up, downloaded and deleted. Downloads come from Meta's hosts only."""

import httpx
import pytest

from waypost.cloudapi.graph import media as limits
from waypost.cloudapi.graph.client import File, GraphClient
from waypost.cloudapi.graph.errors import GraphOutcomeUnknown, GraphRefused, GraphUnreachable

from .conftest import CREDENTIALS, NUMBER, Meta

pytestmark = pytest.mark.anyio

URL = "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&hash=abc"


async def download(graph: GraphClient, url: str, **options: int) -> bytes:
    """Downloads media and returns the bytes that were written."""
    content = bytearray()
    length = await graph.download_media(CREDENTIALS, url, content.extend, **options)
    assert length == len(content)
    return bytes(content)


async def test_an_upload_is_a_form_with_the_file(graph: GraphClient, meta: Meta) -> None:
    """An upload is a form with three parts, as on Meta's page. The response is the media id."""
    meta.replies(200, {"id": "1234567890"})
    media_id = await graph.upload_media(CREDENTIALS, NUMBER, File("a.png", b"\x89PNG bytes", "image/png"))
    form = meta.last.content
    assert (media_id, meta.last.url.path) == ("1234567890", f"/v26.0/{NUMBER}/media")
    assert all(
        part in form
        for part in (b'name="messaging_product"\r\n\r\nwhatsapp', b'name="type"\r\n\r\nimage/png', b"\x89PNG bytes")
    )


@pytest.mark.parametrize(
    ("mime_type", "limit"),
    [
        ("image/jpeg", 5 * 1024 * 1024),
        ("image/webp", 500 * 1024),
        ("audio/ogg", 16 * 1024 * 1024),
        ("video/mp4", 16 * 1024 * 1024),
        ("application/pdf", 100 * 1024 * 1024),
        ("text/plain", 100 * 1024 * 1024),
    ],
)
def test_each_type_of_media_has_its_limit(mime_type: str, limit: int) -> None:
    """Each type of media has the limit of Meta's page. Other types count as documents."""
    assert limits.limit_of(mime_type) == limit


async def test_too_large_a_file_is_not_sent(graph: GraphClient, meta: Meta) -> None:
    """A file that is too large is not sent. Meta would refuse it only after the whole upload."""
    with pytest.raises(GraphRefused, match="not sent"):
        await graph.upload_media(CREDENTIALS, NUMBER, File("a", bytes(500 * 1024 + 1), "image/webp"))
    assert meta.requests == []


async def test_a_media_object_is_looked_up(graph: GraphClient, meta: Meta) -> None:
    """A media object is looked up with its address and size. Meta writes the size as a number or as a text."""
    meta.replies(200, {"id": "9", "url": URL, "mime_type": "image/png", "sha256": "abc", "file_size": "303"})
    found = await graph.media(CREDENTIALS, "9", phone_number_id=NUMBER)
    assert (found.url, found.file_size, meta.last.url.params["phone_number_id"]) == (URL, 303, NUMBER)


async def test_media_is_downloaded_with_the_token(graph: GraphClient, meta: Meta) -> None:
    """A download of media sends the token. Meta does not accept the address alone."""
    meta.replies(200, b"bytes")
    assert await download(graph, URL) == b"bytes"
    assert meta.last.headers["authorization"] == f"Bearer {CREDENTIALS.token}"


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "https://scontent.xx.fbcdn.net/a",
        "https://mmg.whatsapp.net/a",
        "https://LOOKASIDE.fbsbx.com/a",
        "https://graph.facebook.com/a",
    ],
)
async def test_media_of_metas_hosts_is_downloaded(graph: GraphClient, meta: Meta, url: str) -> None:
    """Media is downloaded from the hosts that Meta's pages and webhooks point to."""
    meta.replies(200, b"bytes")
    assert await download(graph, url) == b"bytes"


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.example/a",
        "http://lookaside.fbsbx.com/a",
        "https://lookaside.fbsbx.com:8443/a",
        "https://lookaside.fbsbx.com.elsewhere.example/a",
        "https://elsewhere.example/?lookaside.fbsbx.com",
        "https://lookaside.fbsbx.com@elsewhere.example/a",
        "https://fbcdn.net.elsewhere.example/a",
        "https://evilfbcdn.net/a",
        "http://169.254.169.254/latest/meta-data",
        "http://graph.facebook.com/a",
        "file:///etc/passwd",
        "//lookaside.fbsbx.com/a",
        "https://[::1",
        "",
    ],
)
async def test_no_other_host_is_asked_and_none_gets_the_token(graph: GraphClient, meta: Meta, url: str) -> None:
    """The client calls no host outside of Meta, and no such host gets the token.

    The address comes from a webhook. If the client called every host, the author of the webhook would get the
    token.
    """
    with pytest.raises(GraphRefused, match="not sent"):
        await download(graph, url)
    assert meta.requests == []


async def test_a_redirect_within_meta_is_followed(graph: GraphClient, meta: Meta) -> None:
    """A redirect to another of Meta's hosts is followed, because media may be stored there."""
    target = "https://scontent.xx.fbcdn.net/a"
    meta.answer = lambda request: (
        httpx.Response(200, content=b"bytes")
        if request.url.host.endswith("fbcdn.net")
        else httpx.Response(302, headers={"location": target})
    )
    assert await download(graph, URL) == b"bytes"


async def test_a_redirect_away_from_meta_is_not_followed(graph: GraphClient, meta: Meta) -> None:
    """A redirect away from Meta is not followed. Every redirect is checked like the first address."""
    meta.replies(302, b"", headers={"location": "https://elsewhere.example/"})
    with pytest.raises(GraphRefused, match="not on one of Meta's hosts"):
        await download(graph, URL)
    assert len(meta.requests) == 1


async def test_a_loop_of_redirects_ends(graph: GraphClient, meta: Meta) -> None:
    """The client gives up a download after three redirects."""
    meta.replies(302, b"", headers={"location": "/again"})
    with pytest.raises(GraphRefused, match="redirects too often"):
        await download(graph, URL)


async def test_a_download_larger_than_the_limit_is_stopped(graph: GraphClient, meta: Meta) -> None:
    """A download that is larger than the limit is stopped. Nothing past the limit is written."""
    meta.replies(200, b"x" * 1001)
    content = bytearray()
    with pytest.raises(GraphRefused, match="larger than 1000 bytes"):
        await graph.download_media(CREDENTIALS, URL, content.extend, limit_bytes=1000)
    assert len(content) <= 1000


async def test_media_of_exactly_the_limit_is_accepted(graph: GraphClient, meta: Meta) -> None:
    """Media whose size is exactly the limit is accepted."""
    meta.replies(200, b"x" * 1000)
    assert len(await download(graph, URL, limit_bytes=1000)) == 1000


async def test_an_expired_address_is_recognised_by_its_status(graph: GraphClient, meta: Meta) -> None:
    """The error for an expired address has the HTTP status 404. The media must then be looked up again.

    It does not say that the media is gone: something before Meta could have answered.
    """
    meta.replies(404, b"gone")
    with pytest.raises(GraphUnreachable) as raised:
        await download(graph, URL)
    assert raised.value.http_status == 404


async def test_compressed_media_is_not_accepted(graph: GraphClient, meta: Meta) -> None:
    """Compressed media is not accepted.

    A limit for the received bytes would not limit the size of the decompressed file.
    """
    meta.replies(200, b"bytes", headers={"content-encoding": "gzip"})
    with pytest.raises(GraphRefused, match="compressed"):
        await download(graph, URL)


@pytest.mark.parametrize("status", [204, 500, 503])
async def test_a_response_that_is_not_media_is_an_error(graph: GraphClient, meta: Meta, status: int) -> None:
    """A response that is not media is an error. An incomplete file never counts as complete."""
    meta.replies(status, b"{}")
    with pytest.raises(GraphOutcomeUnknown):
        await download(graph, URL)
