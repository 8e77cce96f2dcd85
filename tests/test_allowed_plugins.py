"""The platform's list of bots in Python: what it allows, and what is no list."""

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
def test_what_is_listed_may_run(text: str, path: str) -> None:
    """One function by its path, the public ones of a package's modules by the package, or anything."""
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
        # Nearly what is listed.
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
        # Through it to something else.
        "support_bot:turn.__globals__",
        "support_bot:turn.__globals__.__getitem__",
        "support_bot:turn:x",
        "support_bot:os.system",
        # Beside the package, or not in public in it.
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
        # Letters that only look the same, and those that Python's own parser would take for the same.
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
def test_what_is_not_listed_may_not_run(text: str, path: str) -> None:
    """Above all what every worker can import anyway; and nothing at all unless somebody set the list."""
    assert path not in AllowedPlugins.read(text)


@pytest.mark.parametrize("path", ["os", "os:path.join", " os:system", "оs:system", "os.*", "*", ""])
def test_not_even_where_everything_may_run_is_anything_but_a_path_taken(path: str) -> None:
    """What may be imported is still named as a number's schema has it."""
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
def test_a_list_with_anything_else_in_it_is_refused_whole(entry: str) -> None:
    """A typing error must not quietly allow more, or less, than was meant."""
    with pytest.raises(PluginListInvalid, match=r"is neither package\.module:function nor package\.\*"):
        AllowedPlugins.read(f"{LISTED},{entry}")


@pytest.mark.parametrize("entry", [LISTED, PACKAGE, "acme.bots.orders:turn", EVERYTHING, *WRONG])
def test_the_chart_takes_just_the_entries_that_the_processes_take(pytestconfig: pytest.Config, entry: str) -> None:
    """But for everything, which is for a developer's own machine."""
    schema = json.loads((pytestconfig.rootpath / "charts/waypost/values.schema.json").read_text())
    pattern = schema["properties"]["bot"]["properties"]["plugins"]["items"]["pattern"]

    # Helm's `$` is the end of the text; Python's would let a line end follow.
    assert bool(re.search(pattern.replace("$", r"\Z"), entry)) == bool(ENTRY.fullmatch(entry))
    assert ENTRY.fullmatch(EVERYTHING) is None


def test_a_wrong_list_stops_the_start_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It names the variable and the entry."""
    monkeypatch.setenv("WAYPOST_BOT_PLUGINS", "support_bot:turn,os")
    with pytest.raises(settings.SettingsError) as refused:
        settings.load()
    assert str(refused.value).startswith("WAYPOST_BOT_PLUGINS: ")
    assert "'os' is neither" in str(refused.value)
