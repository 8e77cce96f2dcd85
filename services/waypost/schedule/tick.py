"""Which tick of the schedule a Job is for.

The CronJob controller names its Jobs `<cronjob>-<minutes since 1970 of the planned time>`, and the pod learns the
name by its label `batch.kubernetes.io/job-name`: so retried pods, and a Job made twice, know that they are the same.
Source: `getJobName` in Kubernetes' pkg/controller/cronjob/utils.go.
"""

import re
from datetime import UTC, datetime, timedelta

_MINUTE = re.compile(r".+-(\d{8})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NoTick(Exception):
    """It cannot be told which tick is meant; says what to do instead. A retry changes nothing."""


def of_job(name: str) -> datetime:
    """The minute that the Job called `name` was planned for. Raises `NoTick`."""
    if (match := _MINUTE.fullmatch(name)) is None:
        raise NoTick("the Job's name does not end in the minute it was planned for; say which with --at")
    return _EPOCH + timedelta(minutes=int(match[1]))


def of_moment(written: str) -> datetime:
    """A minute as a person writes it, `2026-11-24T09:00Z`. Raises `NoTick`."""
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        raise NoTick("--at must be a moment with its zone, as 2026-11-24T09:00Z") from None
    if moment.tzinfo is None:
        raise NoTick("--at needs a zone at its end, as 2026-11-24T09:00Z")
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
