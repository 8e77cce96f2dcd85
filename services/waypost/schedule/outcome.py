"""Outcomes and errors of an action.

A run either ends for good with a result, or it is interrupted and continues in the next pod of its Job:

RunError
├── RunRefused    the run can never do its work; `result` says why; a retry makes no sense
└── NotYet        something that the run needs is missing; the next pod tries again
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class RunResult(StrEnum):
    """Results of a run, as `status.lastRun.result` of a `BotSchedule` shows them."""

    SUCCEEDED = "Succeeded"
    WAITING = "Waiting"
    INVALID_ORDER = "InvalidOrder"
    NUMBER_OF_ANOTHER = "NumberOfAnother"
    TOO_MANY_RECIPIENTS = "TooManyRecipients"
    TOKEN_EXPIRES = "TokenExpires"  # noqa: S105 - the name of a result
    TOKEN_INVALID = "TokenInvalid"  # noqa: S105 - the name of a result


class RunError(Exception):
    """The base class of both errors. An action that raises one of them has not done its work."""


class RunRefused(RunError):
    """The run can never do its work. `detail` explains the reason to people and names no contact."""

    def __init__(self, result: RunResult, detail: str, *, recipients: int = 0) -> None:
        super().__init__(f"{result}: {detail}")
        self.result = result
        self.detail = detail
        self.recipients = recipients


class NotYet(RunError):
    """Something that the run needs is still missing. The message says what is missing."""


@dataclass(frozen=True)
class ActionOutcome:
    """The outcome of an action that did its work."""

    result: RunResult = RunResult.SUCCEEDED
    detail: str = ""
    recipients: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    """How many recipients were left out, by reason."""
