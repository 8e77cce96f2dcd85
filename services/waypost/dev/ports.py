"""TCP ports on loopback. The module finds free ports, and checks ports that the user chose."""

import random
import socket

from waypost.command_errors import CommandError


class PortTaken(CommandError):
    """Raised when a port cannot be used. The error message names the option that chooses another port."""


# Linux, macOS and Windows take the local ports of outgoing connections from 32768 or above, and Kubernetes its node
# ports from 30000 on, so neither takes one of these between the choice of a port and the start of its server.
_FIRST, _LAST = 10_000, 29_999
# Descriptors of open sockets, which reserve the ports that this process has chosen until it ends.
_chosen: list[int] = []


def free_port() -> int:
    """Returns a free TCP port. No other call of this function returns the same port.

    A UDP socket with the same number reserves the port against other processes until this process ends.
    """
    for port in random.sample(range(_FIRST, _LAST + 1), _LAST - _FIRST + 1):
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _chosen.append(claim.detach())
        return port
    raise PortTaken(f"no port of loopback from {_FIRST} to {_LAST} is free")


def ports_for(*, webhook: int, console: int, simulator: int) -> tuple[int, int, int]:
    """Returns the three chosen ports. Each 0 is replaced by a free port. Raises `PortTaken`."""
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
