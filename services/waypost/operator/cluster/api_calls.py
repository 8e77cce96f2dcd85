"""Makes single requests to the API server.

Each request has a deadline, a span and a metric. Each failure is raised as one of a few errors.
"""

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration
from opentelemetry.trace import Span, SpanKind, StatusCode

from waypost.operator.api.kinds import Kind
from waypost.operator.cluster.connection import TIMEOUTS, Timeouts
from waypost.operator.cluster.interface import ClusterAway, ClusterConflict, ClusterError, ClusterRefused, Manifest
from waypost.telemetry import metrics, tracing

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""`Accept` header that asks for an answer without the object's content. It is used for writes whose result is not
read."""
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

LONGEST_MESSAGE = 512


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: Mapping[str, str] | None
    body: object
    content_type: str
    accept: str


class NotThere(ClusterRefused):
    """The API server answered 404: the object does not exist. Retry only after the object was created."""


class KubernetesCalls:
    """Makes requests through one client. `fresh` returns new credentials when the API server refuses the old ones."""

    def __init__(
        self,
        client: ApiClient,
        fresh: Callable[[], Awaitable[Configuration]] | None = None,
        *,
        timeouts: Timeouts = TIMEOUTS,
    ) -> None:
        self._client = client
        self._fresh = fresh
        self._timeout = aiohttp.ClientTimeout(total=timeouts.request_s, sock_connect=timeouts.connect_s)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def call(
        self,
        method: str,
        path: str,
        kind: Kind,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
        accept: str = JSON,
        verb: str | None = None,
        about: tuple[str, str] | None = None,
    ) -> Manifest:
        """Makes one request and returns the JSON object in the API server's answer.

        `verb` is the RBAC verb of the request. `about` is the namespace and name of the object. Spans and metrics
        contain nothing else about the object. Raises the errors of `interface.py`. An answer of 404 raises
        `NotThere`.
        """
        verb = verb or _VERBS[method]
        started = time.monotonic()
        result = "cancelled"
        with self._span(method, verb, kind, about) as span:
            try:
                answer = await self._attempt(_Request(method, path, query, body, content_type, accept), kind, span)
            except ClusterError as error:
                result = error.reason if isinstance(error, ClusterRefused) else type(error).__name__
                span.set_status(StatusCode.ERROR)
                span.set_attribute("error.type", result)
                raise
            else:
                result = "ok"
                return answer
            finally:
                metrics.kubernetes_call_seconds.labels(verb=verb, kind=kind.name, result=result).observe(
                    time.monotonic() - started
                )

    async def _attempt(self, request: _Request, kind: Kind, span: Span) -> Manifest:
        status, data = await self._send(request)
        if status == 401 and self._fresh is not None:
            # A kubeconfig's token has lapsed, or a service account's was rotated within the last minute.
            self._client.configuration.api_key = (await self._fresh()).api_key
            status, data = await self._send(request)
        span.set_attribute("http.response.status_code", status)
        return _understood(status, data, kind)

    async def _send(self, request: _Request) -> tuple[int, bytes]:
        address = f"{request.path}?{urlencode(request.query)}" if request.query else request.path
        try:
            method, url, headers, body, _ = await self._client.param_serialize(
                method=request.method,
                resource_path=address,
                header_params={"Accept": request.accept, "Content-Type": request.content_type},
                body=request.body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(method, url, headers, body, _request_timeout=self._timeout)
            data: bytes = await response.read()  # type: ignore[no-untyped-call]
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterAway(f"no answer from the API server: {type(error).__name__}") from None
        return response.status, data

    def _span(self, method: str, verb: str, kind: Kind, about: tuple[str, str] | None) -> Any:
        server = urlsplit(self._client.configuration.host)
        attributes: dict[str, str | int] = {
            "http.request.method": method,
            "server.address": server.hostname or "",
            "server.port": server.port or (80 if server.scheme == "http" else 443),
            "waypost.kind": kind.name,
        }
        if about is not None:
            attributes |= {"waypost.namespace": about[0], "waypost.name": about[1]}
        return tracing.tracer().start_as_current_span(
            f"kubernetes {verb} {kind.plural}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        )


_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def _understood(status: int, data: bytes, kind: Kind) -> Manifest:
    try:
        answer = json.loads(data) if data else {}
    except ValueError:
        answer = None
    if 200 <= status < 300:
        if not isinstance(answer, dict):
            raise ClusterAway("an answer that is no JSON object: something else answers in the API server's place")
        return answer
    said = answer if isinstance(answer, dict) else {}
    reason = str(said.get("reason") or f"Status{status}")
    # Of a Secret the sentence is not passed on: it may quote what was sent.
    message = "" if kind.name == "Secret" else str(said.get("message") or "")[:LONGEST_MESSAGE]
    if status == 409:
        raise ClusterConflict(f"{reason}: {message}")
    if status >= 500 or status == 429:
        raise ClusterAway(f"the API server answers {status} ({reason})")
    if status == 404:
        raise NotThere(reason, message)
    raise ClusterRefused(reason, message)
