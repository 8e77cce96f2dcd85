"""Tests the calls on message templates, and their review."""

from typing import Any

import pytest

from .meta import USER, WABA, CallbackServer, Driver, code, until, values

pytestmark = pytest.mark.anyio
PATH = f"{WABA}/message_templates"


def template(**changes: Any) -> dict[str, Any]:
    """Returns the request body that creates a template."""
    body = {"type": "BODY", "text": "Hi {{1}}, your bread is ready.", "example": {"body_text": [["Ada"]]}}
    return {"name": "ready", "language": "en_US", "category": "UTILITY", "components": [body]} | changes


async def test_a_template_can_be_sent_once_it_is_approved(simulator: Driver, callback: CallbackServer) -> None:
    """A new template is PENDING and can be sent once it is APPROVED.

    A webhook with the template's id as an integer reports the approval.
    """
    await simulator.subscribe(callback.url, fields="messages,message_template_status_update")
    created = (await simulator.graph("POST", PATH, json=template())).json()
    assert created["status"] == "PENDING"
    await until(lambda: len(callback.bodies) == 1)
    [value] = values(callback.bodies[0])
    assert (value["event"], value["message_template_id"]) == ("APPROVED", int(created["id"]))
    node = (await simulator.graph("GET", created["id"], params={"fields": "status"})).json()
    assert node == {"id": created["id"], "status": "APPROVED"}
    parameters = [{"type": "body", "parameters": [{"type": "text", "text": "Ada"}]}]
    use = {"name": "ready", "language": {"code": "en_US"}, "components": parameters}
    body = {"messaging_product": "whatsapp", "to": USER, "type": "template", "template": use}
    assert code(await simulator.send(body)) == 0
    [sent] = (await simulator.http.get("/_sim/sent")).json()
    assert sent["text"] == "Hi Ada, your bread is ready."


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Ready"},
        {"name": ""},
        {"language": "english"},
        {"category": "NEWS"},
        {"colour": "red"},
        {"components": []},
        {"components": [{"type": "FOOTER", "text": "x"}]},
        {"components": [{"type": "BODY", "text": "Hi {{1}}, ready."}]},
        {"components": [{"type": "BODY", "text": "Hi {{2}}, ready.", "example": {}}]},
        {"components": [{"type": "BODY", "text": "Hi {{1}}", "example": {"body_text": [["A"]]}}]},
        {"components": [{"type": "BODY", "text": "x"}, {"type": "HEADER", "format": "TEXT", "text": "x" * 61}]},
    ],
)
async def test_a_template_that_meta_would_not_review_is_refused(simulator: Driver, changes: dict[str, Any]) -> None:
    """A template is refused if its name, its category or its variables are invalid.

    A variable needs an example and must not be at the beginning or the end of the text.
    """
    assert code(await simulator.graph("POST", PATH, json=template(**changes))) in (100, 131009)


async def test_the_same_name_and_language_cannot_be_created_twice(simulator: Driver) -> None:
    """The same name and language cannot be created twice: the error has the subcode 2388024.

    Another language is accepted.
    """
    assert code(await simulator.graph("POST", PATH, json=template())) == 0
    answer = await simulator.graph("POST", PATH, json=template())
    assert answer.json()["error"]["error_subcode"] == 2388024
    assert code(await simulator.graph("POST", PATH, json=template(language="it"))) == 0


async def test_templates_are_listed_filtered_edited_and_deleted(simulator: Driver) -> None:
    """Templates can be listed, filtered, edited and deleted.

    A DELETE by name deletes all languages. With `hsm_id` it deletes only one.
    """
    first = (await simulator.graph("POST", PATH, json=template())).json()["id"]
    await simulator.graph("POST", PATH, json=template(language="it"))
    found = (await simulator.graph("GET", PATH, params={"name": "ready", "fields": "name,language"})).json()["data"]
    assert [one["language"] for one in found] == ["en_US", "it"]
    assert code(await simulator.graph("POST", first, json={"category": "MARKETING"})) == 0
    assert (await simulator.graph("GET", first)).json()["category"] == "MARKETING"
    assert code(await simulator.graph("DELETE", PATH, params={"name": "ready", "hsm_id": first})) == 0
    remaining = (await simulator.graph("GET", PATH, params={"name": "ready"})).json()["data"]
    assert [one["language"] for one in remaining] == ["it"]
    assert code(await simulator.graph("DELETE", PATH, params={"name": "unknown"})) == 100
