"""The frames that a worker and a host exchange. A frame is a length of four bytes and one message as msgpack."""

import socket
import time
from typing import Final

import msgspec

LARGEST: Final = 4 * 1024 * 1024
"""Most bytes of one frame. A state has at most 64 KiB, and an answer 20 messages."""


class Broken(Exception):
    """Raised when the other side has ended, or has sent something that is not a frame.

    The socket cannot be used any more.
    """


class Turn(msgspec.Struct, frozen=True, tag="turn"):
    """Asks the host to run one turn. `state` is JSON. `traceparent` continues the trace of the message."""

    plugin: str
    state: bytes
    kind: str
    text: str | None
    button_id: str | None
    profile_name: str | None
    wamid: str
    occurred_at: float
    now: float
    traceparent: str | None = None


class Reply(msgspec.Struct, frozen=True, tag="reply"):
    """Sends a message. The messages in all effects are Graph payloads as JSON, without the recipient."""

    message: bytes


class OptOut(msgspec.Struct, frozen=True, tag="opt_out"):
    """Records an opt-out."""

    confirmation: bytes | None


class OptIn(msgspec.Struct, frozen=True, tag="opt_in"):
    """Records an opt-in."""

    confirmation: bytes | None


class HandOff(msgspec.Struct, frozen=True, tag="hand_off"):
    """Hands the conversation to a person."""

    minutes: int | None
    reply: bytes | None


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The result of a turn. `state` is JSON."""

    state: bytes
    effects: tuple[Reply | OptOut | OptIn | HandOff, ...]


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """Reports that a turn failed. The report quotes nothing that a person wrote."""

    error: str
    """The class of the exception."""
    detail: str
    """Module, line and function of the plugin's own frames, the innermost last, and our own error's message."""


Frame = Turn | Done | Failed

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Frame] = msgspec.msgpack.Decoder(Frame)


def send(connection: socket.socket, frame: Frame) -> None:
    """Sends one frame. Raises `Broken`, and `TimeoutError` if the other side does not read the frame in time."""
    body = _encoder.encode(frame)
    try:
        connection.sendall(len(body).to_bytes(4) + body)
    except TimeoutError:
        raise
    except OSError as error:
        raise Broken("the other side has ended") from error


def receive(connection: socket.socket, *, within_s: float | None = None) -> Frame:
    """Waits for one frame and returns it.

    Raises `Broken`, and `TimeoutError` if the frame is not complete after `within_s` seconds.
    """
    ends_at = None if within_s is None else time.monotonic() + within_s
    size = int.from_bytes(_exactly(connection, 4, ends_at))
    if size > LARGEST:
        raise Broken(f"a frame of {size} bytes; at most {LARGEST} are allowed")
    try:
        return _decoder.decode(_exactly(connection, size, ends_at))
    except msgspec.MsgspecError as error:
        raise Broken("not a frame") from error


def _exactly(connection: socket.socket, size: int, ends_at: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        if ends_at is not None:
            # Other than the socket's own time-out, this bounds the whole frame: a plugin could send it byte by byte.
            connection.settimeout(max(ends_at - time.monotonic(), 0.001))
        try:
            part = connection.recv(min(size - len(parts), 1 << 16))
        except TimeoutError:
            raise
        except OSError as error:
            raise Broken("the other side has ended") from error
        if not part:
            raise Broken("the other side has ended")
        parts += part
    return bytes(parts)
