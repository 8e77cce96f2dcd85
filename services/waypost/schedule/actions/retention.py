"""The action `retention`: erases old messages. This version accepts the action but cannot perform it."""

from waypost.contracts.fields import Duration
from waypost.schedule.actions.action import ActionModel, PodNeeds, ScheduleAction, everything_is_supported


class RetentionAction(ActionModel):
    """Erase messages that are older than the number's retention."""

    messages: Duration | None = None
    """Age at which messages are erased; by default the age in the number's own `retention`."""


ACTION = ScheduleAction(
    model=RetentionAction,
    pod=PodNeeds(access_token=False),
    run=None,
    unsupported=everything_is_supported,
    sends_messages=False,
)
