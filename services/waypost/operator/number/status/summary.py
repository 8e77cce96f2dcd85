"""From the sides of a number to its summary: `Ready`, and whether it heals by itself. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.operator.api.conditions import Condition
from waypost.operator.engine.outcome import Outcome
from waypost.operator.meta.budget import BudgetSpent
from waypost.operator.number.state import AtMeta, Observed, passes
from waypost.operator.number.status.judgement import Judged

NEEDED = ("CredentialsValid", "TokenValid", "Registered", "Subscribed", "WebhookVerified", "BotLoaded", "CanSend")
"""In the order in which a failing one is told: the first is what to look at first."""

WAITING = frozenset({"WaitingForWebhook", "WaitingToRegister"})


@dataclass(frozen=True)
class Summary:
    """The conditions to write, and how the reconcile ended."""

    conditions: tuple[Condition, ...]
    outcome: Outcome


def summarise(judged: Sequence[Judged], observed: Observed) -> Summary:
    """`Ready` is true when every side that is needed is; `Stalled` when only a person can go on."""
    parts = tuple(each.condition for each in judged)
    by_type = {each.condition.type: each for each in judged}
    failing = next((by_type[name] for name in NEEDED if name in by_type and _is_failing(by_type[name])), None)
    trouble = _trouble(observed)
    if observed.rival is not None:
        message = f"{observed.rival} claims this phone number and is older; delete one of the two"
        return _stalled(parts, "Conflict", message)
    if "Publish" in observed.failed:
        message = f"the data plane could not be told: {observed.failed['Publish']}"
        return _reconciling(parts, Condition("Ready", "False", "PublishFailed", message), "failed")
    if failing is None and trouble is None:
        ready = Condition("Ready", "True", "AsDesired", "the number is as desired at Meta and in the cluster")
        return Summary((ready, *parts, _no("Reconciling"), _no("Stalled")), "ready")
    if failing is None:
        ready = Condition("Ready", "True", "AsDesired", "the number was as desired when Meta was last asked")
        return Summary((ready, *parts, _yes("Reconciling", *trouble or ("", "")), _no("Stalled")), "failed")
    found = failing.condition
    message = f"{found.type}: {found.message}" if found.message else found.type
    if failing.needs_person or (found.status == "False" and trouble is None and _was_stalled(observed, found)):
        return _stalled(parts, found.reason, message)
    outcome: Outcome = "waiting" if found.reason in WAITING else "failed"
    return _reconciling(parts, Condition("Ready", found.status, found.reason, message), outcome)


def suspended(parts: Sequence[Condition]) -> tuple[Condition, ...]:
    """Of a number that nothing is changed of: that is as desired, and healthy in the eyes of whoever waits for it."""
    ready = Condition("Ready", "True", "Suspended", "spec.suspend is true: nothing is changed, messages keep flowing")
    return (ready, *parts, _no("Reconciling"), _no("Stalled"))


def refused(reason: str, message: str) -> tuple[Condition, ...]:
    """Of an object that cannot be used as it is written."""
    return _stalled((), reason, message).conditions


def beginning() -> tuple[Condition, ...]:
    """Of an object that was just met."""
    what = ("Reconciling", "the number is being looked at for the first time")
    return (Condition("Ready", "Unknown", *what), _yes("Reconciling", *what), _no("Stalled"))


def _is_failing(judged: Judged) -> bool:
    return judged.condition.status != "True"


def _was_stalled(observed: Observed, condition: Condition) -> bool:
    """Where Meta was not looked at this time, who must act is what was said last time."""
    if observed.meta is not None:
        return False
    return any(
        each.get("type") == "Stalled" and each.get("status") == "True" and each.get("reason") == condition.reason
        for each in observed.status.get("conditions") or ()
        if isinstance(each, dict)
    )


def _trouble(observed: Observed) -> tuple[str, str] | None:
    """What went wrong for a passing reason, if anything did."""
    meta = observed.meta or AtMeta()
    for answer in (meta.token, meta.number, meta.account, meta.app):
        # A look that was put off to spare the account's calls is no trouble: it comes later.
        if isinstance(answer, Exception) and passes(answer) and not isinstance(answer, BudgetSpent):
            return "MetaUnavailable", f"Meta could not be asked, what is told is from the last look: {answer}"
    for name, error in observed.failed.items():
        if name not in ("AwaitRoute", "RefreshToken", "RevokeToken"):
            return "ActionFailed", f"{name} failed: {error}"
    return None


def _stalled(parts: tuple[Condition, ...], reason: str, message: str) -> Summary:
    ready = Condition("Ready", "False", reason, message)
    return Summary((ready, *parts, _no("Reconciling"), _yes("Stalled", reason, message)), "stalled")


def _reconciling(parts: tuple[Condition, ...], ready: Condition, outcome: Outcome) -> Summary:
    return Summary((ready, *parts, _yes("Reconciling", ready.reason, ready.message), _no("Stalled")), outcome)


def _yes(type_: str, reason: str, message: str) -> Condition:
    return Condition(type_, "True", reason, message)


def _no(type_: str) -> Condition:
    return Condition(type_, "False", f"Not{type_}")
