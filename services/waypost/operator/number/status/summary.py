"""Derives the summary of a number from its other conditions. The code has no side effects.

The summary consists of the conditions `Ready`, `Reconciling` and `Stalled`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.contracts.condition_types import ConditionStatus, ConditionType, Reason
from waypost.operator.api.conditions import NOT_RECONCILING, NOT_STALLED, Condition, is_true, reason_of
from waypost.operator.cluster.registry_secrets import NoRoom
from waypost.operator.engine.outcome import Outcome
from waypost.operator.meta.budget import BudgetSpent
from waypost.operator.number import actions as act
from waypost.operator.number.actions import Action
from waypost.operator.number.state import MetaState, Observed, is_transient
from waypost.operator.number.status.judgement import Judged

NEEDED = (
    ConditionType.CREDENTIALS_VALID,
    ConditionType.TOKEN_VALID,
    ConditionType.REGISTERED,
    ConditionType.SUBSCRIBED,
    ConditionType.WEBHOOK_VERIFIED,
    ConditionType.BOT_LOADED,
    ConditionType.CAN_SEND,
)
"""Conditions that must be true for `Ready` to be true. `Ready` reports the first of them that is not true."""

WAITING = frozenset({Reason.WAITING_FOR_WEBHOOK, Reason.WAITING_TO_REGISTER})
"""Reasons of a wait that ends by itself, although nothing has failed."""


@dataclass(frozen=True)
class Summary:
    """The conditions to write, and the outcome of the reconcile."""

    conditions: tuple[Condition, ...]
    outcome: Outcome


def summarise(judged: Sequence[Judged], observed: Observed) -> Summary:
    """Returns all conditions, including the summary.

    `Ready` is true when each condition in `NEEDED` is true. `Stalled` is true when the number stays as it is
    until a person acts.
    """
    aspects = tuple(each.condition for each in judged)
    by_type = {each.condition.type: each for each in judged}
    failing = next((by_type[name] for name in NEEDED if name in by_type and _is_failing(by_type[name])), None)
    transient = _transient_failure(observed)
    if isinstance(refused := observed.failed.get(act.Publish), NoRoom):
        return _stalled(aspects, refused.reason, refused.message)
    if act.Publish in observed.failed:
        message = _failed(act.Publish, observed.failed[act.Publish])
        return _reconciling(aspects, _ready(ConditionStatus.FALSE, Reason.PUBLISH_FAILED, message), Outcome.FAILED)
    if failing is None:
        return _as_desired(aspects, transient)
    found = failing.condition
    message = f"{found.type}: {found.message}" if found.message else found.type
    is_false = found.status is ConditionStatus.FALSE
    if failing.needs_person or (is_false and transient is None and _was_stalled(observed, found)):
        return _stalled(aspects, found.reason, message)
    outcome = Outcome.WAITING if found.reason in WAITING else Outcome.FAILED
    return _reconciling(aspects, _ready(found.status, found.reason, message), outcome)


def in_conflict(aspects: Sequence[Condition], message: str) -> Summary:
    """Returns the summary of an object whose phone number another object holds."""
    return _stalled(tuple(aspects), Reason.CONFLICT, message)


def suspended(aspects: Sequence[Condition]) -> tuple[Condition, ...]:
    """Returns the conditions of a suspended number that is published.

    `Ready` is true, so that `kubectl wait` and GitOps tools do not wait for a suspended number.
    """
    message = (
        "spec.suspend is true: the operator changes nothing, and messages keep flowing. The other conditions are from "
        "the last look at Meta; status.unansweredSince says when that was, if it was long ago."
    )
    return (_ready(ConditionStatus.TRUE, Reason.SUSPENDED, message), *aspects, NOT_RECONCILING, NOT_STALLED)


def suspended_unpublished(aspects: Sequence[Condition]) -> tuple[Condition, ...]:
    """Returns the conditions of a suspended number that is not published.

    No message flows, and the operator does nothing about that until the number is no longer suspended.
    """
    message = (
        "spec.suspend is true, and the number has not been set up: it does not receive or send. Set spec.suspend to "
        "false."
    )
    return (_ready(ConditionStatus.FALSE, Reason.SUSPENDED, message), *aspects, NOT_RECONCILING, NOT_STALLED)


def refused(reason: Reason, message: str) -> tuple[Condition, ...]:
    """Returns the conditions of an object that cannot be used because of what its spec says."""
    return _stalled((), reason, message).conditions


def first_reconcile() -> tuple[Condition, ...]:
    """Returns the conditions of an object that is reconciled for the first time."""
    reason, message = Reason.RECONCILING, "The operator looks at the number for the first time."
    ready = _ready(ConditionStatus.UNKNOWN, reason, message)
    return (ready, _yes(ConditionType.RECONCILING, reason, message), NOT_STALLED)


def _is_failing(judged: Judged) -> bool:
    return judged.condition.status is not ConditionStatus.TRUE


def _was_stalled(observed: Observed, condition: Condition) -> bool:
    """Returns whether a person already had to act for the same reason as in `condition`.

    The answer can be True only if Meta was not asked in this reconcile.
    """
    if observed.meta is not None:
        return False
    stalled = ConditionType.STALLED
    return is_true(observed.status, stalled) and reason_of(observed.status, stalled) == condition.reason


def _transient_failure(observed: Observed) -> tuple[Reason, str] | None:
    """Returns the reason and the message of a failure that will end by itself, or None if there is no such failure."""
    meta = observed.meta or MetaState()
    for answer in (meta.token, meta.number, meta.account, meta.app):
        # A call that was put off to spare the account's budget is no failure: it is made later.
        if isinstance(answer, Exception) and is_transient(answer) and not isinstance(answer, BudgetSpent):
            message = f"Meta could not be asked ({answer}). The conditions are from the last look."
            return Reason.META_UNAVAILABLE, message
    for action, error in observed.failed.items():
        # A condition reports the first two, and a token that could not be revoked does no harm.
        if action not in (act.AwaitRoute, act.RefreshToken, act.RevokeToken):
            return Reason.ACTION_FAILED, _failed(action, error)
    return None


def _failed(action: type[Action], error: Exception) -> str:
    return f"The operator could not {action.purpose} ({error}). It tries again by itself."


def _as_desired(aspects: tuple[Condition, ...], transient: tuple[Reason, str] | None) -> Summary:
    if transient is None:
        ready = _ready(ConditionStatus.TRUE, Reason.AS_DESIRED, "The number is as desired, at Meta and in the cluster.")
        return Summary((ready, *aspects, NOT_RECONCILING, NOT_STALLED), Outcome.READY)
    ready = _ready(ConditionStatus.TRUE, Reason.AS_DESIRED, "The number was as desired when Meta was last asked.")
    return Summary((ready, *aspects, _yes(ConditionType.RECONCILING, *transient), NOT_STALLED), Outcome.FAILED)


def _stalled(aspects: tuple[Condition, ...], reason: str, message: str) -> Summary:
    ready = _ready(ConditionStatus.FALSE, reason, message)
    return Summary((ready, *aspects, NOT_RECONCILING, _yes(ConditionType.STALLED, reason, message)), Outcome.STALLED)


def _reconciling(aspects: tuple[Condition, ...], ready: Condition, outcome: Outcome) -> Summary:
    reconciling = _yes(ConditionType.RECONCILING, ready.reason, ready.message)
    return Summary((ready, *aspects, reconciling, NOT_STALLED), outcome)


def _ready(status: ConditionStatus, reason: str, message: str) -> Condition:
    return Condition(ConditionType.READY, status, reason, message)


def _yes(type_: ConditionType, reason: str, message: str) -> Condition:
    return Condition(type_, ConditionStatus.TRUE, reason, message)
