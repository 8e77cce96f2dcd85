"""Tests the simulator as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import httpx

from .meta import NEVER_S, WORLD


def test_the_process_serves_answers_probes_cuts_replies_and_stops_on_sigterm(
    free_port: Callable[[], int], wait_for: Callable[..., object]
) -> None:
    """The process listens on the ports of its environment, answers probes, and ends with status 0 on SIGTERM.

    If a fault cuts a reply, the real connection is closed.
    """
    port, probe_port = free_port(), free_port()
    environment = os.environ | {
        "WAYPOST_HOST": "127.0.0.1",
        "WAYPOST_SIMULATOR_PORT": str(port),
        "WAYPOST_PROBE_PORT": str(probe_port),
    }
    command = [
        sys.executable,
        "-c",
        "from waypost import settings; from waypost.simulator import main; main.run(settings.load())",
    ]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=NEVER_S) as client:

            def is_up() -> bool:
                try:
                    return client.get("/_sim/world").status_code == 200
                except httpx.TransportError:
                    return False

            wait_for(is_up)
            assert (
                httpx.get(f"http://127.0.0.1:{probe_port}/readyz", trust_env=False, timeout=NEVER_S).status_code == 200
            )
            client.put("/_sim/world", json=WORLD)
            client.post("/_sim/faults", json={"match": "GET /3001", "reset_after_accept": True})
            headers = {"authorization": "Bearer EAAtoken"}
            error = None
            try:
                client.get("/v26.0/3001", headers=headers)
            except httpx.TransportError as raised:
                error = raised
            assert isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
            assert client.get("/v26.0/3001", headers=headers).status_code == 200
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert b"EAAtoken" not in output
