"""The console as an ASGI application. It serves pages from templates and the same data as JSON, but no scripts."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from waypost.clients import Network, Throttle
from waypost.console import plot, status
from waypost.console.access import Guard, SecurityHeaders
from waypost.console.status import Reader, Status
from waypost.contracts.states import OutboxState
from waypost.store import reports
from waypost.store.counts import EventCounts, OutboxCounts

_FOLDER = Path(__file__).parent
_STYLE = (_FOLDER / "static" / "style.css").read_bytes()

REFRESH_S = 30
"""Seconds until a page reloads itself, unless it was requested with `?refresh=0`."""


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(age=status.age, count="{:,}".format, trace=status.trace_id)
    environment.globals.update(
        tone=status.tone,
        plural=status.plural,
        style=hashlib.sha256(_STYLE).hexdigest()[:12],
        no_counts=EventCounts(),
        OutboxState=OutboxState,
        no_outbox=OutboxCounts(),
    )
    return environment


class Pages:
    """Handles the requests. Each request reads the status in a thread, because the database client is synchronous."""

    def __init__(self, engine: Engine) -> None:
        self._read = Reader(engine)
        self._templates = _environment()

    async def overview(self, request: Request) -> Response:
        """Shows the status of all numbers."""
        current = await run_in_threadpool(self._read)
        return self._page(
            request, "overview.html", current, plots=_plots(current, None), concerns=status.concerns(current)
        )

    async def number(self, request: Request) -> Response:
        """Shows one number. The request names it by its phone number id."""
        current = await run_in_threadpool(self._read)
        number = current.number(request.path_params["number_id"])
        if number is None:
            raise HTTPException(404)
        dead, sends = await run_in_threadpool(self._lists_of, number.number_id)
        return self._page(
            request,
            "number.html",
            current,
            number=number,
            plots=_plots(current, number.number_id),
            concerns=[concern for concern in status.concerns(current) if concern.number_id == number.number_id],
            dead=dead,
            sends=sends,
        )

    async def api(self, _request: Request) -> Response:
        """Returns the data of the status page as JSON."""
        return JSONResponse(status.as_json(await run_in_threadpool(self._read)))

    async def style(self, _request: Request) -> Response:
        """Returns the style sheet."""
        return Response(_STYLE, media_type="text/css")

    async def unavailable(self, request: Request, error: Exception) -> Response:
        """Answers 503 when the database cannot be read.

        The answer has no details, because they would name hosts and users.
        """
        structlog.get_logger(__name__).warning("the status cannot be read", error=error)
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": "The database cannot be reached."}, 503, {"Retry-After": "5"})
        return self._message(503, "The database cannot be reached", "This page reloads by itself.", refresh_s=5)

    async def http_error(self, request: Request, error: Exception) -> Response:
        """Answers 404 and 405 with a page in the usual style."""
        assert isinstance(error, HTTPException)
        if request.url.path.startswith("/api/"):
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)
        return self._message(error.status_code, error.detail, "There is nothing at this address.", refresh_s=0)

    def _lists_of(self, number_id: str) -> tuple[list[Any], list[Any]]:
        with self._read.engine.connect() as connection:
            return (
                reports.newest_dead(connection, limit=status.LISTED, number_id=number_id),
                reports.newest_open_sends(connection, limit=status.LISTED, number_id=number_id),
            )

    def _page(self, request: Request, template: str, current: Status, **given: object) -> HTMLResponse:
        refresh_s = 0 if request.query_params.get("refresh") == "0" else REFRESH_S
        page = self._templates.get_template(template)
        return HTMLResponse(page.render(status=current, refresh_s=refresh_s, path=request.url.path, **given))

    def _message(self, code: int, title: str, body: str, *, refresh_s: int) -> HTMLResponse:
        page = self._templates.get_template("message.html")
        return HTMLResponse(page.render(title=title, body=body, refresh_s=refresh_s), code)


def _plots(current: Status, number_id: str | None) -> tuple[plot.Plot, plot.Plot]:
    """Returns a plot of two days for wide screens and a plot of one day for phones.

    On phones, the labels need more room.
    """
    hours = current.hours(number_id)
    return plot.draw(hours, width=960, height=280), plot.draw(hours[-24:], width=380, height=240)


def create(
    engine: Engine,
    *,
    password: str | None,
    throttle: Throttle | None = None,
    trusted_proxies: Sequence[Network] = (),
) -> ASGIApp:
    """Returns the console's application. Without a password, it answers only requests from loopback."""
    pages = Pages(engine)
    application = Starlette(
        routes=[
            Route("/", pages.overview),
            Route("/numbers/{number_id}", pages.number),
            Route("/api/status", pages.api),
            Route("/static/style.css", pages.style),
        ],
        exception_handlers={SQLAlchemyError: pages.unavailable, HTTPException: pages.http_error},
    )
    return SecurityHeaders(Guard(application, password=password, throttle=throttle, trusted_proxies=trusted_proxies))
