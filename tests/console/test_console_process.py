"""Tests that run the console as a separate process."""

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest

NEVER_S = 600
"""A time limit that no test reaches on a busy machine: pytest ends the test before."""

Start = Callable[..., tuple[int, int, "subprocess.Popen[bytes]"]]


@pytest.fixture
def start(database_url: str, free_port: Callable[[], int]) -> Iterator[Start]:
    """Returns a function that starts a console and returns its port, its probe port and the process."""
    running: list[subprocess.Popen[bytes]] = []

    def start(**environment: str) -> tuple[int, int, "subprocess.Popen[bytes]"]:
        port, probes = free_port(), free_port()
        variables = {
            "WAYPOST_DATABASE_URL": database_url,
            "WAYPOST_CONSOLE_PORT": str(port),
            "WAYPOST_PROBE_PORT": str(probes),
        }
        command = "from waypost import settings; from waypost.console import main; main.run(settings.load())"
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", command], env=os.environ | variables | environment, stdout=subprocess.PIPE
            )
        )
        return port, probes, running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def status(url: str) -> int:
    """Returns the HTTP status of a GET, or 0 while nothing listens."""
    try:
        with urllib.request.urlopen(url, timeout=NEVER_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return 0


def test_without_a_password_it_listens_on_loopback_only(start: Start, wait_for: Callable[..., object]) -> None:
    """Without a password, the console listens on loopback only.

    127.0.0.2 stands for every other interface. A listener on 0.0.0.0 would answer there.
    """
    port, _, _ = start(WAYPOST_HOST="0.0.0.0")
    wait_for(lambda: status(f"http://127.0.0.1:{port}/") == 200)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=NEVER_S)


def test_with_a_password_it_listens_on_the_given_address(start: Start, wait_for: Callable[..., object]) -> None:
    """With a password, the console listens on the given address and asks for the password.

    Here, the given address stands for all interfaces of the pod.
    """
    port, _, _ = start(WAYPOST_HOST="0.0.0.0", WAYPOST_CONSOLE_PASSWORD="open sesame")
    wait_for(lambda: status(f"http://127.0.0.2:{port}/") == 401)


def test_its_probes_export_the_counts_of_the_installation(start: Start, wait_for: Callable[..., object]) -> None:
    """The probe server of the console exports the counts of the installation to Prometheus.

    No other process of an installation exports these counts.
    """
    _, probes, _ = start()
    wait_for(lambda: status(f"http://127.0.0.1:{probes}/readyz") == 200)
    with urllib.request.urlopen(f"http://127.0.0.1:{probes}/metrics", timeout=NEVER_S) as answer:
        assert b"waypost_snapshot_up 1.0" in answer.read()


def test_it_ends_with_status_0_on_sigterm(start: Start, wait_for: Callable[..., object]) -> None:
    """The console ends with status 0 on SIGTERM. Every line of its log is JSON until the end."""
    import json

    port, _, process = start()
    wait_for(lambda: status(f"http://127.0.0.1:{port}/") == 200)
    process.terminate()
    written, _ = process.communicate()
    assert process.returncode == 0
    for line in written.decode().splitlines():
        assert json.loads(line)["service"] == "console"
