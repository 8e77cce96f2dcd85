"""The context that a run gives to its action."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine

from waypost.cloudapi.graph.client import GraphClient
from waypost.contracts.order import Order
from waypost.store.schedules import Tick


@dataclass(frozen=True)
class RunContext:
    """One run of a schedule: its order and tick, and the services that it uses."""

    engine: Engine
    order: Order
    tick: Tick
    now: datetime
    """Time when this attempt began, by the database's clock."""
    traceparent: str | None
    """W3C trace context of this attempt. It is stored with the messages that the attempt queues."""
    registry_dir: Path
    graph: Callable[[], GraphClient]
    """Returns a new client of the Graph API; the caller closes it."""
