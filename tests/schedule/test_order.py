"""Tests of reading a run's order."""

import json
from typing import Any

import pytest

from waypost.contracts import order
from waypost.contracts.order import InvalidOrder
from waypost.schedule.actions.action import ActionModel
from waypost.schedule.actions.message import MessageAction
from waypost.schedule.actions.token_check import TokenCheckAction
from waypost.schedule.run import parse_action

from .conftest import message_order

TO = ["+393331234567"]


def load(content: dict[str, Any]) -> ActionModel:
    """Returns the action of an order."""
    _, _, action = parse_action(order.load(json.dumps(content).encode())).chosen
    return action


def test_a_template_is_sent_with_its_components_as_written() -> None:
    """The components of a template are sent as written. They have Meta's own form, and Meta checks them."""
    components = [{"type": "body", "parameters": [{"type": "text", "text": "Monday"}]}]
    template = {"name": "weekly_news", "language": "it", "components": components}
    action = load(message_order(TO, template=template))
    assert isinstance(action, MessageAction)
    assert action.body() == {
        "type": "template",
        "template": {"name": "weekly_news", "language": {"code": "it"}, "components": components},
    }


def test_a_text_is_sent_as_text() -> None:
    """A text in an order is sent as a text message. Texts reach only contacts whose window is open."""
    action = load(message_order(TO, template=None, text="hello"))
    assert isinstance(action, MessageAction)
    assert action.body() == {"type": "text", "text": {"body": "hello", "preview_url": False}}


def test_a_token_check_is_an_action_too() -> None:
    """An order may contain a token check. The fields of a token check have defaults."""
    content = message_order(TO) | {"action": {"tokenCheck": {}}}
    assert load(content) == TokenCheckAction.model_validate({"warnDays": 14})


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"action": {}}, id="no action"),
        pytest.param({"action": {"report": {}}}, id="an action of another version"),
        pytest.param({"action": {"tokenCheck": {}, "message": {"audience": {}}}}, id="two actions"),
        pytest.param({"uid": 7}, id="wrong type"),
        pytest.param({"surprise": True}, id="unknown field"),
        pytest.param(message_order(TO, quietHours={"from": "25:00", "to": "08:00"}), id="no time of day"),
        pytest.param(message_order(TO, text="nul \0"), id="a NUL character"),
    ],
)
def test_an_invalid_order_is_refused(change: dict[str, Any]) -> None:
    """An invalid order is refused, and the error names no contact."""
    with pytest.raises(InvalidOrder) as refused:
        load(message_order(TO) | change)
    assert TO[0] not in str(refused.value)


@pytest.mark.parametrize("action", [{"text": "both"}, {"template": None}], ids=["both", "none"])
def test_a_message_has_either_a_template_or_a_text(action: dict[str, Any]) -> None:
    """A message needs either a template or a text. With both or none, the message is undefined."""
    with pytest.raises(InvalidOrder, match="exactly one of template and text"):
        load(message_order(TO, **action))


def test_a_message_that_meta_would_refuse_is_an_invalid_order() -> None:
    """An order whose message Meta would refuse is invalid, because the message would fail for every recipient."""
    message = load(message_order(TO, template=None, text=" "))
    assert isinstance(message, MessageAction)
    with pytest.raises(InvalidOrder):
        message.body()


def test_the_repr_of_an_order_names_no_contact() -> None:
    """The repr of an order names no contact, because a repr may be written into a log."""
    content = message_order(TO)
    parsed = order.load(json.dumps(content).encode())
    assert TO[0] not in f"{parsed!r} {parsed} {parse_action(parsed)!r} {parse_action(parsed)}"


def test_the_repr_of_a_part_of_a_message_names_no_contact_and_no_parameter() -> None:
    """The repr of an audience or of a template contains no contact and no parameter.

    These parts of a message may be written into a log by themselves.
    """
    components = [{"type": "body", "parameters": [{"type": "text", "text": "canary"}]}]
    template = {"name": "weekly_news", "language": "it", "components": components}
    message = load(message_order(TO, template=template))
    assert isinstance(message, MessageAction)
    shown = f"{message.audience!r} {message.audience} {message.template!r} {message.template}"
    assert TO[0] not in shown
    assert "canary" not in shown
