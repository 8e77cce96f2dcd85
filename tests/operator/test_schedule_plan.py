"""Tables of decisions about a schedule: which number it may use, and what the API server's refusals mean."""

from typing import Any

import pytest

from waypost.contracts.condition_types import ConditionType, Reason
from waypost.operator.api.schedule_models import ScheduleSpec
from waypost.operator.cluster.interface import ClusterRefused
from waypost.operator.engine.outcome import Outcome
from waypost.operator.schedule.plan import conditions, outcome, plan, refusal

from .schedules import FALSE, TRUE, message, number, number_status, schedule

SELECTOR = {"audience": {"selector": {"tags": ["vip"]}}}


def spec(**changes: Any) -> ScheduleSpec:
    """Returns a valid spec."""
    return ScheduleSpec.model_validate(schedule(**changes)["spec"])


@pytest.mark.parametrize(
    ("status", "is_bound", "reason"),
    [
        pytest.param(number_status(), False, None, id="as desired"),
        pytest.param(number_status(FALSE, Reason.TOKEN_EXPIRED), False, None, id="connected, and failing"),
        pytest.param(
            number_status(FALSE, Reason.TOKEN_REVOKED, registered=FALSE),
            False,
            Reason.NUMBER_NOT_READY,
            id="never connected",
        ),
        pytest.param({}, False, Reason.NUMBER_NOT_READY, id="not reconciled yet"),
        pytest.param(
            number_status(FALSE, Reason.TOKEN_REVOKED, registered=FALSE), True, None, id="bound, then failing"
        ),
        pytest.param(
            number_status(FALSE, Reason.CONFLICT),
            True,
            Reason.NUMBER_CONFLICT,
            id="another object has the phone number",
        ),
    ],
)
def test_a_number_is_used_once_its_own_credentials_reached_it(
    status: dict[str, Any], is_bound: bool, reason: Reason | None
) -> None:
    """A schedule may use a number only after the number was connected with its own credentials.

    A user who writes another team's `phoneNumberId` into their own object cannot send from that number.
    """
    planned = plan(spec(), number() | {"status": status}, has_cron_job=True, is_bound=is_bound)
    assert (planned.obstacle.reason if planned.obstacle else None) == reason
    assert (planned.write_order, planned.suspend) == (reason is None, reason is not None)


@pytest.mark.parametrize("gone", [None, number() | {"metadata": {"deletionTimestamp": "2026-11-23T09:00:00Z"}}])
def test_without_its_number_no_run_starts(gone: Any) -> None:
    """Without its number, a schedule starts no run: an existing CronJob is suspended, and no new one is created."""
    for has_cron_job in (True, False):
        planned = plan(spec(), gone, has_cron_job=has_cron_job, is_bound=True)
        assert planned.obstacle is not None
        assert planned.obstacle.reason == Reason.NUMBER_NOT_FOUND
        assert (planned.cron_job, planned.suspend) == (has_cron_job, True)


@pytest.mark.parametrize("action", [{"report": {}}, {"retention": {}}, message(**SELECTOR)])
def test_an_unsupported_action_is_reported_before_a_run(action: dict[str, Any]) -> None:
    """An unsupported action is reported before any run, and a person must change the spec."""
    planned = plan(spec(action=action), number() | {"status": number_status()}, has_cron_job=False, is_bound=False)
    assert planned.obstacle is not None
    assert (planned.obstacle.reason, outcome(planned.obstacle)) == (Reason.NOT_SUPPORTED, Outcome.STALLED)


@pytest.mark.parametrize(
    ("reason", "text", "expected", "ends"),
    [
        (
            "Invalid",
            'spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone',
            Reason.INVALID_TIME_ZONE,
            Outcome.STALLED,
        ),
        (
            "Invalid",
            'spec.schedule: Invalid value: "61 * * * *": end of range',
            Reason.INVALID_SCHEDULE,
            Outcome.STALLED,
        ),
        ("Invalid", "spec.jobTemplate: Invalid value", Reason.CRON_JOB_INVALID, Outcome.STALLED),
        ("Forbidden", "exceeded quota", Reason.CRON_JOB_REFUSED, Outcome.FAILED),
    ],
)
def test_the_api_servers_refusal_becomes_a_reason(reason: str, text: str, expected: Reason, ends: Outcome) -> None:
    """A refusal by the API server becomes a reason of a condition.

    The API server's own words are passed on if the user can act on them.
    """
    obstacle = refusal(ClusterRefused(reason, text))
    assert (obstacle.reason, outcome(obstacle)) == (expected, ends)
    assert (text in obstacle.message) == (ends == Outcome.STALLED)


def test_a_suspended_schedule_is_ready() -> None:
    """A suspended schedule is ready, because suspending is not a failure and must not cause an alert."""
    ready = conditions(spec(suspend=True), None)[0]
    assert (ready.type, ready.status, ready.reason) == (ConditionType.READY, TRUE, Reason.SUSPENDED)


@pytest.mark.parametrize(
    ("action", "is_bound", "reason"),
    [
        pytest.param({"tokenCheck": {}}, False, Reason.NUMBER_NOT_READY, id="a token check needs the entry"),
        pytest.param({"tokenCheck": {}}, True, None, id="bound: the previous version published it"),
        pytest.param(message(), False, None, id="a message needs no entry"),
    ],
)
def test_a_token_check_waits_until_its_number_is_published(
    action: dict[str, Any], is_bound: bool, reason: Reason | None
) -> None:
    """The CronJob of a token check is created only after its number is published.

    The pod of a run mounts the Secret with the number's entry, and would wait for this Secret.
    """
    status = {key: value for key, value in number_status().items() if key != "registryShard"}
    planned = plan(spec(action=action), number() | {"status": status}, has_cron_job=False, is_bound=is_bound)
    assert (planned.obstacle.reason if planned.obstacle else None) == reason
