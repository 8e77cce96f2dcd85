"""Probes and metrics answer from threads, within bounds."""

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

Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def serve() -> Iterator[Callable[..., probes.Probes]]:
    """Starts probe servers on loopback and closes them."""
    running: list[probes.Probes] = []

    def start(ready: Callable[[], str | None] = lambda: None) -> probes.Probes:
        running.append(probes.serve(0, ready=ready, host="127.0.0.1"))
        return running[-1]

    yield start
    for each in running:
        each.close()


def get(server: probes.Probes, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_ready_process_says_so(serve: Callable[..., probes.Probes]) -> None:
    """None is ready."""
    assert get(serve(), "/readyz") == (200, "ok\n")


def test_a_process_that_is_not_ready_says_why_and_stays_alive(serve: Callable[..., probes.Probes]) -> None:
    """Without the database a pod leaves the service, and is not killed for it."""
    server = serve(lambda: "the database cannot be reached")
    assert get(server, "/readyz") == (503, "the database cannot be reached\n")
    assert get(server, "/healthz") == (200, "ok\n")


def test_what_a_pod_waits_for_is_logged_once(serve: Callable[..., probes.Probes], log_lines: Lines) -> None:
    """Not once per probe; and it is said when the wait is over."""
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
    """One counter, as a scraper sees it."""
    metrics.deliveries_total.labels(status="200").inc()
    status, body = get(serve(), "/metrics")
    assert status == 200
    assert 'waypost_deliveries_total{status="200"}' in body


def test_an_unknown_path_is_not_found(serve: Callable[..., probes.Probes]) -> None:
    """Nothing else is served."""
    assert get(serve(), "/etc/passwd")[0] == 404


def test_a_readiness_check_that_fails_costs_that_probe_only(
    serve: Callable[..., probes.Probes], log_lines: Lines
) -> None:
    """A defect in one check closes that connection and is logged; the next probe is answered."""
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


def test_more_probes_than_there_are_places_are_refused(serve: Callable[..., probes.Probes]) -> None:
    """Slow readiness checks never pile up threads."""
    go_on = threading.Event()
    started = threading.Semaphore(0)

    def ready() -> str | None:
        started.release()
        go_on.wait(60)
        return None

    server = serve(ready)
    waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(probes.REQUESTS_AT_ONCE)]
    for connection in waiting:
        connection.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
    for _ in waiting:
        assert started.acquire(timeout=60)
    with pytest.raises((ConnectionError, urllib.error.URLError)):
        get(server, "/healthz")
    go_on.set()
    for connection in waiting:
        with connection:
            assert connection.makefile("rb").read().startswith(b"HTTP/1.0 200")


def test_every_metric_is_counted_somewhere() -> None:
    """A metric that stays 0 for ever misleads whoever puts an alert on it."""
    source = "".join(path.read_text() for path in Path(waypost.__file__).parent.rglob("*.py"))
    names = [name for name, each in vars(metrics).items() if isinstance(each, MetricWrapperBase)]
    unused = [name for name in names if f"metrics.{name}" not in source and f"{name}.info(" not in source]
    assert unused == []


def test_every_metric_has_our_prefix_and_explains_itself() -> None:
    """HELP texts are the documentation that people see in their Prometheus."""
    ours = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    assert len(ours) > 20
    for family in (family for metric in ours for family in metric.collect()):
        assert family.name.startswith("waypost_")
        assert len(family.documentation) > 20
        assert family.documentation.endswith(".")
