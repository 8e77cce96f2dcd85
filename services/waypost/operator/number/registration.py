"""Decides when `register` may be called. The code has no side effects.

Meta counts `register` and `deregister` together. After 10 calls in 72 hours it locks the number for 72 hours
(133016). Wrong PINs lock the number too (133005, 133008). `register` is therefore called rarely, and each
call is recorded before it is made. After a refusal that only a person can remove, the call is not repeated.
Source: Meta's "Register a number" (2026-03-31).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypost.cloudapi.graph.errors import GraphRefused, Verdict
from waypost.operator.api.conditions import seconds, timestamp

WINDOW_S = 72 * 3600.0
MOST_IN_WINDOW = 8
"""Most calls in 72 hours, two fewer than Meta allows, because a person may have to register the number too."""
SPACING_S = (0.0, 300.0, 1800.0, 7200.0, 28_800.0)
"""Seconds to wait after the first, second, third … call of a window. The last value applies to all further calls."""

_WAITS_S = {133016: WINDOW_S, 133008: 12 * 3600.0, 133009: 3600.0, 133015: 300.0}
"""Seconds to wait after a refusal, by Meta's error code. They are as long as Meta says that the refusal lasts, or a
little longer."""
_TRANSIENT = frozenset({133015})
"""Codes of refusals that end by themselves, although in general their verdict says that a retry is useless."""


@dataclass(frozen=True)
class Registration:
    """The calls of `register` for one number, as its status records them. Times are in seconds since 1970."""

    attempts: tuple[float, ...] = ()
    blocked_until: float = 0.0
    refused_code: int | None = None
    refused_secret_version: str = ""

    def wait_s(self, now: float) -> float:
        """Returns for how many seconds no call may be made. 0 means that a call may be made now."""
        recent = [at for at in self.attempts if at > now - WINDOW_S]
        until = self.blocked_until
        if len(recent) >= MOST_IN_WINDOW:
            until = max(until, recent[0] + WINDOW_S)
        elif recent:
            until = max(until, recent[-1] + SPACING_S[min(len(recent), len(SPACING_S) - 1)])
        return max(0.0, until - now)

    def is_refused(self, secret_version: str) -> bool:
        """Returns whether a person must act before the next call.

        A person need not act if the version of the credentials Secret has changed, because the Secret may hold
        another PIN.
        """
        return self.refused_code is not None and self.refused_secret_version == secret_version

    def with_attempt(self, now: float) -> "Registration":
        """Returns the record with one more call. The record must be written before the call is made."""
        recent = tuple(at for at in self.attempts if at > now - WINDOW_S)
        return Registration((*recent, now)[-10:], self.blocked_until)

    def with_refusal(self, error: GraphRefused, secret_version: str, now: float) -> "Registration":
        """Returns the record after a refusal. A refusal that may end by itself only delays the next call."""
        until = max(self.blocked_until, now + _WAITS_S.get(error.code, 0.0))
        if error.code in _TRANSIENT or error.verdict in (Verdict.RETRY, Verdict.AMBIGUOUS):
            return Registration(self.attempts, until)
        return Registration(self.attempts, until, error.code, secret_version)

    def as_status(self) -> dict[str, Any] | None:
        """Returns the record in the form that the status holds, or None if the record is empty."""
        if not self.attempts and not self.blocked_until and self.refused_code is None:
            return None
        found: dict[str, Any] = {"attempts": [timestamp(at) for at in self.attempts]}
        if self.blocked_until:
            found["blockedUntil"] = timestamp(self.blocked_until)
        if self.refused_code is not None:
            found |= {"refusedCode": self.refused_code, "refusedSecretVersion": self.refused_secret_version}
        return found


def read(status: Mapping[str, Any]) -> Registration:
    """Returns the record that a status holds, or an empty record if the status cannot be read."""
    found = status.get("registration")
    if not isinstance(found, dict):
        return Registration()
    code = found.get("refusedCode")
    return Registration(
        tuple(at for each in found.get("attempts") or () if (at := seconds(each)) is not None),
        seconds(found.get("blockedUntil")) or 0.0,
        code if isinstance(code, int) else None,
        str(found.get("refusedSecretVersion") or ""),
    )
