"""Keeps the last messages that businesses and users sent, in order."""

import base64
import secrets
from collections import OrderedDict
from typing import Any

import msgspec

from waypost.simulator.world.delivery_sender import DeliveryReceipt
from waypost.simulator.world.values import SendStatus
from waypost.simulator.world.world import User


class Sent(msgspec.Struct, kw_only=True):
    """A message that a business sent and that the simulator accepted."""

    seq: int
    wamid: str
    phone_number_id: str
    waba_id: str
    to: str
    """The recipient, spelled as the caller did."""
    user: User
    by_user_id: bool
    type: str
    body: Any
    """The content of the message: the value of the member that is named after its type."""
    context: str | None
    time: float
    callback_data: str | None
    category: str
    billable: bool
    rendered: dict[str, Any] | None = None
    """The filled template, with the members `header`, `body`, `footer` and `buttons`."""
    status: str = SendStatus.ACCEPTED
    statuses: list[str] = msgspec.field(default_factory=list)
    error: int | None = None
    """The code of the status `failed`, if the message got one."""


class Received(msgspec.Struct, kw_only=True):
    """A message that a user sent to a number."""

    seq: int
    wamid: str
    phone_number_id: str
    user: User
    message: dict[str, Any]
    time: float
    receipt: DeliveryReceipt
    read: bool = False
    typing_until: float = 0.0


class MessageHistory:
    """The last messages in both directions, and when each user last wrote to each number."""

    def __init__(self, capacity: int) -> None:
        self.sent: OrderedDict[str, Sent] = OrderedDict()
        self.received: OrderedDict[str, Received] = OrderedDict()
        self.last_inbound: OrderedDict[tuple[str, str], float] = OrderedDict()
        self.version = 0
        """A number that grows with each change, so that the chat page knows whether to read the messages again."""
        self._capacity = capacity
        self._seq = 0

    def next_seq(self) -> int:
        """Returns the next sequence number, which orders all messages."""
        self._seq += 1
        self.version += 1
        return self._seq

    def add_sent(self, sent: Sent) -> None:
        """Adds a message of a business. If there are too many messages, the oldest one is dropped."""
        self.sent[sent.wamid] = sent
        if len(self.sent) > self._capacity:
            self.sent.popitem(last=False)

    def add_received(self, received: Received) -> None:
        """Adds a message that a user sent. The message opens the service window.

        If there are too many messages, the oldest one is dropped.
        """
        self.received[received.wamid] = received
        if len(self.received) > self._capacity:
            self.received.popitem(last=False)
        key = (received.phone_number_id, received.user.user_id)
        self.last_inbound[key] = max(received.time, self.last_inbound.get(key, 0.0))
        self.last_inbound.move_to_end(key)
        if len(self.last_inbound) > 10 * self._capacity:
            self.last_inbound.popitem(last=False)

    def clear(self) -> None:
        """Drops all messages."""
        self.sent.clear()
        self.received.clear()
        self.last_inbound.clear()
        self.version += 1


def wamid(digits: str, *, outgoing: bool) -> str:
    """Returns a new message id in Meta's format.

    Like Meta's ids, it contains the user's phone number (personal data).
    """
    name = digits.encode()
    direction = b"\x15\x02\x00\x11\x18\x12" if outgoing else b"\x15\x02\x00\x12\x18\x14"
    tail = secrets.token_hex(9 if outgoing else 10).upper().encode()
    return (
        "wamid." + base64.b64encode(b"\x1c\x18" + bytes([len(name) & 255]) + name + direction + tail + b"\x00").decode()
    )
