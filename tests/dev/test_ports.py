"""Tests the choice of free ports: two callers never get the same port, even before a server listens on it."""

import contextlib
import os
import socket
import subprocess
import sys

import pytest

from waypost.dev import ports


def test_no_port_is_chosen_twice_by_one_process_or_by_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """When this process has chosen all ten available ports, another process gets none of them."""
    last = ports.free_port() + 9
    monkeypatch.setattr(ports, "_FIRST", last - 9)
    monkeypatch.setattr(ports, "_LAST", last)
    chosen = [last - 9]
    with contextlib.suppress(ports.PortTaken):
        while True:
            chosen.append(ports.free_port())
    assert len(set(chosen)) == len(chosen)
    with pytest.raises(ports.PortTaken, match=f"no port of loopback from {last - 9} to {last} is free"):
        ports.free_port()
    script = (
        "from waypost.dev import ports\n"
        f"ports._FIRST, ports._LAST = {last - 9}, {last}\n"
        "try:\n    print(ports.free_port())\nexcept ports.PortTaken:\n    print('none')\n"
    )
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout == "none\n"


def test_a_port_on_which_a_process_listens_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port with a listening server is not chosen, even if `free_port` did not choose it for that server."""
    port = ports.free_port()
    os.close(ports._chosen.pop())
    monkeypatch.setattr(ports, "_FIRST", port)
    monkeypatch.setattr(ports, "_LAST", port)
    with socket.create_server(("127.0.0.1", port)), pytest.raises(ports.PortTaken):
        ports.free_port()
    assert ports.free_port() == port
