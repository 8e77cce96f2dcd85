"""When `register` may be called. Pure.

Meta counts `register` and `deregister` together, 10 in 72 hours, and then locks the number for 72 hours (133016); wrong
PINs lock it too (133005, 133008). So a call is rare, is written down before it is made, and is never repeated against
a refusal that only a person can remove. Source: Meta's "Register a number" (2026-03-31).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waypost.cloudapi.graph.errors import GraphRefused, Verdict
from waypost.operator.api.conditions import seconds, timestamp

WINDOW_S = 72 * 3600.0
MOST_IN_WINDOW = 8
"""Two fewer than Meta allows: a person may have to call it too."""
SPACING_S = (0.0, 300.0, 1800.0, 7200.0, 28_800.0)
"""Wait after the n-th call of a window; the last one repeats."""

_WAITS_S = {133016: WINDOW_S, 133008: 12 * 3600.0, 133009: 3600.0, 133015: 300.0}
"""By code: Meta says how long these last, or nearly so."""
_PASSES = frozenset({133015})
"""Refusals that end by themselves."""


@dataclass(frozen=True)
class Registration:
    """Calls made for one number, as its status remembers them. Times are seconds since 1970."""

    attempts: tuple[float, ...] = ()
    blocked_until: float = 0.0
    refused_code: int | None = None
    refused_secret_version: str = ""

    def wait_s(self, now: float) -> float:
        """0 when a call may be made now; else how long not."""
        recent = [at for at in self.attempts if at > now - WINDOW_S]
        until = self.blocked_until
        if len(recent) >= MOST_IN_WINDOW:
            until = max(until, recent[0] + WINDOW_S)
        elif recent:
            until = max(until, recent[-1] + SPACING_S[min(len(recent), len(SPACING_S) - 1)])
        return max(0.0, until - now)

    def is_refused(self, secret_version: str) -> bool:
        """A person must act first; another version of the credentials Secret may hold another PIN."""
        return self.refused_code is not None and self.refused_secret_version == secret_version

    def attempted(self, now: float) -> "Registration":
        """With one more call, to be written down before it is made."""
        recent = tuple(at for at in self.attempts if at > now - WINDOW_S)
        return Registration((*recent, now)[-10:], self.blocked_until)

    def refused(self, error: GraphRefused, secret_version: str, now: float) -> "Registration":
        """After a refusal. One that is not Meta's last word only spaces the calls."""
        until = max(self.blocked_until, now + _WAITS_S.get(error.code, 0.0))
        if error.code in _PASSES or error.verdict in (Verdict.RETRY, Verdict.AMBIGUOUS):
            return Registration(self.attempts, until)
        return Registration(self.attempts, until, error.code, secret_version)

    def written(self) -> dict[str, Any] | None:
        """As the status holds it; None when there is nothing to remember."""
        if not self.attempts and not self.blocked_until and self.refused_code is None:
            return None
        found: dict[str, Any] = {"attempts": [timestamp(at) for at in self.attempts]}
        if self.blocked_until:
            found["blockedUntil"] = timestamp(self.blocked_until)
        if self.refused_code is not None:
            found |= {"refusedCode": self.refused_code, "refusedSecretVersion": self.refused_secret_version}
        return found


def read(status: Mapping[str, Any]) -> Registration:
    """What a status remembers; nothing where it cannot be read."""
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
