"""Tests of the platform's list of Python bots: which paths a list allows, and which lists are refused."""

import json
import re

import pytest

from waypost import settings
from waypost.allowed_plugins import ENTRY, EVERYTHING, AllowedPlugins, PluginListInvalid

LISTED = "support_bot:turn"
PACKAGE = "acme_bots.*"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (LISTED, "support_bot:turn"),
        (f"{PACKAGE},{LISTED}", "support_bot:turn"),
        (PACKAGE, "acme_bots.orders:turn"),
        (PACKAGE, "acme_bots.orders:answer"),
        (PACKAGE, "acme_bots.shop.orders:turn"),
        ("acme.bots.*", "acme.bots.orders:turn"),
        ("_acme.*", "_acme.orders:turn"),
        ("acme_bots._orders:_turn", "acme_bots._orders:_turn"),
        (EVERYTHING, "support_bot:turn"),
        (EVERYTHING, "acme_bots._orders:turn"),
    ],
)
def test_a_listed_plugin_may_run(text: str, path: str) -> None:
    """A plugin that the list contains may run.

    An entry allows one function, the public functions of a package's modules, or everything.
    """
    assert path in AllowedPlugins.read(text)


@pytest.mark.parametrize("text", ["", LISTED, PACKAGE, f"{LISTED},{PACKAGE}"])
@pytest.mark.parametrize(
    "path",
    [
        "os:_exit",
        "subprocess:Popen",
        "webbrowser:open",
        "builtins:exec",
        "importlib:import_module",
        "",
        ":",
        ":turn",
        "support_bot:",
        "support_bot",
        # Almost the same as what is listed.
        " support_bot:turn",
        "support_bot:turn ",
        "support_bot:turn\n",
        "support_bot: turn",
        "Support_bot:turn",
        "support_bot:Turn",
        "support_bot:turns",
        "support_bot:tur",
        "support_botx:turn",
        "xsupport_bot:turn",
        "x.support_bot:turn",
        "support_bot.turn:x",
        "support_bot.turn",
        "support_bot:turn,os:_exit",
        "support_bot:*",
        "*",
        "*:*",
        # Attributes of what is listed.
        "support_bot:turn.__globals__",
        "support_bot:turn.__globals__.__getitem__",
        "support_bot:turn:x",
        "support_bot:os.system",
        # Beside the package, or private in it.
        "acme_bots:turn",
        "acme_bots.*",
        "acme_bots.*:turn",
        "acme_bots.:turn",
        "acme_bots..orders:turn",
        ".acme_bots.orders:turn",
        "acme_botsx.orders:turn",
        "acme_bots_orders:turn",
        "acme_bots/orders:turn",
        "evil.acme_bots.orders:turn",
        "acme_bots.__main__:turn",
        "acme_bots._orders:turn",
        "acme_bots._shop.orders:turn",
        "acme_bots.orders:_turn",
        "acme_bots.orders:__init__",
        "acme_bots.orders:turn.__globals__",
        # Letters that look the same, or that Python's parser treats as the same.
        "ѕupport_bot:turn",
        "support_bоt:turn",
        "support\u200b_bot:turn",
        "ｓupport_bot:turn",
        "ſupport_bot:turn",
        "support_bot:tu\u0301rn",
        "support_bot：turn",
        "acme_bots．orders:turn",
        "аcme_bots.orders:turn",
        "acme_bots.оrders:turn",
    ],
)
def test_a_plugin_that_is_not_listed_may_not_run(text: str, path: str) -> None:
    """A plugin that is not listed may not run. This matters most for modules that every worker can import.

    An empty list allows nothing.
    """
    assert path not in AllowedPlugins.read(text)


@pytest.mark.parametrize("path", ["os", "os:path.join", " os:system", "оs:system", "os.*", "*", ""])
def test_only_a_path_is_allowed_even_if_everything_may_run(path: str) -> None:
    """Even if everything may run, a path must have the form that a number's schema requires."""
    assert path not in AllowedPlugins.read(EVERYTHING)


WRONG = [
    "support_bot",
    "support_bot:",
    ":turn",
    "support_bot:turn ",
    " support_bot:turn",
    "support_bot:turn\n",
    "support_bot:*",
    "acme_bots.*:*",
    "acme_bots.*:turn",
    "acme*",
    "acme_bots*",
    "*.orders:turn",
    "*.*",
    ".*",
    "**",
    "acme_bots..*",
    "acme_bots.*.orders:turn",
    "support_bot:turn.__globals__",
    "support-bot:turn",
    "support_bot.py",
    "1bot:turn",
    "ѕupport_bot:turn",
    "",
]


@pytest.mark.parametrize("entry", WRONG)
def test_a_list_with_an_invalid_entry_is_refused(entry: str) -> None:
    """A list with an invalid entry is refused. A typing error must not silently allow more or less than intended."""
    with pytest.raises(PluginListInvalid, match=r"is neither package\.module:function nor package\.\*"):
        AllowedPlugins.read(f"{LISTED},{entry}")


@pytest.mark.parametrize("entry", [LISTED, PACKAGE, "acme.bots.orders:turn", EVERYTHING, *WRONG])
def test_the_chart_accepts_the_same_entries_as_the_processes(pytestconfig: pytest.Config, entry: str) -> None:
    """The chart accepts the same entries as the processes, except `*`, which is for a developer's own machine."""
    schema = json.loads((pytestconfig.rootpath / "charts/waypost/values.schema.json").read_text())
    pattern = schema["properties"]["bot"]["properties"]["plugins"]["items"]["pattern"]

    # Helm's `$` is the end of the text; Python's would let a line end follow.
    assert bool(re.search(pattern.replace("$", r"\Z"), entry)) == bool(ENTRY.fullmatch(entry))
    assert ENTRY.fullmatch(EVERYTHING) is None


def test_a_wrong_list_stops_the_start_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong list stops the start with one line that names the variable and the entry."""
    monkeypatch.setenv("WAYPOST_BOT_PLUGINS", "support_bot:turn,os")
    with pytest.raises(settings.SettingsError) as refused:
        settings.load()
    assert str(refused.value).startswith("WAYPOST_BOT_PLUGINS: ")
    assert "'os' is neither" in str(refused.value)
