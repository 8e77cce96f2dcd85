"""The examples work as described, because people copy them."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from waypost.allowed_plugins import AllowedPlugins
from waypost.bot import BotEvent, HandOff, OptIn, OptOut, plugin
from waypost.cloudapi.messages import Buttons, List

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def support(talk: Callable[..., Any]) -> Any:
    """Returns a conversation with the support bot."""
    config_map = yaml.safe_load((EXAMPLES / "support-bot.yaml").read_text())
    return talk(config_map["data"]["bot.yaml"])


def test_the_support_bot_greets_by_name_with_a_menu(support: Any) -> None:
    """The support bot greets the contact by name. The greeting has a menu with three buttons."""
    assert support.say("Hello!") == ["Hello Ann! I am the support bot. What can I do for you?"]
    message = support.effects[0].message
    assert isinstance(message, Buttons)
    assert [button.id for button in message.buttons] == ["order", "hours", "person"]


def test_the_support_bot_takes_an_order_problem_over_several_turns(support: Any) -> None:
    """The support bot handles an order problem in a dialog of several turns.

    The dialog asks for the number, the kind of problem and a confirmation. Questions and mistakes of the contact
    do not end the dialog.
    """
    said = [
        support.press("order", "Order problem"),
        support.say("what?"),
        support.say("A-12345"),
        support.say("opening hours"),
        support.press("late", "It is late"),
        support.press("yes", "Yes"),
    ]
    assert [len(lines) for lines in said] == [1, 1, 1, 2, 1, 1]
    assert said[-1] == ["Thank you, Ann. The case for order A-12345 is open. You will hear from us within a day."]


def test_the_support_bot_lets_the_problem_be_chosen_from_a_list(support: Any) -> None:
    """The support bot lets the contact choose the problem from a list."""
    support.say("my order")
    support.say("A-12345")
    assert isinstance(support.effects[0].message, List)


def test_the_support_bot_asks_for_a_photo_of_what_is_broken(support: Any) -> None:
    """If something arrived broken, the support bot asks for a photo of it."""
    support.say("order")
    support.say("A-12345")
    assert support.say("it came broken") == ["Sorry to hear that. Please send a photo of it."]
    assert support.send(type="image") == ["Order: A-12345\nProblem: It arrived broken\nShall I open a case?"]


def test_the_support_bot_shows_the_hours_in_its_own_time_zone(support: Any) -> None:
    """The support bot shows the time in its own time zone: 12:01 UTC is 13:01 in Rome in winter."""
    assert support.say("orari?")[0].endswith("It is 13:01 here now.")


def test_the_support_bot_calls_a_person(support: Any) -> None:
    """The support bot hands the conversation to a person for two hours."""
    support.press("person", "Talk to a person")
    assert [(type(effect), effect.minutes) for effect in support.effects] == [(HandOff, 120)]


def test_the_support_bot_obeys_stop_and_start(support: Any) -> None:
    """The support bot confirms both "STOP" and "START"."""
    said = [support.say("STOP"), support.say("START")]
    assert [line.split("!")[0].split(" and")[0] for (line,) in said] == ["You are unsubscribed", "Welcome back"]


def test_the_effects_of_stop_and_start_are_consent(support: Any) -> None:
    """After "STOP" and "START", the support bot returns consent effects, not replies."""
    support.say("STOP")
    (opted_out,) = support.effects
    support.say("START")
    (opted_in,) = support.effects
    assert (type(opted_out), type(opted_in)) == (OptOut, OptIn)


def test_the_credentials_of_the_example_are_opted_in_and_fake() -> None:
    """The example Secret has the opt-in label, and its values are clearly fake.

    A reader of the example must not wonder whether a real secret was published.
    """
    secret, number = yaml.safe_load_all((EXAMPLES / "number.yaml").read_text())
    assert secret["metadata"]["labels"] == {"waypost.dev/credentials": "true"}
    assert set(secret["stringData"]) == {"appId", "appSecret", "accessToken"}
    assert all("not-real" in secret["stringData"][key] for key in ("appSecret", "accessToken"))
    assert number["spec"]["credentialsRef"]["name"] == secret["metadata"]["name"]


@pytest.fixture
def callback_bot(monkeypatch: pytest.MonkeyPatch) -> Iterator[plugin.Turn]:
    """Yields the example plugin, loaded as a worker loads it."""
    monkeypatch.syspath_prepend(EXAMPLES / "plugins")
    yield plugin.load("callback_bot:turn", AllowedPlugins.read("callback_bot:turn"))
    sys.modules.pop("callback_bot", None)


def test_the_example_plugin_offers_hours_and_stores_the_choice(callback_bot: plugin.Turn) -> None:
    """The example plugin offers hours and stores the choice of the contact.

    The plugin offers the next three full hours of a working day. On a Friday evening these hours are on Monday.
    """
    friday_evening = 1_795_190_400.0
    state, _ = callback_bot({}, BotEvent("text", text="hi", profile_name="Ann", now=friday_evening))
    chosen = state["offered"][0]
    state, _ = callback_bot(state, BotEvent("interactive", text=chosen, button_id=chosen, now=friday_evening))
    assert (chosen, state) == ("Mon 23 Nov 09:00", {"booked": "Mon 23 Nov 09:00"})


GUIDE = (Path(__file__).parents[2] / "docs" / "bot.md").read_text()
BLOCKS = [
    block
    for block in re.findall(r"```yaml[^\n]*\n(.*?)```", GUIDE, re.DOTALL)
    if not block.startswith(("bot:", "spec:"))
]
"""The YAML of the guide, except the chart's values and the spec of a number."""

PREAMBLES = {
    "version": "",
    "reply": "version: 1\nintents:\n  a:\n    keywords: [a]\n    buttons: [order, hours, late, broken]\n    ",
    "consent": "version: 1\nintents: {a: {keywords: a, reply: A}}\n",
    "time_zone": "version: 1\nintents: {a: {keywords: a, reply: A}}\n",
}
"""Lines that make a script of a block, by the block's first key."""


def test_the_guide_shows_every_section_of_a_script() -> None:
    """The guide has a YAML block for each section of a script, and each block begins with a known section.

    The next test silently skips a block that it does not recognise, so this one counts the blocks.
    """
    assert {block.partition(":")[0] for block in BLOCKS} == set(PREAMBLES)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.partition("\n")[0])
def test_the_blocks_of_the_guide_are_valid_scripts(talk: Callable[..., Any], block: str) -> None:
    """Each YAML block of the guide is valid in a script that defines everything to which the block refers."""
    preamble = PREAMBLES[block.partition(":")[0]]
    if block.startswith("reply:"):
        block = block.replace("\n", "\n    ").replace("{{slot.order}}", "{{message}}")
    assert talk(preamble + block).say("STOP")
