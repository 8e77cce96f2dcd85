"""Defines faults. A fault says how calls go wrong, which calls go wrong, and how many calls go wrong."""

import re
from typing import Any

import msgspec

from waypost.simulator.graph.call import Call
from waypost.simulator.world.refusal import Refusal


class Match(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Conditions on a call. A call matches only if it meets all of them.

    `path` is a regular expression for `METHOD /path`, without the version.
    """

    path: str | None = None
    method: str | None = None
    type: str | None = None
    """The message type of a send, for instance `text`; `mark` stands for mark-as-read."""
    number: str | None = None
    to: str | None = None
    """The recipient of a send: the digits of the phone number, or a BSUID."""
    app: str | None = None


class Fault(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /_sim/faults`.

    `match` is a `Match`, a regular expression for `METHOD /path`, or the type of a message. If `code` is given,
    the reply is Meta's error of that code. If only `status` is given, the reply is an unspecific error. `body`
    replaces the text of the reply. `times` is the number of calls to which the fault applies. If `times` is null,
    the fault applies to all calls.
    """

    match: Match | str | None = None
    status: int | None = None
    code: int | None = None
    subcode: int | None = None
    details: str = ""
    body: str | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    delay_s: float = 0.0
    times: int | None = 1
    reset: bool = False
    """Whether the connection is closed before anything is done."""
    reset_after_accept: bool = False
    """Whether everything is done, deliveries included, and the connection is then closed without a reply."""
    fail_after_accept: bool = False
    """Whether the message is accepted, but then gets a status `failed` with `code` instead of the usual statuses."""

    @property
    def is_refusal(self) -> bool:
        """Returns whether the simulator answers the call with an error and does not execute it."""
        given = self.code is not None or self.status is not None or self.body is not None
        return given and not self.fail_after_accept and not self.reset_after_accept

    def refusal(self) -> Refusal:
        """Returns the error with which the simulator answers the call."""
        if self.code is None:
            code = 2 if (self.status or 500) >= 500 else 1
            return Refusal(code, self.details, status=self.status, headers=self.headers)
        return Refusal(self.code, self.details, subcode=self.subcode, status=self.status, headers=self.headers)


def check(fault: Fault) -> None:
    """Raises a `ValueError` that says what is wrong with the fault, for instance a pattern that does not compile."""
    pattern = fault.match.path if isinstance(fault.match, Match) else fault.match
    if pattern is not None:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"match: {error}") from None
    if fault.times is not None and fault.times < 1:
        raise ValueError("times must be at least 1, or null for ever")
    if fault.reset_after_accept and fault.reset:
        raise ValueError("reset and reset_after_accept exclude each other")


def matches(fault: Fault, call: Call, app_id: str | None) -> bool:
    """Returns whether the fault applies to this call."""
    wanted = fault.match
    if wanted is None:
        return True
    kind = _type(call)
    method_and_path = f"{call.method} {call.path}"
    if isinstance(wanted, str):
        return wanted == kind or re.search(wanted, method_and_path) is not None
    facts: dict[str, Any] = {
        "method": call.method,
        "type": kind,
        "number": call.segments[0] if call.segments else None,
        "app": app_id,
    }
    if wanted.path is not None and not re.search(wanted.path, method_and_path):
        return False
    if wanted.to is not None and not _is_for(call, wanted.to):
        return False
    return all(getattr(wanted, name) in (None, value) for name, value in facts.items())


def _type(call: Call) -> str | None:
    if len(call.segments) != 2 or call.segments[1] != "messages" or call.method != "POST":
        return None
    if "status" in call.body:
        return "mark"
    kind = call.body.get("type", "text")
    return kind if isinstance(kind, str) else None


def _is_for(call: Call, recipient: str) -> bool:
    given = (call.body.get("to"), call.body.get("recipient"))
    return any(isinstance(value, str) and value.lstrip("+") == recipient.lstrip("+") for value in given)


class Faults:
    """The armed faults, in the order in which they were armed. The first fault that matches a call applies to it."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []

    def arm(self, fault: Fault) -> None:
        """Arms a fault. Raises `ValueError` if `check` finds a mistake in it."""
        check(fault)
        self.armed.append(fault)

    def take(self, call: Call, app_id: str | None) -> Fault | None:
        """Returns the fault that applies to this call, or None. Reduces the fault's remaining number of calls."""
        for fault in self.armed:
            if matches(fault, call, app_id):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self.armed.remove(fault)
                return fault
        return None
