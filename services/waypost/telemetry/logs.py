"""Writes redacted JSON log lines to stdout: `ts, level, event, service, trace_id, span_id, logger`, then other fields.

Log lines of libraries pass the same processors as ours, so that private data in them is removed too.
"""

import json
import logging
import sys
import threading
from types import TracebackType

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from waypost.telemetry import redaction

_LIBRARIES = {
    # At a lower level these print URLs with tokens, query strings, and SQL with parameters.
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "urllib3": logging.WARNING,
    "asyncio": logging.WARNING,
    # Three lines for every drain of a lane; drains have metrics.
    "rq.worker": logging.WARNING,
    "multipart": logging.WARNING,
    # At DEBUG it prints whole objects, at INFO a line for every event of every watch.
    "kopf": logging.WARNING,
    # It logs every attempt of every stream as an error. The canary logs once that the API server is away, and an error
    # that ends a stream for good ends the process.
    "kopf._cogs.clients": logging.CRITICAL,
    "kubernetes": logging.WARNING,
    "python_multipart": logging.WARNING,
    # When the collector is away it logs an error per failed batch, and a warning for each attempt at it.
    "opentelemetry.exporter": logging.ERROR,
}
_INTERNAL = frozenset({"stack", "exception", "positional_args", "stack_info", "_record", "_from_structlog"})
_OURS = ("uvicorn", "uvicorn.error", "rq", "alembic", "opentelemetry", "py.warnings")


class _Context:
    """Adds the service's name and the ids of the current span to each log line."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
        span = trace.get_current_span().get_span_context()
        first: EventDict = {
            "ts": fields.pop("timestamp", None),
            "level": fields.pop("level", None),
            "event": fields.pop("event", None),
            "service": self._service,
            "trace_id": f"{span.trace_id:032x}" if span.is_valid else None,
            "span_id": f"{span.span_id:016x}" if span.is_valid else None,
            "logger": fields.pop("logger", None),
        }
        return {**first, **fields}


def redact(_logger: WrappedLogger, _method: str, fields: EventDict) -> EventDict:
    """Removes private values and values that JSON cannot represent. This is the last processor before rendering."""
    error = fields.pop("exc_info", None)
    safe: EventDict = {}
    for name, given in fields.items():
        if name in _INTERNAL:
            continue
        safe[redaction.text(name)] = redaction.foreign(str(given)) if name == "event" else redaction.value(name, given)
    if error:
        if error is True:
            error = sys.exc_info()
        if isinstance(error, tuple):
            error = error[1]
        if isinstance(error, BaseException):
            safe["exception"] = redaction.exception(error)
    return safe


def _render(_logger: WrappedLogger, _method: str, fields: EventDict) -> str:
    return json.dumps({name: given for name, given in fields.items() if given is not None}, ensure_ascii=True)


class _Stdout(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the current stdout. A line that cannot be written is dropped without an exception."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> object:
        """Returns the current `sys.stdout`, which tests and supervisors may replace."""
        return sys.stdout

    @stream.setter
    def stream(self, _value: object) -> None: ...

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Ignores the error.

        The default handler would print the message and its arguments to stderr without redaction.
        """


def configure(service: str, level: str) -> None:
    """Sends every logger of this process to stdout as JSON lines. If it is called again, the last call counts.

    `level` is one of the names of `logging`. Uncaught exceptions are logged in the same way instead of being
    printed.
    """
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*processors, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    handler = _Stdout()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=processors,
            processors=[_Context(service), redact, _render],
            pass_foreign_args=False,
            use_get_message=True,
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, least in _LIBRARIES.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    for name in (*_LIBRARIES, *_OURS):
        logger = logging.getLogger(name)
        logger.handlers = []
        logger.propagate = True
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, place: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("waypost").critical("process ended by an exception", exc_info=error.with_traceback(place))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
        structlog.get_logger("waypost").critical("thread ended by an exception", exc_info=args.exc_value)
