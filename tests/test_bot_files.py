"""Tests of bots in the registry: each bot is stored once and read once, and no number is without its bot."""

import gzip
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from waypost.contracts import bot_files, registry
from waypost.contracts.bot_files import BotDamaged
from waypost.contracts.registry import Number

from .registry_files import publish_bot, publish_number

HELLO, BYE = "version: 1\nfallback: {reply: Hello}\n", "version: 1\nfallback: {reply: Bye}\n"


def number(name: str, script: str | None = None, **fields: Any) -> Number:
    """Returns a number as the operator writes it: with the digest of its script, and without the text."""
    digest = None if script is None else bot_files.digest_of(script)
    values = {"namespace": "team-a", "phone_number_id": name, "waba_id": "2", "app_id": "3", "access_token": "t"}
    return Number(name=name, bot_digest=digest, **values | fields)


def names(snapshot: registry.Snapshot[Number]) -> set[str]:
    return {name for _, name in snapshot.by_name}


def test_numbers_with_the_same_script_share_one_text(tmp_path: Path) -> None:
    """A worker keeps the text of a script only once, even if a thousand numbers use it.

    All these numbers have the digest of the script.
    """
    publish_bot(tmp_path, HELLO)
    for name in ("one", "two", "three"):
        publish_number(tmp_path, number(name, HELLO))
    found = registry.numbers(tmp_path).current
    assert found.without_bot == ()
    assert [each.bot for each in found.by_name.values()] == [HELLO] * 3
    assert len({id(each.bot) for each in found.by_name.values()}) == 1
    assert {each.bot_digest for each in found.by_name.values()} == {hashlib.sha256(HELLO.encode()).hexdigest()}


def test_an_entry_with_the_text_of_its_bot_has_the_digest_too(tmp_path: Path) -> None:
    """An entry that contains the text of its bot also gets the digest when it is read.

    Operators of the previous version write the text into the entry, but workers need the digest.
    """
    (tmp_path / "worker").mkdir()
    inline = (
        b'{"namespace":"team-a","name":"one","phoneNumberId":"1","wabaId":"2","appId":"3","accessToken":"t","bot":"x"}'
    )
    (tmp_path / "worker" / "team-a.one.json").write_bytes(inline)
    (found,) = registry.numbers(tmp_path).current.by_name.values()
    assert (found.bot, found.bot_digest) == ("x", bot_files.digest_of("x"))


def test_a_new_number_is_not_seen_before_its_bot(tmp_path: Path) -> None:
    """A worker does not use a new number until the number's bot has arrived.

    Without the bot, messages would count as handled. The volume of the bots may be updated a moment later than the
    entry.
    """
    publish_number(tmp_path, number("one", HELLO))
    publish_number(tmp_path, number("two"))
    reader = registry.numbers(tmp_path)
    assert names(reader.current) == {"two"}
    assert reader.current.without_bot == ("team-a.one.json: FileNotFoundError",)
    assert reader.current.errors == ()
    publish_bot(tmp_path, HELLO)
    assert reader.refresh()
    assert reader.current.by_phone_number_id["one"].bot == HELLO
    assert not reader.current.without_bot


def test_a_number_keeps_its_bot_until_the_new_one_arrives(tmp_path: Path) -> None:
    """A number keeps its old bot until the new bot arrives.

    Other changes in the entry, such as a new token, take effect at once.
    """
    publish_bot(tmp_path, HELLO)
    publish_number(tmp_path, number("one", HELLO))
    reader = registry.numbers(tmp_path)
    publish_number(tmp_path, number("one", BYE, access_token="new"))
    assert reader.refresh()
    found = reader.current.by_phone_number_id["one"]
    assert (found.access_token, found.bot, found.bot_digest) == ("new", HELLO, bot_files.digest_of(HELLO))
    publish_bot(tmp_path, BYE)
    assert reader.refresh()
    assert reader.current.by_phone_number_id["one"].bot == BYE


def test_a_plugin_answers_until_the_script_that_replaces_it_arrives(tmp_path: Path) -> None:
    """If a number changes from a plugin to a script, it keeps the plugin until the script arrives.

    So the number is never without a bot.
    """
    publish_number(tmp_path, number("one", bot_plugin="shop:turn"))
    reader = registry.numbers(tmp_path)
    publish_number(tmp_path, number("one", BYE))
    reader.refresh()
    found = reader.current.by_phone_number_id["one"]
    assert (found.bot, found.bot_digest, found.bot_plugin) == (None, None, "shop:turn")


def test_only_what_is_new_is_decoded_again(tmp_path: Path) -> None:
    """When the registry is read again, only changed entries and bots are decoded.

    A kubelet replaces the files of all numbers when one entry changes.
    """
    publish_bot(tmp_path, HELLO)
    for name in ("one", "two"):
        publish_number(tmp_path, number(name, HELLO))
    reader = registry.numbers(tmp_path)
    before = reader.current.by_phone_number_id
    publish_bot(tmp_path, HELLO)
    publish_number(tmp_path, number("one", HELLO))
    publish_number(tmp_path, number("two", HELLO, access_token="new"))
    assert reader.refresh()
    after = reader.current.by_phone_number_id
    assert after["one"] is before["one"]
    assert after["two"].access_token == "new"
    assert after["two"].bot is before["two"].bot


def test_a_mounted_secret_is_read_when_its_link_moves(tmp_path: Path) -> None:
    """The reader notices a change of a mounted Secret by the link `..data`.

    A kubelet writes all files into a new folder and then moves this link to it.
    """
    publish_bot(tmp_path, HELLO)
    folder = tmp_path / "worker"
    for generation, token in (("..1", "old"), ("..2", "new")):
        (folder / generation).mkdir(parents=True)
        content = msgspec.json.encode(number("one", HELLO, access_token=token))
        (folder / generation / "team-a.one.json").write_bytes(content)
    (folder / "..data").symlink_to("..1")
    (folder / "team-a.one.json").symlink_to("..data/team-a.one.json")
    reader = registry.numbers(tmp_path)
    assert reader.current.by_phone_number_id["one"].access_token == "old"
    assert not reader.refresh()
    (folder / "..next").symlink_to("..2")
    (folder / "..next").rename(folder / "..data")
    assert reader.refresh()
    assert reader.current.by_phone_number_id["one"].access_token == "new"


def test_a_reader_without_bots_needs_none(tmp_path: Path) -> None:
    """A reader with `with_bots=False` returns a number although its bot is missing.

    The pod of a token check sees one entry and no bot.
    """
    publish_number(tmp_path, number("one", HELLO))
    found = registry.numbers(tmp_path, with_bots=False).current
    assert found.by_phone_number_id["one"].access_token == "t"
    assert found.without_bot == ()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        bot_files.pack(BYE),
        bot_files.pack(HELLO)[:-3],
        gzip.compress(b"\xff"),
        gzip.compress(b"a" * (bot_files.LONGEST_TEXT + 1)),
    ],
    ids=["empty", "not gzip", "another script", "cut", "not text", "too long"],
)
def test_content_that_its_name_does_not_promise_is_refused(content: bytes) -> None:
    """A bot file is refused if its content does not match the digest in its name, or is too long.

    So no number answers with the script of another number, and no file fills the memory of a worker.
    """
    with pytest.raises(BotDamaged):
        bot_files.unpack(content, bot_files.digest_of(HELLO))


def test_a_damaged_bot_leaves_other_numbers_alone(tmp_path: Path) -> None:
    """If a bot file is damaged, only the numbers with this bot are left out, as if the bot had not arrived."""
    for script in (HELLO, BYE):
        publish_bot(tmp_path, script)
    publish_number(tmp_path, number("one", HELLO))
    publish_number(tmp_path, number("two", BYE))
    (tmp_path / "bot" / bot_files.file_name(bot_files.digest_of(HELLO))).write_bytes(b"damaged")
    found = registry.numbers(tmp_path).current
    assert names(found) == {"two"}
    assert found.without_bot == ("team-a.one.json: BotDamaged",)


def test_equal_scripts_have_equal_files() -> None:
    """Equal scripts have equal files, so a script that is published again changes nothing.

    The file contains no time stamp.
    """
    assert bot_files.pack(HELLO) == bot_files.pack(HELLO)
    assert bot_files.unpack(bot_files.pack(HELLO), bot_files.digest_of(HELLO)) == HELLO
