"""What every group of Graph calls stands on: whose credentials, and one abstract `call` that `client.py` makes real."""

import abc
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple, Self

import msgspec

from waypost.cloudapi.graph import answers
from waypost.cloudapi.graph.errors import GraphOutcomeUnknown
from waypost.cloudapi.graph.proof import appsecret_proof

PAGES_LIMIT = 1000
"""A listing longer than this many pages is a fault of its server, not a listing."""


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Whose call it is. Given with each call, so that a rotated token is used at once. Its `repr` hides both values."""

    token: str = dataclasses.field(repr=False)
    proof: str | None = dataclasses.field(default=None, repr=False)
    """The `appsecret_proof` of exactly this token. An app may demand one, and Meta refuses a wrong one of any app."""

    @classmethod
    def proven(cls, token: str, app_secret: str) -> Self:
        """A token with its proof, for whoever holds the app secret."""
        return cls(token, appsecret_proof(token, app_secret))

    @classmethod
    def of_app(cls, app_id: str, app_secret: str) -> Self:
        """To act as the app itself. Meta takes id and secret for its token, and wants the proof of that one too."""
        return cls.proven(f"{app_id}|{app_secret}", app_secret)


@dataclasses.dataclass(frozen=True)
class Override:
    """A callback that takes precedence over the app's, for an account or a number."""

    callback_uri: str
    """At most 200 characters."""
    verify_token: str = dataclasses.field(repr=False)

    def json(self) -> dict[str, object]:
        """Graph's object."""
        return {"override_callback_uri": self.callback_uri, "verify_token": self.verify_token}


class File(NamedTuple):
    """One file of a multipart upload."""

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
    """The one thing that the groups of calls need from the client."""

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
        """Do one call and return its decoded JSON.

        `template` is the path below the version, `/{phone_number_id}/messages`; `ids` fill it. It is all that a trace
        tells of the address. `query` may hold secrets: it is never logged or traced. `body` travels as JSON; `form`
        and `file` as multipart. `quotable` and `secrets`: see `answers.read`. `timeout_s` overrules the client's.

        Raises the errors of `errors.py`, nothing else.
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
        """Hand the bytes behind a media address to `write`, piece by piece, and return how many they were.

        Only Meta's media hosts are asked, and only they get the token, after a redirect too. Raises the errors of
        `errors.py`; after any of them what was written so far is worthless.
        """

    async def pages(
        self,
        template: str,
        credentials: Credentials,
        *,
        ids: Mapping[str, str],
        query: Mapping[str, str] | None = None,
    ) -> AsyncIterator[object]:
        """The items of a listing, page by page.

        The cursor is followed, never the `next` address that Meta gives: it holds the token in its query.
        """
        after: str | None = None
        for _ in range(PAGES_LIMIT):
            asked = dict(query or {}) | ({"after": after} if after else {})
            page = answers.understood(await self.call("GET", template, credentials, ids=ids, query=asked), _Page)
            for item in page.data:
                yield item
            cursors = page.paging.cursors if page.paging else None
            if page.paging is None or page.paging.next is None or cursors is None or cursors.after is None:
                return
            if cursors.after == after:
                raise GraphOutcomeUnknown("the listing does not move on: the same cursor came twice")
            after = cursors.after
        raise GraphOutcomeUnknown(f"the listing has more than {PAGES_LIMIT} pages")
