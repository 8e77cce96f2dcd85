"""The order of a run is a JSON file.

The operator writes the order into the schedule's Secret, and `waypost schedule run` reads it. The order
contains contacts and texts, so it belongs in a Secret.
"""

import json
from typing import Any

from pydantic import ConfigDict, ValidationError

from waypost.contracts.fields import Confidential


class InvalidOrder(Exception):
    """The order is invalid. The error message names the field, never a value. A retry does not help."""


class Order(Confidential):
    """The work that every run of one schedule does."""

    model_config = ConfigDict(populate_by_name=True)

    uid: str
    """Uid of the `BotSchedule`; with the planned minute it identifies a run."""
    namespace: str
    name: str
    number: str
    """Name of the `WhatsAppNumber`, in the same namespace."""
    number_id: str
    time_zone: str
    """The schedule's time zone. It is also used for recipients whose own time zone is unknown."""
    action: dict[str, Any]
    """`spec.action` of the schedule, with its defaults filled in. `schedule.actions.table.Action` is the model
    for it."""

    def to_json(self) -> bytes:
        """Returns the content of the order's file. Equal orders give equal bytes."""
        return json.dumps(self.model_dump(by_alias=True), ensure_ascii=False, sort_keys=True).encode()


def load(content: bytes) -> Order:
    """Reads an order from the content of a file. Raises `InvalidOrder`."""
    if b"\\u0000" in content:
        raise InvalidOrder("the order contains a NUL character, which no message may contain")
    try:
        parsed = json.loads(content)
    except ValueError:
        raise InvalidOrder("the order is not JSON") from None
    return convert(parsed)


def convert(content: Any) -> Order:
    """Converts parsed JSON to an order. Raises `InvalidOrder`."""
    try:
        return Order.model_validate(content)
    except ValidationError as error:
        raise InvalidOrder(explain(error)) from None


def explain(error: ValidationError, *, within: str = "") -> str:
    """Returns one sentence about the first problem of an order. The sentence names the field, but no value."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in ((within,) if within else ()) + problem["loc"])
    return f"the order is not one of this version: {problem['msg']}{f' (at {place})' if place else ''}"
