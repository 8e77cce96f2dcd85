"""TCP ports on loopback: finds free ones and checks chosen ones."""

import socket

from waypost.command_errors import CommandError


class PortTaken(CommandError):
    """Raised when a port cannot be used; the message names the option that chooses another."""


def free_port() -> int:
    """Returns a port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ports_for(*, webhook: int, console: int, simulator: int) -> tuple[int, int, int]:
    """Returns the three chosen ports, with each 0 replaced by a free port. Raises `PortTaken`."""
    wanted = {"webhook": webhook, "console": console, "simulator": simulator}
    found = tuple(_usable(name, port) for name, port in wanted.items())
    if len(set(found)) < len(found):
        raise PortTaken("webhook, console and simulator need three different ports")
    return found[0], found[1], found[2]


def _usable(name: str, port: int) -> int:
    if port == 0:
        return free_port()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTaken(f"port {port}: {error.strerror}; choose another with --port-{name} N") from None
    return port
