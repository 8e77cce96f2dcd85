"""Tests that log lines identify events and contain nothing that people wrote."""

import json
import logging
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from kopf._cogs.clients import watching

from waypost.telemetry import tracing

Lines = Callable[[], list[dict[str, Any]]]

PHONE = "393331234567"
BSUID = "IT.13491208655302741918"
WAMID = "wamid.HBgMMzkzMzMxMjM0NTY3FQIAEhgUM0E="
TOKEN = "EAAGm0PX4ZCpsBAKZCcanary"
DIGEST = "sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
WORDS = "meet me at the canary"


@pytest.mark.parametrize("secret", [PHONE, f"+{PHONE}", "+39 333 123-4567", BSUID, WAMID, TOKEN, DIGEST])
@pytest.mark.parametrize(
    "say",
    [
        lambda log, s: log.info(" ".join(("cannot reach", s))),
        lambda log, s: log.info("cannot reach", detail=f"reply to {s} failed"),
        lambda log, s: log.info("cannot reach", detail={"inner": [{"deep": f"for {s}"}]}),
        lambda log, s: log.info("cannot reach", **{f"key {s}": 1}),
        lambda _, s: logging.getLogger("rq.worker").warning("job for %s done", s),
        lambda _, s: logging.getLogger("uvicorn.error").warning(s, extra={"request": s}),
        lambda log, s: log.error("failed", exc_info=RuntimeError(f"no route to {s}")),
        lambda log, s: log.error("failed", exc_info=OSError(5, f"no route to {s}")),
        lambda log, s: log.warning("failed", error=TypeError(f"not a {s}")),
    ],
    ids=["event", "field", "nested", "name", "foreign", "uvicorn", "exception", "oserror", "error-field"],
)
def test_what_looks_private_is_masked_in_every_place(log_lines: Lines, say: Any, secret: str) -> None:
    """Phones, BSUIDs, wamids, tokens and digests never reach stdout, however they are logged."""
    say(structlog.get_logger("waypost.test"), secret)
    (line,) = log_lines()
    assert secret not in json.dumps(line)
    assert secret.lstrip("+") not in json.dumps(line)


@pytest.mark.parametrize(
    "key",
    [
        "token",
        "access_token",
        "app_secret",
        "Authorization",
        "password",
        "text",
        "body",
        "phone",
        "to",
        "from_",
        "wa_id",
        "wamid",
        "profile_name",
        "args",
        "kwargs",
        "payload",
        "reply_text",
        "verify-token",
        "contact_key",
    ],
)
def test_a_field_with_a_private_name_loses_its_value(log_lines: Lines, key: str) -> None:
    """A field with a private name is logged without its value, whatever the value looks like."""
    structlog.get_logger("waypost.test").info("said", **{key: WORDS, "inner": {key: [WORDS]}})
    (line,) = log_lines()
    assert WORDS not in json.dumps(line)


def test_ids_that_find_an_event_stay_readable(log_lines: Lines) -> None:
    """Ids that find an event stay readable. A line is useless without them, and none of them identifies a person."""
    structlog.get_logger("waypost.test").info(
        "turn failed",
        number="106540352242922",
        event_id=12345678901,
        outbox_id=7,
        waba_id="102290129340398",
        pid=4194304,
    )
    (line,) = log_lines()
    assert line["number"] == "106540352242922"
    assert line["event_id"] == 12345678901
    assert line["outbox_id"] == 7
    assert line["waba_id"] == "102290129340398"
    assert line["pid"] == 4194304


def test_every_line_has_time_level_event_and_service(log_lines: Lines) -> None:
    """Every line has time, level, event and service, because log pipelines rely on these names."""
    logging.getLogger("alembic").warning("Running upgrade")
    (line,) = log_lines()
    assert list(line)[:5] == ["ts", "level", "event", "service", "logger"]
    assert line["ts"].endswith("Z")
    assert (line["level"], line["event"], line["service"]) == ("warning", "Running upgrade", "webhook")
    assert line["logger"] == "alembic"


def test_a_line_within_a_span_carries_its_ids(log_lines: Lines) -> None:
    """A line within a span contains the ids of the span, so that it leads to the trace even without an exporter."""
    with tracing.tracer().start_as_current_span("turn") as span:
        structlog.get_logger("waypost.test").info("inside")
    (line,) = log_lines()
    assert line["trace_id"] == f"{span.get_span_context().trace_id:032x}"
    assert line["span_id"] == f"{span.get_span_context().span_id:016x}"


def test_an_exception_of_a_library_is_logged_by_type_and_place_only(log_lines: Lines) -> None:
    """An exception of a library is logged by type and place only.

    The messages of `int('…')` and of SQL errors quote their input, which people wrote.
    """
    try:
        int(WORDS)
    except ValueError:
        structlog.get_logger("waypost.test").exception("turn failed")
    (line,) = log_lines()
    assert line["exception"]["type"] == "ValueError"
    assert "test_logs.py" in line["exception"]["at"][-1]
    assert WORDS not in json.dumps(line)


def test_the_cause_of_an_exception_is_logged_by_type(log_lines: Lines) -> None:
    """The cause of an exception is logged by type, because its message may quote people.

    Explicit and implicit causes help to understand an error.
    """
    try:
        try:
            dict[str, str]()[WORDS]
        except KeyError as error:
            raise ConnectionError("database is away") from error
    except ConnectionError:
        structlog.get_logger("waypost.test").exception("turn failed")
    (line,) = log_lines()
    assert line["exception"]["message"] == "database is away"
    assert line["exception"]["cause"]["type"] == "KeyError"
    assert WORDS not in json.dumps(line)


def test_local_variables_are_never_logged(log_lines: Lines) -> None:
    """Local variables are never logged, because the variables of a frame may contain whole messages."""
    hidden = WORDS
    try:
        len(hidden) / 0
    except ZeroDivisionError:
        structlog.get_logger("waypost.test").exception("turn failed")
    (line,) = log_lines()
    assert WORDS not in json.dumps(line)
    assert "hidden" not in json.dumps(line)


def test_a_traceback_that_a_library_formats_itself_loses_its_messages(log_lines: Lines) -> None:
    """If a library formats a traceback itself, the messages in the traceback are removed.

    RQ writes the traceback of a failed job into its log message.
    """
    try:
        int(WORDS)
    except ValueError:
        said = f"[Job 7]: exception raised\n{traceback.format_exc()}"
    logging.getLogger("rq.worker").error(said)
    (line,) = log_lines()
    assert WORDS not in json.dumps(line)
    assert "[Job 7]: exception raised" in line["event"]
    assert "ValueError" in line["event"]


def test_an_uncaught_exception_is_logged_like_any_other(log_lines: Lines) -> None:
    """An uncaught exception is logged like any other. Otherwise the interpreter would print its message to stderr."""

    def fail() -> None:
        raise ValueError(WORDS)

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    (line,) = log_lines()
    assert line["level"] == "critical"
    assert line["exception"]["type"] == "ValueError"
    assert WORDS not in json.dumps(line)


@pytest.mark.parametrize("thing", [object(), b"canary", bytearray(b"canary"), {"a": {"b": {"c": {"d": WORDS}}}}])
def test_an_unknown_object_is_named_but_not_shown(log_lines: Lines, thing: object) -> None:
    """An unknown object is named but not shown, because its `repr` may contain anything."""
    structlog.get_logger("waypost.test").info("odd", thing=thing)
    (line,) = log_lines()
    assert "canary" not in json.dumps(line)


@pytest.mark.parametrize("name", ["httpx", "httpcore", "uvicorn.access", "sqlalchemy.engine"])
def test_libraries_that_print_urls_or_rows_are_silenced(log_lines: Lines, name: str) -> None:
    """Log lines of libraries that print URLs or rows are dropped.

    httpx logs each URL at INFO, including `input_token`. The access log of uvicorn contains `hub.verify_token`.
    """
    logging.getLogger(name).info("GET /debug_token?input_token=abc")
    assert log_lines() == []


def test_kopf_does_not_log_each_attempt_of_each_stream(log_lines: Lines) -> None:
    """kopf does not log each attempt of each stream.

    Ten streams that try every few seconds would hide the one line that says that the API server is away.
    """
    watching.logger.error("Request attempt #3/17 failed; will retry: GET https://10.96.0.1/api")
    assert log_lines() == []


def test_text_that_json_cannot_hold_does_not_stop_the_log(log_lines: Lines) -> None:
    """Text that JSON cannot contain does not stop the log. Lone surrogates arrive in real messages."""
    structlog.get_logger("waypost.test").info("odd \ud800", detail="\udfff\x00")
    assert len(log_lines()) == 1
