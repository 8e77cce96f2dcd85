"""The worker's side of the hosts. It starts their processes, sends turns to them, and kills them at the deadline."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from waypost.bot import effects
from waypost.bot.effects import Effect
from waypost.bot.event import BotEvent
from waypost.cloudapi.messages import Outgoing
from waypost.hosts import frames, zygote
from waypost.telemetry import metrics

ANSWER_S: Final = 30.0
"""Longest wait for the zygote, which answers in milliseconds."""


class TurnFailed(Exception):
    """Raised when a plugin's turn failed. `error` is the class of the exception. `detail` says where it was raised."""

    def __init__(self, error: str, detail: str = "") -> None:
        super().__init__(error)
        self.error = error
        self.detail = detail


class Ended(TurnFailed):
    """Raised when the host ended or was killed during the turn. The host cannot run any more turns."""


class HostsUnavailable(Exception):
    """Raised when no host can be started. A later attempt may succeed."""


class Payload(Outgoing, frozen=True, kw_only=True):
    """A message that a host has already built and checked. `body` is the JSON of its Graph payload."""

    body: bytes

    def payload(self) -> dict[str, Any]:
        """Returns the Graph payload."""
        return msgspec.json.decode(self.body, type=dict[str, Any])


class Zygote:
    """Starts and kills hosts. The zygote's process starts with the first host, and starts again if it has ended."""

    def __init__(self, plugins: str, *, memory_bytes: int) -> None:
        """Creates the handle. `plugins` is the platform's list of allowed plugins.

        Each host may allocate at most `memory_bytes`.
        """
        self._arguments = (str(memory_bytes), plugins)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def start_host(self) -> "Host":
        """Forks a host. Raises `HostsUnavailable`."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                with self._lock:
                    process = self._request(zygote.FORK, theirs.fileno())
            except HostsUnavailable:
                ours.close()
                raise
        return Host(self, process, ours)

    def kill(self, process: int) -> None:
        """Kills a host if it still runs. If the zygote has ended, its hosts have ended too."""
        with self._lock:
            if self._is_running():
                with suppress(HostsUnavailable):
                    self._request(zygote.KILL + str(process).encode())

    def close(self) -> None:
        """Ends the zygote and all its hosts."""
        with self._lock:
            self._end()

    def _request(self, request: bytes, *descriptors: int) -> int:
        try:
            control = self._running()
            socket.send_fds(control, [request], descriptors)
            answer = control.recv(4)
        except OSError as error:
            self._end()
            raise HostsUnavailable(type(error).__name__) from error
        if len(answer) < 4:
            self._end()
            raise HostsUnavailable("the zygote has ended")
        return int.from_bytes(answer)

    def _is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _running(self) -> socket.socket:
        if self._control is not None and self._is_running():
            return self._control
        self._end()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(ANSWER_S)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module; the list of plugins was checked
                [sys.executable, "-m", "waypost.hosts.zygote", str(theirs.fileno()), *self._arguments],
                pass_fds=[theirs.fileno()],
                env=_environment(os.environ),
            )
        return self._control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(ANSWER_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment for the hosts. Waypost's settings are left out, because some of them are secrets."""
    return {name: value for name, value in environment.items() if not name.startswith("WAYPOST_")}


@dataclass(eq=False)
class Host:
    """A host process. It runs one turn at a time."""

    zygote: Zygote
    process: int
    connection: socket.socket

    def turn(
        self, plugin: str, state: Mapping[str, Any], event: BotEvent, *, deadline_s: float, traceparent: str | None
    ) -> tuple[dict[str, Any], Sequence[Effect]]:
        """Runs a turn in the host and returns the new state and the effects.

        Raises `TurnFailed` if the plugin failed. Raises `Ended` if the host has ended, or if the turn took longer
        than `deadline_s` seconds and the host was killed. The host must not be used after `Ended`.
        """
        asked = frames.Turn(
            plugin=plugin,
            state=msgspec.json.encode(state),
            kind=event.type,
            text=_encodable(event.text),
            button_id=_encodable(event.button_id),
            profile_name=_encodable(event.profile_name),
            wamid=event.wamid,
            occurred_at=event.occurred_at,
            now=event.now,
            traceparent=traceparent,
        )
        self.connection.settimeout(deadline_s)
        try:
            frames.send(self.connection, asked)
            answer = frames.receive(self.connection, within_s=deadline_s)
        except TimeoutError:
            metrics.hosts_killed_total.inc()
            self.close()
            raise Ended("TurnTimeout", f"the turn took longer than {deadline_s:g} s") from None
        except frames.Broken as error:
            self.close()
            raise Ended("HostEnded", str(error)) from None
        if isinstance(answer, frames.Failed):
            raise TurnFailed(answer.error, answer.detail)
        if not isinstance(answer, frames.Done):
            self.close()
            raise Ended("HostEnded", "not an answer")
        try:
            new_state = msgspec.json.decode(answer.state, type=dict[str, Any])
            return new_state, tuple(map(_effect, answer.effects))
        except msgspec.MsgspecError:
            self.close()
            raise Ended("HostEnded", "not an answer") from None

    def close(self) -> None:
        """Kills the process."""
        self.connection.close()
        self.zygote.kill(self.process)


def _effect(effect: frames.Reply | frames.OptOut | frames.OptIn | frames.HandOff) -> Effect:
    match effect:
        case frames.Reply():
            return effects.Reply(_message(effect.message))
        case frames.OptOut():
            return effects.OptOut(_optional(effect.confirmation))
        case frames.OptIn():
            return effects.OptIn(_optional(effect.confirmation))
        case frames.HandOff():
            return effects.HandOff(effect.minutes, _optional(effect.reply))


def _optional(body: bytes | None) -> Payload | None:
    return None if body is None else _message(body)


def _message(body: bytes) -> Payload:
    msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    return Payload(body=body)


def _encodable(text: str | None) -> str | None:
    """Returns `text` with its lone surrogates replaced, because no encoding can represent them."""
    return None if text is None else text.encode("utf-8", "replace").decode()
