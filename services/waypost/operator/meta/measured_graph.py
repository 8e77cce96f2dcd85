"""The Graph API as the operator calls it: each call is counted and timed, because Meta counts them too."""

import time
from typing import Any

from waypost.cloudapi.graph.calls import Credentials
from waypost.cloudapi.graph.client import GraphClient
from waypost.cloudapi.graph.errors import GraphError
from waypost.telemetry import metrics


class MeasuredGraph(GraphClient):
    """A `GraphClient` whose calls show in `waypost_graph_call_seconds`, by method and address without ids."""

    async def call(self, method: str, template: str, credentials: Credentials | None, **how: Any) -> object:
        """See `GraphCalls.call`."""
        started, result = time.monotonic(), "cancelled"
        metrics.graph_calls_in_flight.inc()
        try:
            answer = await super().call(method, template, credentials, **how)
            result = "ok"
        except GraphError as error:
            result = type(error).__name__
            raise
        else:
            return answer
        finally:
            metrics.graph_calls_in_flight.dec()
            metrics.graph_call_seconds.labels(call=f"{method} {template}", result=result).observe(
                time.monotonic() - started
            )
