"""Calls to Meta are counted, since Meta counts them too."""

import httpx
import pytest

from waypost.cloudapi.graph.calls import Credentials
from waypost.cloudapi.graph.errors import GraphRefused
from waypost.operator.meta.measured_graph import MeasuredGraph
from waypost.telemetry import metrics


def calls(call: str, result: str) -> float:
    """Returns how many calls with this result were counted."""
    samples = next(iter(metrics.graph_call_seconds.collect())).samples
    wanted = {"call": call, "result": result}
    return sum(each.value for each in samples if each.name.endswith("_count") and each.labels == wanted)


@pytest.mark.anyio
async def test_each_call_is_counted_by_its_address_without_ids() -> None:
    """Each kind of call has one time series for all numbers, and one more for each kind of failure."""
    answers = iter([httpx.Response(200, json={"id": "1"}), httpx.Response(400, json={"error": {"code": 100}})])
    call = "GET /{phone_number_id}"
    before = calls(call, "ok"), calls(call, "GraphRefused")
    async with MeasuredGraph(
        "https://graph.test", "v26.0", transport=httpx.MockTransport(lambda _: next(answers))
    ) as graph:
        await graph.phone_number(Credentials("token"), "106540352242922")
        with pytest.raises(GraphRefused):
            await graph.phone_number(Credentials("token"), "106540352242922")
    assert (calls(call, "ok"), calls(call, "GraphRefused")) == (before[0] + 1, before[1] + 1)
