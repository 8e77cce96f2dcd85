"""Tests that a plugin delays and fails only its own turns, whatever it does in its host process."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from waypost.bot import effects
from waypost.bot.event import BotEvent
from waypost.hosts.host import Ended, Host, TurnFailed, Zygote
from waypost.hosts.pool import Hosts

MEGABYTE = 1024 * 1024
PLUGINS = "tests.hostile.plugins:{}"
LONG_S = 120.0


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """Yields a zygote that may load the hostile plugins."""
    zygote = Zygote("tests.hostile.*", memory_bytes=64 * MEGABYTE)
    yield zygote
    zygote.close()


@pytest.fixture
def start() -> Iterator[Callable[[Zygote], Host]]:
    """Yields a function that starts a host, which is closed after the test."""
    started: list[Host] = []

    def start(zygote: Zygote) -> Host:
        started.append(zygote.start_host())
        return started[-1]

    yield start
    for host in started:
        host.close()


@pytest.fixture
def host(zygote: Zygote, start: Callable[[Zygote], Host]) -> Host:
    """Returns a fresh host."""
    return start(zygote)


def _turn(host: Host, name: str, text: str = "hi", *, deadline_s: float = LONG_S, state: Any = None) -> Any:
    event = BotEvent("text", text=text)
    return host.turn(PLUGINS.format(name), state or {}, event, deadline_s=deadline_s, traceparent=None)


def _is_running(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_a_turn_returns_the_state_and_the_effects(host: Host) -> None:
    """A host serves one turn after the other, and each effect arrives as the plugin asked for it."""
    state, (reply,) = _turn(host, "polite", "one")
    assert (state, reply.message.payload()["text"]["body"]) == ({"turns": 1}, "one")
    assert _turn(host, "polite", "two", state=state)[0] == {"turns": 2}
    _, (said, opted_out, handed_off) = _turn(host, "every_effect")
    assert isinstance(said, effects.Reply)
    assert opted_out.confirmation.payload()["text"]["body"] == "bye"
    assert (handed_off.minutes, handed_off.reply.payload()["text"]["body"]) == (5, "one moment")


def test_an_endless_turn_is_killed_at_its_deadline(zygote: Zygote, host: Host, start: Callable[[Zygote], Host]) -> None:
    """The host of an endless turn is killed at the deadline, although the plugin catches every exception.

    The next host answers.
    """
    with pytest.raises(Ended) as ended:
        _turn(host, "endless", deadline_s=0.2)
    assert ended.value.error == "TurnTimeout"
    assert not _is_running(host.process)
    assert _turn(start(zygote), "polite")[0] == {"turns": 1}


def test_a_plugin_that_ends_its_process_fails_its_turn(host: Host) -> None:
    """`os._exit` in a plugin ends a host and not the worker."""
    with pytest.raises(Ended) as ended:
        _turn(host, "exits")
    assert ended.value.error == "HostEnded"


@pytest.mark.fault("P5")
def test_a_plugin_cannot_take_more_memory_than_its_limit(host: Host) -> None:
    """A plugin that allocates too much memory gets a `MemoryError`, long before the pod's limit is reached."""
    with pytest.raises(TurnFailed) as failed:
        _turn(host, "eats_memory")
    assert failed.value.error == "MemoryError"
    assert "tests.hostile.plugins" in failed.value.detail


def test_a_failed_turn_names_the_plugins_own_lines_and_quotes_nobody(host: Host) -> None:
    """The detail of a failed turn has the module, the line and the function.

    The exception's message is left out, because it may quote a person.
    """
    with pytest.raises(TurnFailed) as failed:
        _turn(host, "raises", "a table for Ada")
    assert failed.value.error == "ValueError"
    assert failed.value.detail.startswith("tests.hostile.plugins:")
    assert failed.value.detail.endswith(" in raises")
    assert "Ada" not in str(failed.value) + failed.value.detail
    assert _turn(host, "polite")[0] == {"turns": 1}


@pytest.mark.parametrize(
    ("name", "error"), [("recurses", "RecursionError"), ("returns_nonsense", "PluginResultInvalid")]
)
def test_a_host_goes_on_after_a_failed_turn(host: Host, name: str, error: str) -> None:
    """A turn that fails does not end its host. The same process handles the next turn."""
    with pytest.raises(TurnFailed) as failed:
        _turn(host, name)
    assert (failed.value.error, isinstance(failed.value, Ended)) == (error, False)
    assert _turn(host, "polite")[0] == {"turns": 1}


def test_a_plugin_that_writes_to_its_socket_ends_its_host(host: Host) -> None:
    """If a plugin writes to its host's socket, the turn fails and the host ends.

    The written bytes are not a frame, so the worker does not take them for an answer.
    """
    with pytest.raises(Ended):
        _turn(host, "writes_to_its_socket")


def test_a_plugin_outside_the_list_is_not_imported(host: Host) -> None:
    """A host does not import a plugin that is missing in the platform's list. The host itself checks the list."""
    with pytest.raises(TurnFailed) as failed:
        host.turn("os:getcwd", {}, BotEvent("text"), deadline_s=LONG_S, traceparent=None)
    assert failed.value.error == "PluginNotAllowed"


def test_a_host_sees_no_setting_and_stands_behind_the_worker(
    start: Callable[[Zygote], Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host sees no setting and has a lower priority than the worker.

    Settings are only in the worker's environment. On busy processors, the worker runs before its hosts.
    """
    monkeypatch.setenv("WAYPOST_DATABASE_URL", "postgresql://user:password@db/waypost")
    fresh = Zygote("tests.hostile.*", memory_bytes=64 * MEGABYTE)
    _, (reply,) = _turn(start(fresh), "environment")
    fresh.close()
    seen, niceness, has_sqlalchemy = reply.message.payload()["text"]["body"].rsplit(" ", 2)
    assert (seen, has_sqlalchemy) == ("[]", "False")
    assert int(niceness) == min(os.nice(0) + 10, 19)


def test_all_hosts_end_with_the_zygote(start: Callable[[Zygote], Host]) -> None:
    """A worker that ends leaves no process behind, not even a host whose plugin never returns."""
    zygote = Zygote("tests.hostile.*", memory_bytes=64 * MEGABYTE)
    hosts = [start(zygote) for _ in range(3)]
    assert all(_is_running(host.process) for host in hosts)
    zygote.close()
    assert not any(_is_running(host.process) for host in hosts)


def test_the_zygote_is_started_again_after_it_was_killed(zygote: Zygote, start: Callable[[Zygote], Host]) -> None:
    """If the zygote was killed, it is started again. Without it, no plugin of this worker would get another turn."""
    running = zygote._process
    assert running is not None
    running.kill()
    running.wait()
    assert _turn(start(zygote), "polite")[0] == {"turns": 1}


def test_hosts_are_shared_between_numbers(zygote: Zygote) -> None:
    """A number gets two hosts at most. If another number needs a host, the host that was idle longest is ended."""
    hosts = Hosts(zygote, at_once=3)
    first, second = hosts.take("1"), hosts.take("1")
    assert first is not None
    assert second is not None
    assert hosts.take("1") is None
    third = hosts.take("2")
    assert third is not None
    assert hosts.take("3") is None
    hosts.give_back("1", first, ended=False)
    hosts.give_back("1", second, ended=False)
    assert hosts.take("1") is second
    fourth = hosts.take("3")
    assert fourth is not None
    assert not _is_running(first.process)
    assert hosts.count == 3
    for host in (second, third, fourth):
        host.close()
