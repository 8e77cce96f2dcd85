"""The fast path for simple deliveries gives the same events as `framing`."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from waypost.cloudapi.inbound import fast_path
from waypost.cloudapi.inbound.delivery import Event, EventKind, split

from .deliveries import METADATA, NUMBER, SAMPLES, change, delivery, text_message

NOTHING = {"field": "messages", "value": {"messaging_product": "whatsapp", "metadata": METADATA}}
"""A change without events. A delivery that contains it does not take the fast path."""


def both(part: dict[str, Any]) -> tuple[list[object], list[object]]:
    """Returns the events of a change twice: by the path that `split` chooses, and by `framing`."""
    alone, beside = (split(delivery(*parts), default_number="default") for parts in ((part,), (part, NOTHING)))
    return list(map(_comparable, alone)), list(map(_comparable, beside))


def _comparable(event: Event) -> object:
    """Returns the part of an event that must be equal on both paths.

    An unreadable delivery is kept whole, together with the change beside it. Only its kind and problem are
    therefore compared.
    """
    return (event.kind, event.problem) if event.kind is EventKind.UNPARSEABLE else event


@pytest.mark.parametrize("part", SAMPLES.values(), ids=SAMPLES.keys())
def test_every_documented_delivery_is_the_same_on_both_paths(part: dict[str, Any]) -> None:
    """Every documented delivery gives the same events on both paths."""
    alone, beside = both(part)
    assert alone == beside


ids = st.one_of(st.none(), st.sampled_from(["", "1555", "+1555", "1666", "US.abc", "IT.x", "\0", "é", 5]))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "contacts": st.lists(st.fixed_dictionaries({}, optional={"wa_id": ids, "user_id": ids}), max_size=2),
            "messages": st.lists(
                st.fixed_dictionaries(
                    {"type": st.sampled_from(["text", "system"])},
                    optional={"id": ids, "from": ids, "from_user_id": ids, "timestamp": st.one_of(ids, st.floats())},
                ),
                max_size=2,
            ),
            "statuses": st.lists(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "id": ids,
                        "status": ids,
                        "recipient_id": ids,
                        "recipient_user_id": ids,
                        "recipient_type": st.sampled_from(["group", "individual"]),
                    },
                ),
                max_size=1,
            ),
            "errors": st.just([]),
            "new_member": st.just(1),
            "metadata": st.sampled_from([{}, {"phone_number_id": 7}, {"phone_number_id": "\ud800"}, "x", None]),
        },
    )
)
@example({"messages": [{"id": "w", "from": "1555"}], "contacts": [{"wa_id": "1555"}]})
@example({"metadata": {"phone_number_id": "\ud800"}})
@example({"messages": [{"id": "w"}], "contacts": [{"wa_id": "1555", "user_id": "US.abc"}]})
@example({"statuses": [{"id": "w", "status": "read", "recipient_id": "1555"}], "contacts": [{"wa_id": "1666"}]})
def test_any_change_is_the_same_on_both_paths(members: dict[str, Any]) -> None:
    """Any change gives the same events on both paths.

    The contacts of the change may match its messages or not. Ids may be missing or odd. Members may be unknown.
    """
    alone, beside = both({"field": "messages", "value": {"metadata": METADATA, **members}})
    assert alone == beside


def test_a_message_and_a_status_take_the_fast_path() -> None:
    """A message and a status take the fast path, which was written for such deliveries."""
    message = change(messages=[text_message("wamid.1")], contacts=[{"profile": {"name": "A"}, "wa_id": "16505551234"}])
    status = change(statuses=[{"id": "wamid.1", "status": "read", "timestamp": "1", "recipient_id": "16505551234"}])
    for part in (message, status):
        event = fast_path.event_of(delivery(part), "default")
        assert event is not None
        assert event.number_id == NUMBER


def test_the_last_of_two_equal_names_counts_on_both_paths() -> None:
    """If a name occurs twice, the last value counts on both paths.

    JSON does not define which value counts. The inbox must not depend on the path.
    """
    body = delivery(change(messages=[text_message("wamid.1")])).decode()
    twice = body.replace('"messages":[', '"messages":[],"messages":[', 1).encode()
    (event,) = split(twice, default_number="default")
    assert event.key == "wamid.1"
    assert json.loads(event.payload)["value"]["messages"][0]["id"] == "wamid.1"
