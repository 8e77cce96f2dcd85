"""Parses a call of the Graph API: its path, its parameters from query and body, and its token."""

import hashlib
import hmac
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request

from waypost.simulator.world.refusal import ErrorType, Refusal
from waypost.simulator.world.values import Scope
from waypost.simulator.world.world import App, Token, World

VERSION = re.compile(r"v\d{1,3}\.\d")
BODY_MAX = 6_000_000
UPLOAD_MAX = 110_000_000


@dataclass(slots=True)
class Upload:
    """A file of a multipart form."""

    filename: str
    mime_type: str
    content: bytes


@dataclass(slots=True)
class Call:
    """A parsed call. `parameters` contains the parameters of the query and of the body.

    If a parameter is in both, the body takes precedence.
    """

    method: str
    version: str
    segments: tuple[str, ...]
    parameters: dict[str, Any]
    query: dict[str, str]
    body: dict[str, Any]
    files: dict[str, Upload]
    token: str | None
    base_url: str
    headers: dict[str, str] = field(default_factory=dict)
    """Extra headers of the reply."""

    @property
    def path(self) -> str:
        """Returns the path without the version."""
        return "/" + "/".join(self.segments)

    def text(self, name: str, *, required: bool = False) -> str | None:
        """Returns a parameter as text, or None if it is absent.

        Raises `Refusal` 100 if the parameter is absent but required.
        """
        value = self.parameters.get(name)
        if value is None or value == "":
            if required:
                raise Refusal(100, message=f"(#100) The parameter {name} is required.")
            return None
        return value if isinstance(value, str) else json.dumps(value)

    def fields(self) -> list[str]:
        """Returns the names in a parameter `fields=a,b{c},d`, without the parts in braces."""
        return [
            name for name in re.sub(r"\{[^}]*\}|\.[a-z_]+\([^)]*\)", "", self.text("fields") or "").split(",") if name
        ]


async def read_call(request: Request) -> Call:
    """Parses a request.

    Raises `Refusal` 100 if the body cannot be parsed, and `Refusal` 131053 if a file is too large.
    """
    segments = [segment for segment in request.url.path.split("/") if segment]
    version = ""
    if segments and VERSION.fullmatch(segments[0]):
        version = segments.pop(0)
    query = dict(request.query_params)
    files: dict[str, Upload] = {}
    body: dict[str, Any] = {}
    if request.method in ("POST", "PUT", "DELETE"):
        body, files = await _body(request)
    parameters = {**query, **body}
    return Call(
        method=request.method,
        version=version,
        segments=tuple(segments),
        parameters=parameters,
        query=query,
        body=body,
        files=files,
        token=_token(request, parameters),
        base_url=f"{request.url.scheme}://{request.url.netloc}",
    )


async def _body(request: Request) -> tuple[dict[str, Any], dict[str, Upload]]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _form(request)
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_MAX:
            raise Refusal(100, message="(#100) The request is too large.", status=413)
    if not raw:
        return {}, {}
    if kind == "application/x-www-form-urlencoded":
        return {key: _decode_json(value) for key, value in parse_qsl(raw.decode("utf-8", "replace"))}, {}
    try:
        decoded = msgspec.json.decode(bytes(raw))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Refusal(100, message="(#100) Invalid parameter: the body is not valid JSON.") from None
    if not isinstance(decoded, dict):
        raise Refusal(100, message="(#100) Invalid parameter: the body must be a JSON object.")
    return decoded, {}


async def _form(request: Request) -> tuple[dict[str, Any], dict[str, Upload]]:
    if int(request.headers.get("content-length") or 0) > UPLOAD_MAX:
        raise Refusal(131053, "The file is too large.", status=413)
    body: dict[str, Any] = {}
    files: dict[str, Upload] = {}
    async with request.form(max_files=2, max_fields=20) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                content = await value.read()
                files[name] = Upload(value.filename or "", value.content_type or "", content)
            else:
                body[name] = _decode_json(value)
    return body, files


def _decode_json(value: str) -> Any:
    """Returns the value of a form field. A value that holds JSON is decoded, because Graph accepts JSON there.

    Any other value is returned unchanged.
    """
    if value[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError:
            return value
    return value


def _token(request: Request, parameters: dict[str, Any]) -> str | None:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() in ("bearer", "oauth") and value.strip():
        return value.strip()
    given = parameters.get("access_token")
    return given if isinstance(given, str) and given else None


@dataclass(frozen=True, slots=True)
class Caller:
    """An app that makes a call.

    `token` is the token of one of the app's system users. It is None if the app calls with its own token.
    """

    app: App
    token: Token | None

    def require_scope(self, scope: Scope) -> None:
        """Raises `Refusal` 10 unless the token has the scope."""
        if self.token is None or scope not in self.token.scopes:
            raise Refusal(10, message=f"(#10) Application does not have permission for this action: {scope}")

    def require_account(self, waba_id: str) -> None:
        """Raises `Refusal` 200 unless the token's user has access to the account."""
        if self.token is None or (self.token.wabas is not None and waba_id not in self.token.wabas):
            raise Refusal(200, "The system user has no access to this WhatsApp Business account.")

    def require_app(self, app_id: str) -> None:
        """Raises `Refusal` 15 unless the call is made with the app token of the app `app_id`."""
        if self.token is not None or self.app.app_id != app_id:
            raise Refusal(15)


def authenticate(world: World, call: Call, now: float) -> Caller:
    """Returns the caller to whom the token belongs.

    Raises `Refusal` 200 or 190 if the token is missing or not valid, and `Refusal` 100 if `appsecret_proof` is
    missing or wrong.
    """
    if call.token is None:
        raise Refusal(200, message="(#200) An access token is required to request this resource.")
    found = _resolve(world, call.token, now)
    proof = call.parameters.get("appsecret_proof")
    if proof is None:
        if found.app.require_proof:
            raise Refusal(
                100,
                message="API calls from the server require an appsecret_proof argument",
                kind=ErrorType.GRAPH_METHOD,
            )
    else:
        expected = hmac.new(found.app.app_secret.encode(), call.token.encode(), hashlib.sha256).hexdigest()
        if not isinstance(proof, str) or not hmac.compare_digest(expected.encode(), proof.encode()):
            raise Refusal(
                100, message="Invalid appsecret_proof provided in the API argument", kind=ErrorType.GRAPH_METHOD
            )
    return found


def _resolve(world: World, text: str, now: float) -> Caller:
    app_id, bar, secret = text.partition("|")
    if bar:
        app = world.apps.get(app_id)
        if app is None or not hmac.compare_digest(app.app_secret.encode(), secret.encode()):
            raise Refusal(190, message="Invalid OAuth access token signature.")
        return Caller(app, None)
    token = world.tokens.get(text)
    if token is None or token.app_id not in world.apps:
        raise Refusal(190, message="Invalid OAuth access token - Cannot parse access token")
    if token.revoked:
        raise Refusal(
            190,
            message="Error validating access token: The session has been invalidated because the user logged out.",
            subcode=467,
        )
    if token.expires_at and token.expires_at <= now:
        raise Refusal(190, message="Error validating access token: Session has expired.", subcode=463)
    return Caller(world.apps[token.app_id], token)
