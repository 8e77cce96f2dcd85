"""The table of all actions, and the model of `spec.action`, which contains exactly one of them."""

from typing import Any, Final

from pydantic import ConfigDict

from waypost.contracts.fields import Strict, exactly_one, one_of, rules
from waypost.schedule.actions import message, report, retention, token_check
from waypost.schedule.actions.action import ActionModel, ScheduleAction
from waypost.schedule.actions.message import MessageAction
from waypost.schedule.actions.report import ReportAction
from waypost.schedule.actions.retention import RetentionAction
from waypost.schedule.actions.token_check import TokenCheckAction

ACTIONS: Final[dict[str, ScheduleAction[Any]]] = {
    "message": message.ACTION,
    "report": report.ACTION,
    "tokenCheck": token_check.ACTION,
    "retention": retention.ACTION,
}
"""All actions, each by its name in `spec.action`."""


class Action(Strict):
    """Action that a run performs."""

    model_config = ConfigDict(json_schema_extra=rules(one_of(*ACTIONS)))

    message: MessageAction | None = None
    """Send a message to an audience, as a template or as text."""
    report: ReportAction | None = None
    """Write a report on the number's traffic. This version cannot carry it out: such a schedule is not supported, and
    its condition says so."""
    token_check: TokenCheckAction | None = None
    """Ask Meta whether the number's access token is still valid, and warn before it expires."""
    retention: RetentionAction | None = None
    """Erase messages that are older than allowed. This version cannot carry it out: such a schedule is not supported,
    and its condition says so."""

    _one_action = exactly_one(*ACTIONS)

    @property
    def chosen(self) -> tuple[str, ScheduleAction[Any], ActionModel]:
        """The name of the given action, its entry in the table, and its fields."""
        (found,) = (
            (field.alias, model)
            for name, field in type(self).model_fields.items()
            if field.alias is not None and (model := getattr(self, name)) is not None
        )
        name, model = found
        return name, ACTIONS[name], model


def unsupported(action: Action) -> str | None:
    """Returns the path of the field that this version cannot carry out, such as `spec.action.report`, or None."""
    name, entry, model = action.chosen
    if entry.run is None:
        return f"spec.action.{name}"
    field = entry.unsupported(model)
    return None if field is None else f"spec.action.{name}.{field}"
