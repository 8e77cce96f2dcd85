"""How an action of a run ended.

A run ends for good with a result (`Succeeded`, or why not) or is interrupted, and then goes on in its Job's next pod:

RunError
├── RunRefused    the run will never do its work; `result` says why. No retry makes sense
└── NotYet        something is not there yet; the next pod tries again
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RunResult(StrEnum):
    """`status.lastRun.result` of a `BotSchedule`: how the run ended, or what it waits for."""

    SUCCEEDED = "Succeeded"
    WAITING = "Waiting"
    INVALID_ORDER = "InvalidOrder"
    NUMBER_OF_ANOTHER = "NumberOfAnother"
    TOO_MANY_RECIPIENTS = "TooManyRecipients"
    TOKEN_EXPIRES = "TokenExpires"  # noqa: S105 - the name of a result
    TOKEN_INVALID = "TokenInvalid"  # noqa: S105 - the name of a result


class RunError(Exception):
    """A run did not do its work."""


class RunRefused(RunError):
    """The run will never do its work. `detail` is for people and names no contact."""

    def __init__(self, result: RunResult, detail: str, *, recipients: int = 0) -> None:
        super().__init__(f"{result}: {detail}")
        self.result = result
        self.detail = detail
        self.recipients = recipients


class NotYet(RunError):
    """What the run needs is not there yet; the message says what."""


@dataclass(frozen=True)
class ActionOutcome:
    """What an action did."""

    result: RunResult = RunResult.SUCCEEDED
    detail: str = ""
    recipients: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Recipients left out, counted by reason."""
