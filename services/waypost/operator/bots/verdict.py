"""Decides the condition `BotHealthy` from what workers report. The code has no side effects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from waypost.contracts.bot_states import FAILURES, FIRST_FAILURES, BotState
from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import Condition, find, reason_of, status_of, timestamp
from waypost.operator.number.status import remedies

_REMEDIES = {
    Reason.PLUGIN_NOT_LOADED: ("The workers cannot import the plugin", remedies.REPAIR_PLUGIN),
    Reason.PLUGIN_NOT_ALLOWED: ("The platform does not allow the plugin", remedies.ALLOW_PLUGIN),
    Reason.SCRIPT_REFUSED: ("The workers cannot use the script", remedies.REPAIR_SCRIPT),
    Reason.TURNS_FAIL: ("The last turns of the bot have all failed", remedies.REPAIR_BOT),
}


@dataclass(frozen=True)
class BotVerdict:
    """What is known of one number's bot. If two verdicts are equal, the condition need not be written again."""

    status: ConditionStatus
    reason: str
    message: str
    looked_at: float | None = field(default=None, compare=False)
    """When a worker answered last, in seconds since 1970; None if none has answered yet."""


def verdict(states: Sequence[BotState], looked_at: float) -> BotVerdict:
    """Returns the verdict about a number. `states` are the reports of the workers, and may be empty.

    A worker that has answered after another one's failure counts. Failures in a row of several workers add up.
    """
    answered = [each.answered_at for each in states if each.answered_at is not None]
    last_answer = max(answered, default=None)
    failing = [each for each in states if each.failures and (each.failed_at or 0) > (last_answer or 0)]
    blamed = [each for each in failing if each.healthy is False]
    enough = FIRST_FAILURES if last_answer is None else FAILURES
    if not blamed and failing and sum(each.failures for each in failing) >= enough:
        blamed = failing
    if blamed:
        return _failing(min(blamed, key=lambda each: each.since), looked_at)
    if last_answer is not None:
        return BotVerdict(ConditionStatus.TRUE, Reason.ANSWERS, "The last turn of the bot has succeeded.", looked_at)
    message = "No worker has needed the bot since the bot was changed or the workers were started."
    return BotVerdict(ConditionStatus.UNKNOWN, Reason.NOT_TRIED, message, looked_at)


def unasked(looked_at: float | None) -> BotVerdict:
    """Returns the verdict about every number while no worker answers the operator."""
    return BotVerdict(ConditionStatus.UNKNOWN, Reason.WORKERS_NOT_ASKED, "No worker answers the operator.", looked_at)


def _failing(state: BotState, looked_at: float) -> BotVerdict:
    reason = state.reason if state.reason in _REMEDIES else Reason.TURNS_FAIL
    what, remedy = _REMEDIES[Reason(reason)]
    details = ": ".join(each for each in (state.error, state.where) if each)
    message = f"{what}{f' ({_printable(details)})' if details else ''}. {remedy}"
    return BotVerdict(ConditionStatus.FALSE, reason, message, looked_at)


def _printable(text: str) -> str:
    """Returns the text in one line. The text was chosen by the author of a bot."""
    return "".join(each if each.isprintable() else " " for each in text)


def condition(found: BotVerdict | None, status: Mapping[str, Any]) -> Condition | None:
    """Returns the condition `BotHealthy` of a number with a bot.

    If the workers have not been asked, the function returns the condition that the status has already, or None. The
    message of an unknown state contains the time of the last answer. As long as the state stays unknown for the same
    reason, the message stays the same, so that the status is not written again.
    """
    type_ = ConditionType.BOT_HEALTHY
    written = find(status, type_)
    is_same_unknown = (
        found is not None
        and found.status is ConditionStatus.UNKNOWN
        and status_of(written) is ConditionStatus.UNKNOWN
        and reason_of(status, type_) == found.reason
    )
    if found is None or is_same_unknown:
        if written is None:
            return None
        return Condition(type_, status_of(written), str(written.get("reason") or ""), str(written.get("message") or ""))
    message = found.message
    if found.status is ConditionStatus.UNKNOWN:
        last = "none before" if found.looked_at is None else timestamp(found.looked_at)
        message = f"{message} Last answer of a worker: {last}."
    return Condition(type_, found.status, found.reason, message)
