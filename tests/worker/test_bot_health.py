"""Tests what a worker reports about the bots that it has tried."""

import msgspec
import pytest

from waypost.contracts.bot_states import BotState, BotStates
from waypost.contracts.condition_types import Reason
from waypost.contracts.registry import Number
from waypost.worker.bot_health import BotHealth
from waypost.worker.bots import Bots

from .test_scripts import BROKEN, FIRST, SECOND, Worker, number


class Report:
    """A worker's report about one number, on a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.numbers = {"100": number(FIRST)}
        self.refused: dict[str, str] = {}
        self.health = BotHealth(lambda: self.numbers, lambda: self.refused, clock=lambda: self.now)

    @property
    def number(self) -> Number:
        """Returns the number as the registry has it now."""
        return self.numbers["100"]

    def fail(self, times: int = 1, reason: Reason = Reason.TURNS_FAIL, error: str = "KeyError") -> None:
        """Records failed turns, one per second."""
        for _ in range(times):
            self.now += 1
            self.health.failed(self.number, reason, error=error, where="our_bot:7 in turn")

    def answer(self) -> None:
        """Records a turn that has succeeded."""
        self.now += 1
        self.health.answered(self.number)

    def state(self) -> BotState | None:
        """Returns what the document says about the number."""
        found = msgspec.json.decode(self.health.document(), type=BotStates).bots
        assert len(found) <= 1
        return found[0] if found else None

    def summary(self) -> tuple[bool | None, str] | None:
        """Returns whether the bot is healthy, and the reason."""
        found = self.state()
        return None if found is None else (found.healthy, found.reason)


def test_a_bot_that_was_not_tried_is_not_reported() -> None:
    """Only turns show whether a bot answers."""
    assert Report().summary() is None


def test_a_bot_that_answers_is_healthy() -> None:
    """The report has the time of the last answer."""
    report = Report()
    report.answer()
    report.answer()
    assert report.summary() == (True, Reason.ANSWERS)
    found = report.state()
    assert found is not None
    assert (found.since, found.answered_at) == (101.0, 102.0)


@pytest.mark.parametrize(("has_answered", "enough"), [(True, 5), (False, 3)])
def test_a_bot_is_blamed_after_enough_failures_in_a_row(*, has_answered: bool, enough: int) -> None:
    """A bot that has answered before may fail for a single message, which has three attempts."""
    report = Report()
    if has_answered:
        report.answer()
    report.fail(enough - 1)
    assert report.summary() == ((True, Reason.ANSWERS) if has_answered else (None, Reason.NOT_TRIED))
    report.fail()
    assert report.summary() == (False, Reason.TURNS_FAIL)
    report.answer()
    assert report.summary() == (True, Reason.ANSWERS)


def test_the_failure_that_began_it_is_described() -> None:
    """A bot that fails differently each time must not change the number's status each time."""
    report = Report()
    report.fail(error="KeyError")
    report.fail(5, error="ValueError")
    found = report.state()
    assert found is not None
    assert (found.error, found.where, found.since, found.failures) == ("KeyError", "our_bot:7 in turn", 101.0, 6)


def test_a_bot_that_cannot_be_used_is_blamed_at_once() -> None:
    """A plugin that cannot be imported will not be importable for the next message either."""
    report = Report()
    report.fail(reason=Reason.PLUGIN_NOT_LOADED, error="PluginNotLoaded")
    assert report.summary() == (False, Reason.PLUGIN_NOT_LOADED)


def test_another_bot_begins_with_a_clean_record() -> None:
    """What is known of the bot before says nothing about the new one."""
    report = Report()
    report.fail(5)
    report.numbers = {"100": number(SECOND)}
    assert report.summary() is None
    report.numbers = {}
    assert report.summary() is None


def test_a_refused_script_is_reported_before_a_message_needs_it() -> None:
    """The worker compiles what is in the registry, so it knows early."""
    worker = Worker(number(FIRST), number(BROKEN, "101"))
    health = BotHealth(lambda: worker.registry, worker.scripts.refused)
    worker.compile()
    (found,) = health.states()
    assert (found.name, found.healthy, found.reason) == ("n101", False, Reason.SCRIPT_REFUSED)
    assert found.where


def test_a_refused_script_is_reported_although_the_last_good_one_answers() -> None:
    """Otherwise its author would think that the new one is in use."""
    worker = Worker(number(FIRST))
    health = BotHealth(lambda: worker.registry, worker.scripts.refused)
    bots = Bots(worker.scripts, health)
    worker.compile()
    worker.publish(number(BROKEN))
    worker.compile()
    assert bots.turn(number(BROKEN)) is not None
    health.answered(number(BROKEN))
    assert [(each.healthy, each.reason) for each in health.states()] == [(False, Reason.SCRIPT_REFUSED)]
    worker.publish(number(SECOND))
    worker.compile()
    assert health.states() == []


def test_a_report_holds_no_secret() -> None:
    """Everyone who reaches the probe port can read the document."""
    report = Report()
    report.fail(5)
    assert report.number.access_token.encode() not in report.health.document()
