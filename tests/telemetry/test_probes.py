"""Tests that threads answer requests for probes and metrics, and that the number of threads is bounded."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase

import waypost
from waypost.telemetry import metrics, probes

NEVER_S = 600
"""A time limit that no test reaches on a busy machine: pytest ends the test before."""

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def serve() -> Iterator[Callable[..., probes.Probes]]:
    """Yields a function that starts a probe server on loopback. All servers are closed after the test."""
    running: list[probes.Probes] = []

    def start(ready: Callable[[], str | None] = lambda: None) -> probes.Probes:
        running.append(probes.serve(0, ready=ready, host="127.0.0.1", timeout_s=NEVER_S))
        return running[-1]

    yield start
    for each in running:
        each.close()


def get(server: probes.Probes, path: str) -> tuple[int, str]:
    """Returns the status and the body of an answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=NEVER_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_ready_process_says_so(serve: Callable[..., probes.Probes]) -> None:
    """A ready process answers `/readyz` with 200."""
    assert get(serve(), "/readyz") == (200, "ok\n")


def test_a_process_that_is_not_ready_says_why_and_stays_alive(serve: Callable[..., probes.Probes]) -> None:
    """A process that is not ready says why and stays alive.

    A pod that waits for the database gets no traffic, but must not be restarted.
    """
    server = serve(lambda: "the database cannot be reached")
    assert get(server, "/readyz") == (503, "the database cannot be reached\n")
    assert get(server, "/healthz") == (200, "ok\n")


def test_the_reason_is_logged_when_it_changes(serve: Callable[..., probes.Probes], log_lines: Lines) -> None:
    """The reason why a process is not ready is logged when it changes, not at each probe.

    The end of the wait is logged too.
    """
    reasons = iter(["the database is away", "the database is away", "it lacks a migration", None, None])
    server = serve(lambda: next(reasons))
    for _ in range(5):
        get(server, "/readyz")

    assert [(line["level"], line["event"], line.get("reason")) for line in log_lines()] == [
        ("warning", "not ready", "the database is away"),
        ("warning", "not ready", "it lacks a migration"),
        ("info", "ready", None),
    ]


def test_metrics_come_in_prometheus_format(serve: Callable[..., probes.Probes]) -> None:
    """Metrics are served in the Prometheus format: a scraper sees a counter and its labels."""
    metrics.deliveries_total.labels(status="200").inc()
    status, body = get(serve(), "/metrics")
    assert status == 200
    assert 'waypost_deliveries_total{status="200"}' in body


def test_an_unknown_path_is_not_found(serve: Callable[..., probes.Probes]) -> None:
    """An unknown path gets 404, because only probes and metrics are served."""
    assert get(serve(), "/etc/passwd")[0] == 404


def test_a_readiness_check_that_raises_affects_that_probe_only(
    serve: Callable[..., probes.Probes], log_lines: Lines
) -> None:
    """If a readiness check raises an error, the connection of this probe is closed and the error is logged.

    The next probe is answered.
    """
    broken = threading.Event()
    broken.set()

    def ready() -> str | None:
        if broken.is_set():
            raise LookupError("canary")
        return None

    server = serve(ready)
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        get(server, "/readyz")
    broken.clear()
    assert get(server, "/readyz") == (200, "ok\n")
    line, _ = log_lines()
    assert line["exception"]["type"] == "LookupError"
    assert "canary" not in str(line)


def test_probes_beyond_the_limit_are_refused(serve: Callable[..., probes.Probes]) -> None:
    """Probes beyond the limit are refused, so that slow readiness checks do not use up threads."""
    go_on = threading.Event()
    started = threading.Semaphore(0)

    def ready() -> str | None:
        started.release()
        go_on.wait(NEVER_S)
        return None

    server = serve(ready)
    waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(probes.REQUESTS_AT_ONCE)]
    for connection in waiting:
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
    for _ in waiting:
        assert started.acquire(timeout=NEVER_S)
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        get(server, "/healthz")
    go_on.set()
    for connection in waiting:
        with connection:
            assert connection.makefile("rb").read().startswith(b"HTTP/1.0 200")


def test_every_metric_is_counted_somewhere() -> None:
    """Every metric is counted somewhere. An alert on a metric that is always 0 would never fire."""
    source = "".join(path.read_text() for path in Path(waypost.__file__).parent.rglob("*.py"))
    names = [name for name, each in vars(metrics).items() if isinstance(each, MetricWrapperBase)]
    unused = [name for name in names if f"metrics.{name}" not in source and f"{name}.info(" not in source]
    assert unused == []


def test_every_metric_has_our_prefix_and_explains_itself() -> None:
    """Every metric has our prefix and a HELP text, because people see the HELP texts in their Prometheus."""
    ours = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    assert len(ours) > 20
    for family in (family for metric in ours for family in metric.collect()):
        assert family.name.startswith("waypost_")
        assert len(family.documentation) > 20
        assert family.documentation.endswith(".")


def test_a_process_serves_json_documents_beside_its_probes() -> None:
    """Workers serve the state of bots so. A document is made for each request."""
    served = probes.serve(0, ready=lambda: None, host="127.0.0.1", documents={"/bots": lambda: b"[]"})
    try:
        assert get(served, "/bots") == (200, "[]")
        assert get(served, "/other")[0] == 404
    finally:
        served.close()
