"""Tests of reading the user's YAML files. They cover the declared objects and the message for each mistake."""

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from waypost.dev import manifests, simulated_world
from waypost.dev.files import fingerprint, yaml_files
from waypost.dev.manifests import Declared, ManifestError

BOT = """
version: 1
intents:
  greeting:
    keywords: [hello]
    reply: Hello!
"""


def documents() -> dict[str, Any]:
    """Returns the documents of one number with everything that it needs. Each test changes some of them."""
    return {
        "secret": {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "meta", "namespace": "team-a", "labels": {"waypost.dev/credentials": "true"}},
            "stringData": {"appId": "1000001", "appSecret": "app-secret", "accessToken": "token"},
        },
        "bot": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "bot", "namespace": "team-a"},
            "data": {"bot.yaml": BOT},
        },
        "number": {
            "apiVersion": "waypost.dev/v1alpha1",
            "kind": "WhatsAppNumber",
            "metadata": {"name": "support", "namespace": "team-a"},
            "spec": {
                "phoneNumberId": "106540352242922",
                "wabaId": "102290129340398",
                "credentialsRef": {"name": "meta"},
                "bot": {"configMapRef": {"name": "bot"}},
            },
        },
    }


def load(tmp_path: Path, parts: dict[str, Any] | str) -> Declared:
    """Writes the documents into one file and reads this file."""
    file = tmp_path / "number.yaml"
    file.write_text(parts if isinstance(parts, str) else yaml.safe_dump_all(parts.values()))
    return manifests.load([file])


def problems(tmp_path: Path, parts: dict[str, Any] | str) -> str:
    """Returns all problems of the documents, without the name of the folder."""
    with pytest.raises(ManifestError) as caught:
        load(tmp_path, parts)
    return "\n".join(caught.value.problems).replace(f"{tmp_path}/", "")


def test_a_number_comes_with_its_secret_and_bot(tmp_path: Path) -> None:
    """A number is loaded with its secret and its bot.

    References are resolved in the same files, and the objects stay as they were written.
    """
    declared = load(tmp_path, documents())
    number = declared.numbers[0]

    assert (number.credentials.app_secret, number.credentials.access_token, number.bot) == ("app-secret", "token", BOT)
    assert number.number.spec.limits.messages_per_second == 80
    assert list(declared.objects) == list(documents().values())


def test_values_may_come_as_base64_and_lose_the_newline_of_echo(tmp_path: Path) -> None:
    """A Secret may hold base64 values in `data`, and a newline at the end of a value is removed.

    `echo token | base64` puts such a newline into the Secret, but it is not part of the token.
    """
    parts = documents()
    del parts["secret"]["stringData"]["accessToken"]
    parts["secret"]["data"] = {"accessToken": base64.b64encode(b"token-with-newline\n").decode()}

    assert load(tmp_path, parts).numbers[0].credentials.access_token == "token-with-newline"


def test_an_object_without_a_namespace_is_in_the_default_one(tmp_path: Path) -> None:
    """An object without a namespace belongs to the namespace `default`, as with kubectl."""
    parts = documents()
    for part in parts.values():
        del part["metadata"]["namespace"]

    assert {each["metadata"]["namespace"] for each in load(tmp_path, parts).objects} == {"default"}


SCHEDULE = {
    "apiVersion": "waypost.dev/v1alpha1",
    "kind": "BotSchedule",
    "metadata": {"name": "weekly", "namespace": "team-a"},
    "spec": {
        "numberRef": {"name": "support"},
        "schedule": "0 9 * * 1",
        "timeZone": "Europe/Rome",
        "action": {
            "message": {"template": {"name": "news", "language": "it"}, "audience": {"contacts": ["+393331234567"]}}
        },
    },
}


def test_a_schedule_is_taken_with_its_number(tmp_path: Path) -> None:
    """A schedule in the files is loaded with its number, as in a cluster.

    The simulated Meta gets the template that the schedule sends.
    """
    declared = load(tmp_path, documents() | {"schedule": SCHEDULE})

    assert [each.metadata.name for each in declared.schedules] == ["weekly"]
    seed = simulated_world.seed(declared.numbers, declared.schedules)
    assert [each["name"] for each in seed["accounts"][0]["templates"]] == ["news"]


def test_a_schedule_without_its_number_is_refused(tmp_path: Path) -> None:
    """A schedule is refused if its number is not in its own namespace. A reference never leaves its namespace."""
    elsewhere = SCHEDULE | {"metadata": {"name": "weekly", "namespace": "team-b"}}

    expected = "spec.numberRef.name: no WhatsAppNumber support in namespace team-b; add it"
    assert expected in problems(tmp_path, documents() | {"schedule": elsewhere})


def test_a_suspended_number_is_skipped_with_a_note(tmp_path: Path) -> None:
    """A number with `suspend: true` is not loaded, and a note says that it is suspended."""
    parts = documents()
    parts["number"]["spec"]["suspend"] = True

    declared = load(tmp_path, parts)
    assert declared.numbers == ()
    assert "team-a/support is suspended" in declared.notes[0]


CASES: dict[str, tuple[list[str], Any, str]] = {
    "an id without quotes": (
        ["number", "spec", "phoneNumberId"],
        106540352242922,
        "number.yaml, document 3 (WhatsAppNumber team-a/support): spec.phoneNumberId: must be text; write it in quotes",
    ),
    "an id that is a phone number": (
        ["number", "spec", "phoneNumberId"],
        "+39 333 1234567",
        "spec.phoneNumberId: must be the id of the number at Meta: digits, in quotes",
    ),
    "a misspelled field": (
        ["number", "spec", "wabaID"],
        "102290129340398",
        "spec.wabaID: is not a field here; check its spelling and indentation",
    ),
    "a limit of zero": (
        ["number", "spec", "limits"],
        {"messagesPerSecond": 0},
        "spec.limits.messagesPerSecond: input should be greater than or equal to 1",
    ),
    "an unknown scope": (
        ["number", "spec", "webhook"],
        {"scope": "Everything"},
        "spec.webhook.scope: input should be 'Number', 'Account' or 'App'",
    ),
    "two sources of a bot": (
        ["number", "spec", "bot"],
        {"configMapRef": {"name": "bot"}, "plugin": "shop.bot:turn"},
        "spec.bot: give exactly one of configMapRef and plugin",
    ),
    "a plugin that is no import path": (
        ["number", "spec", "bot"],
        {"plugin": "shop/bot.py"},
        "spec.bot.plugin: must look like package.module:function",
    ),
    "a reference into another namespace": (
        ["number", "spec", "credentialsRef"],
        {"name": "meta", "namespace": "team-b"},
        "spec.credentialsRef.namespace: is not a field here",
    ),
    "a Secret that is not there": (
        ["number", "spec", "credentialsRef"],
        {"name": "other"},
        "spec.credentialsRef.name: no Secret other in namespace team-a; add it",
    ),
    "a ConfigMap that is not there": (
        ["number", "spec", "bot"],
        {"configMapRef": {"name": "other"}},
        "spec.bot.configMapRef.name: no ConfigMap other in namespace team-a; add it",
    ),
    "a Secret that was not opted in": (
        ["secret", "metadata", "labels"],
        {},
        'document 1 (Secret team-a/meta): metadata.labels: must carry waypost.dev/credentials: "true" to be used',
    ),
    "a Secret without a token": (
        ["secret", "stringData"],
        {"appId": "1000001", "appSecret": "app-secret"},
        "(Secret team-a/meta): stringData.accessToken: is missing",
    ),
    "a token with a space in it": (
        ["secret", "stringData", "accessToken"],
        "two words",
        "stringData.accessToken: must be one word",
    ),
    "data that is not base64": (
        ["secret", "data"],
        {"pin": "not base64!"},
        "data.pin is not base64 of text; write plain text under stringData",
    ),
    "a ConfigMap without a script": (["bot", "data"], {"other": ""}, "data: has no key bot.yaml"),
    "a script with an error": (
        ["bot", "data", "bot.yaml"],
        "version: 1\nintens: {}\n",
        "(ConfigMap team-a/bot): data.bot.yaml: line 2",
    ),
    "an old version of the kind": (
        ["number", "apiVersion"],
        "waypost.dev/v1",
        "document 3 (WhatsAppNumber): apiVersion must be waypost.dev/v1alpha1",
    ),
    "an unknown kind": (["bot", "kind"], "Deployment", "document 2: kind Deployment is not supported here"),
    "a name with a dot": (["number", "metadata", "name"], "support.eu", "metadata.name: must be small letters"),
    "the namespace that apps' routes use": (
        ["number", "metadata", "namespace"],
        "apps",
        "metadata.namespace: apps is reserved for the routes of apps",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_named_with_file_document_field_and_remedy(tmp_path: Path, case: str) -> None:
    """Each mistake leads to one line that says where it is and what to do."""
    path, value, expected = CASES[case]
    parts: Any = documents()
    place = parts
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    assert expected in problems(tmp_path, parts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no WhatsAppNumber (waypost.dev/v1alpha1) in these files"),
        ("a: [", "number.yaml: line 1: is not YAML"),
        ("just words", "number.yaml, document 1: has no kind"),
        ("kind: [a]", "number.yaml, document 1: has no kind"),
        ("!!python/object:os.system {}", "number.yaml: line 1: is not YAML"),
        ("[" * 100_000, "number.yaml: is not YAML"),
    ],
)
def test_a_file_that_holds_no_objects_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    """A file that is not a list of Kubernetes objects is refused with a message that says what is wrong."""
    assert expected in problems(tmp_path, text)


def test_no_problem_repeats_a_secret(tmp_path: Path) -> None:
    """The message about a wrong value does not contain the value, because it may be a token."""
    parts = documents()
    parts["secret"]["stringData"] = {"appId": "canary-id", "appSecret": "s" * 300 + "canary", "accessToken": "canary x"}

    assert "canary" not in problems(tmp_path, parts)


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    """One run of the command reports all mistakes. A user need not run the command once for each mistake."""
    parts = documents()
    parts["number"]["spec"]["credentialsRef"] = {"name": "nowhere"}
    parts["number"]["spec"]["bot"] = {"configMapRef": {"name": "nowhere"}}

    assert len(problems(tmp_path, parts).splitlines()) == 2


def test_a_phone_number_has_one_owner(tmp_path: Path) -> None:
    """A second number with the same phone number id is refused. Otherwise, every message would be answered twice."""
    parts = documents()
    parts["other"] = {**documents()["number"], "metadata": {"name": "second", "namespace": "team-a"}}

    assert "document 4 (WhatsAppNumber team-a/second): spec.phoneNumberId: is also used by" in problems(tmp_path, parts)


def test_the_same_object_twice_is_refused(tmp_path: Path) -> None:
    """Two declarations of the same object are refused, because it would be unclear which of the two counts."""
    parts = documents()
    parts["again"] = documents()["number"]

    assert "is declared twice, first in number.yaml, document 3" in problems(tmp_path, parts)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A path that does not exist is reported as a usage error with the path, not as a traceback."""
    with pytest.raises(ManifestError, match=r"nowhere\.yaml: cannot be read"):
        manifests.load([tmp_path / "nowhere.yaml"])


def test_a_folder_means_the_yaml_files_in_it(tmp_path: Path) -> None:
    """A folder stands for the YAML files in it, as with kubectl."""
    for name in ("b.yaml", "a.yml", "notes.txt"):
        (tmp_path / name).touch()

    assert [path.name for path in yaml_files([tmp_path])] == ["a.yml", "b.yaml"]


def test_an_edited_file_changes_the_fingerprint(tmp_path: Path) -> None:
    """The fingerprint changes when a file is edited. `waypost dev` notices changes by the fingerprint."""
    file = tmp_path / "a.yaml"
    file.write_text("one")
    before = fingerprint([tmp_path])
    file.write_text("three")

    assert fingerprint([tmp_path]) != before


def test_the_simulated_meta_holds_what_was_declared(tmp_path: Path) -> None:
    """The seed of the simulated Meta contains the declared app, account, number and token.

    It also contains the template that is sent outside the window.
    """
    parts = documents()
    parts["number"]["spec"]["outsideWindow"] = {"template": {"name": "follow_up", "language": "en"}}
    seed = simulated_world.seed(load(tmp_path, parts).numbers)

    assert [app["app_id"] for app in seed["apps"]] == ["1000001"]
    assert [number["phone_number_id"] for number in seed["accounts"][0]["numbers"]] == ["106540352242922"]
    assert seed["accounts"][0]["templates"][0]["name"] == "follow_up"
    assert seed["tokens"] == [{"token": "token", "app_id": "1000001"}]


def test_the_examples_of_the_project_load(pytestconfig: pytest.Config) -> None:
    """The example files of the project load, because the README's demonstration uses them."""
    declared = manifests.load(yaml_files([pytestconfig.rootpath / "examples"]))

    assert [number.name for number in declared.numbers] == ["support"]
