"""The action `report`: a report on the number's traffic. This version accepts the action but cannot perform it."""

from typing import Literal

from waypost.schedule.actions.action import ActionModel, PodNeeds, ScheduleAction, everything_is_supported


class ReportAction(ActionModel):
    """Write a report on the number's traffic."""

    period: Literal["Day", "Week", "Month"] = "Day"
    """Period of the report: the last full day, week or month in the schedule's time zone."""
    format: Literal["CSV", "JSON"] = "CSV"
    """Format in which the report is written."""


ACTION = ScheduleAction(
    model=ReportAction,
    pod=PodNeeds(access_token=False),
    run=None,
    unsupported=everything_is_supported,
    sends_messages=False,
)
