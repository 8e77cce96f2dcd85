"""The base of all groups of Graph calls.

It defines the credentials, and one abstract method `call`, which `client.py` implements.
"""

import abc
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple, Self

import msgspec

from waypost.cloudapi.graph import responses
from waypost.cloudapi.graph.errors import GraphOutcomeUnknown
from waypost.cloudapi.graph.proof import appsecret_proof

PAGES_LIMIT = 1000
"""Most pages that a listing may have; a listing with more is taken for a fault of the server."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """The credentials of one call. They are passed with each call, so that a rotated token is used at once.

    The `repr` hides the token and the proof.
    """

    token: str = dataclasses.field(repr=False)
    proof: str | None = dataclasses.field(default=None, repr=False)
    """The `appsecret_proof` of exactly this token.

    An app can be set to require the proof; a wrong proof is refused for every app.
    """

    @classmethod
    def proven(cls, token: str, app_secret: str) -> Self:
        """Returns credentials with a token and its proof. The proof is computed from the app secret."""
        return cls(token, appsecret_proof(token, app_secret))

    @classmethod
    def of_app(cls, app_id: str, app_secret: str) -> Self:
        """Returns the credentials of the app itself.

        Meta accepts the app's "id|secret" as a token. Meta expects a proof of that token too.
        """
        return cls.proven(f"{app_id}|{app_secret}", app_secret)


@dataclasses.dataclass(frozen=True)
class Override:
    """A callback for one account or number that takes precedence over the app's callback."""

    callback_uri: str
    """The address of the callback, at most 200 characters."""
    verify_token: str = dataclasses.field(repr=False)

    def json(self) -> dict[str, object]:
        """Returns the override as Meta's JSON object."""
        return {"override_callback_uri": self.callback_uri, "verify_token": self.verify_token}


class File(NamedTuple):
    """A file of a multipart upload."""

    name: str
    content: bytes
    mime_type: str


class _Cursors(msgspec.Struct):
    after: str | None = None


class _Paging(msgspec.Struct):
    cursors: _Cursors | None = None
    next: str | None = None


class _Page(msgspec.Struct):
    data: list[object]
    paging: _Paging | None = None


class GraphCalls(abc.ABC):
    """Base class of the groups of calls. It declares the client's methods that the groups use."""

    @abc.abstractmethod
    async def call(
        self,
        method: str,
        template: str,
        credentials: Credentials | None,
        *,
        ids: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, object] | None = None,
        form: Mapping[str, str] | None = None,
        file: File | None = None,
        quotable: bool = True,
        secrets: tuple[str, ...] = (),
        timeout_s: float | None = None,
    ) -> object:
        """Makes one call and returns its decoded JSON.

        `template` is the path after the version, such as `/{phone_number_id}/messages`. `ids` fill its placeholders.
        Traces show only the template. `query` may contain secrets, so it is never logged or traced. `body` is sent as
        JSON, and `form` and `file` as multipart. For `quotable` and `secrets` see `responses.decode`. `timeout_s`
        overrides the client's timeout.

        Raises the errors of `errors.py` and no others.
        """

    @abc.abstractmethod
    async def fetch(
        self,
        url: str,
        credentials: Credentials,
        write: Callable[[bytes], object],
        *,
        limit_bytes: int,
        timeout_s: float,
    ) -> int:
        """Downloads the media at `url` and passes it to `write` in pieces. Returns the number of bytes.

        The requests and the token go only to Meta's media hosts, even after a redirect. Raises the errors of
        `errors.py`. After an error, the bytes written so far must not be used.
        """

    async def pages(
        self,
        template: str,
        credentials: Credentials,
        *,
        ids: Mapping[str, str],
        query: Mapping[str, str] | None = None,
    ) -> AsyncIterator[object]:
        """Yields the items of a listing, page by page.

        Pages are requested by cursor. The `next` address that Meta gives is never used, because it has the token in
        its query.
        """
        after: str | None = None
        for _ in range(PAGES_LIMIT):
            page_query = dict(query or {}) | ({"after": after} if after else {})
            page = responses.convert(await self.call("GET", template, credentials, ids=ids, query=page_query), _Page)
            for item in page.data:
                yield item
            cursors = page.paging.cursors if page.paging else None
            if page.paging is None or page.paging.next is None or cursors is None or cursors.after is None:
                return
            if cursors.after == after:
                raise GraphOutcomeUnknown("the listing does not advance: the same cursor came twice")
            after = cursors.after
        raise GraphOutcomeUnknown(f"the listing has more than {PAGES_LIMIT} pages")
