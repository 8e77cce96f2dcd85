"""Counts and times each call of the operator to the Graph API, because Meta counts the calls too."""

import time
from typing import Any

from waypost.cloudapi.graph.calls import Credentials
from waypost.cloudapi.graph.client import GraphClient
from waypost.cloudapi.graph.errors import GraphError
from waypost.telemetry import metrics


class MeasuredGraph(GraphClient):
    """A `GraphClient` that measures its calls in `waypost_graph_call_seconds`.

    The metric has labels for the method and for the address without ids.
    """

    async def call(self, method: str, template: str, credentials: Credentials | None, **how: Any) -> object:
        """Makes a call and measures it; see `GraphCalls.call`."""
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
