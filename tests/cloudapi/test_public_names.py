"""Tests that the names that plugins import do not disappear.

A plugin that was written for an earlier version still loads.
"""

import subprocess
import sys

from waypost import bot
from waypost.cloudapi import messages

BOT = """
BotEvent Effect HandOff OptIn OptOut Reply Script ScriptError State turn
"""

MESSAGES = """
Address AddressRequest Audio Button Buttons CallPermissionRequest Card Carousel CatalogButton CatalogMessage ContactCard
ContactRequest Contacts CopyCode Currency DateTime Document DocumentParameter Email Flow FlowButton GifParameter Header
Image ImageParameter InvalidMessage Link List Location LocationParameter LocationRequest Media OrderDetailsButton
OrderStatus Organization Outgoing Parameter Phone Product ProductCard ProductList ProductParameter ProductSection
ProductsButton QuickReply Reaction Row Section Sticker Template TemplateButton TemplateCard Text TextParameter Url
UrlButton Video VideoParameter VoiceCall VoiceCallButton addressed
"""


def test_the_bot_package_keeps_its_public_names() -> None:
    """The bot package keeps its public names. A name may be added, but removing or renaming one breaks plugins."""
    assert set(bot.__all__) == set(BOT.split())
    assert all(hasattr(bot, name) for name in bot.__all__)


def test_the_messages_package_keeps_its_public_names() -> None:
    """The messages package keeps its public names. A name may be added, but removing or renaming one breaks plugins."""
    assert set(messages.__all__) == set(MESSAGES.split())
    assert all(hasattr(messages, name) for name in messages.__all__)


def test_a_plugin_can_import_both_packages_in_a_process_of_its_own() -> None:
    """A plugin can import either package first.

    Each import works although no other module of Waypost was imported before.
    """
    for code in ("import waypost.bot", "from waypost.cloudapi.messages import Text"):
        subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=120)
