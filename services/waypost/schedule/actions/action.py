"""The parts that every action of a schedule has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from waypost.contracts.fields import Confidential

if TYPE_CHECKING:
    from waypost.schedule.context import RunContext
    from waypost.schedule.outcome import ActionOutcome


class ActionModel(Confidential):
    """The fields of one action, as the custom resource and the order of a run hold them."""


Model = TypeVar("Model", bound=ActionModel)


@dataclass(frozen=True)
class PodNeeds:
    """Says what the pod of a run needs in addition to the database and its order."""

    access_token: bool
    """Whether the registry entry of the schedule's number, which holds its access token, is mounted."""


@dataclass(frozen=True)
class ScheduleAction(Generic[Model]):
    """An entry of the table of actions: everything that the operator and a run must know about one action."""

    model: type[Model]
    pod: PodNeeds
    run: "Callable[[RunContext, Model], ActionOutcome] | None"
    """Performs the action; raises the errors of `schedule.outcome`. It is None if this version cannot perform the
    action."""
    unsupported: Callable[[Model], str | None]
    """Returns the name of a field of the action that this version cannot carry out, or None if there is no such
    field."""
    sends_messages: bool
    """Whether the action queues messages. If so, a run waits a while for their outcome before it reports."""


def everything_is_supported(_model: ActionModel) -> str | None:
    """Returns None, because this version supports every field of the action."""
    return None
