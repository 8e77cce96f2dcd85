"""What every group of Graph calls stands on: whose credentials, and one abstract `call` that `client.py` makes real."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import NamedTuple


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Whose call it is. Given with each call, so that a rotated token is used at once. Its `repr` hides both values."""

    token: str = dataclasses.field(repr=False)
    app_secret: str | None = dataclasses.field(default=None, repr=False)
    """With it each call carries `appsecret_proof`, which Meta demands if the app says so."""


class File(NamedTuple):
    """One file of a multipart upload."""

    name: str
    content: bytes
    mime_type: str


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
