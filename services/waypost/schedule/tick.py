"""Finds the planned minute (the tick) that a Job is for.

The CronJob controller names its Jobs `<cronjob>-<minutes since 1970 of the planned time>`. The pod gets this
name from its label `batch.kubernetes.io/job-name`. Retried pods therefore have the same tick, and so does a
Job that was created twice. Source: `getJobName` in Kubernetes' pkg/controller/cronjob/utils.go.
"""

import re
from datetime import UTC, datetime, timedelta

_MINUTE = re.compile(r".+-(\d{8})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class NoTick(Exception):
    """The planned minute is unknown. The message says what to do. A retry would fail in the same way."""


def minute_of_job(name: str) -> datetime:
    """Returns the minute that the Job called `name` was planned for. Raises `NoTick`."""
    if (match := _MINUTE.fullmatch(name)) is None:
        raise NoTick("the Job's name does not end in its planned minute; give it with --at")
    return _EPOCH + timedelta(minutes=int(match[1]))


def parse_minute(text: str) -> datetime:
    """Returns the minute that a person wrote as `2026-11-24T09:00Z`. Raises `NoTick`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise NoTick("--at must be a moment with its zone, as 2026-11-24T09:00Z") from None
    if moment.tzinfo is None:
        raise NoTick("--at must end in a zone, as 2026-11-24T09:00Z")
    return moment.astimezone(UTC).replace(second=0, microsecond=0)
