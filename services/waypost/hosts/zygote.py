"""The zygote forks a host on request.

So a host costs only milliseconds, and it shares the memory of all imported modules.

The zygote runs as `python -m waypost.hosts.zygote FD MEMORY_BYTES PLUGINS`. It gets its requests from the
socket FD. The request `f` forks a host. The host gets the descriptor that comes with this request. The
request `k`, followed by a process id, kills a host. The zygote answers each request with the process id of
the host. When the worker closes the socket, the zygote ends all hosts and itself.
"""

import ctypes
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Final, NoReturn

from waypost.allowed_plugins import AllowedPlugins
from waypost.hosts import child

FORK: Final = b"f"
KILL: Final = b"k"
_PR_SET_PDEATHSIG: Final = 1


def main(arguments: list[str]) -> None:
    """Serves requests until the worker closes the socket."""
    control = socket.socket(fileno=int(arguments[0]))
    memory_bytes, allowed = int(arguments[1]), AllowedPlugins.read(arguments[2])
    # The worker ends its hosts by closing the socket; Ctrl-C in a terminal reaches every process of the group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hosts: set[int] = set()
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 16, 1)
        _forget_ended(hosts)
        if not request:
            break
        if request.startswith(FORK):
            process = os.fork()
            if process == 0:
                control.close()
                _become_host(descriptors[0], allowed, memory_bytes)
            os.close(descriptors[0])
            hosts.add(process)
        else:
            process = int(request[1:])
            if process in hosts:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                hosts.discard(process)
        control.sendall(process.to_bytes(4))
    for process in hosts:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def _forget_ended(hosts: set[int]) -> None:
    with suppress(ChildProcessError):
        while True:
            process, _ = os.waitpid(-1, os.WNOHANG)
            if not process:
                return
            hosts.discard(process)


def _become_host(descriptor: int, allowed: AllowedPlugins, memory_bytes: int) -> NoReturn:
    """Runs turns in the forked process and never returns.

    The process ends when the zygote ends, even in the middle of a turn.
    """
    status = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        child.serve(socket.socket(fileno=descriptor), allowed, memory_bytes=memory_bytes)
        status = 0
    finally:
        os._exit(status)


if __name__ == "__main__":
    main(sys.argv[1:])
