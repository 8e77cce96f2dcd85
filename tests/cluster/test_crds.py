"""The API server accepts the CRDs, fills in defaults, and refuses invalid specs.

The message of a refusal says what to do.
"""

import json
from copy import deepcopy
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from ..untyped import untyped

pytestmark = pytest.mark.cluster

NUMBER: dict[str, Any] = {
    "phoneNumberId": "106540352242922",
    "wabaId": "102290129340398",
    "credentialsRef": {"name": "support-meta"},
}
MESSAGE: dict[str, Any] = {
    "template": {"name": "weekly_news", "language": "it"},
    "audience": {"contacts": ["+393331234567"]},
}
SCHEDULE: dict[str, Any] = {
    "numberRef": {"name": "support"},
    "schedule": "0 9 * * 1",
    "timeZone": "Europe/Rome",
    "action": {"message": MESSAGE},
}
PLURALS = {"WhatsAppNumber": "whatsappnumbers", "BotSchedule": "botschedules"}


def create(api: client.ApiClient, namespace: str, kind: str, spec: dict[str, Any], name: str = "one") -> dict[str, Any]:
    """Creates an object and returns it as it is stored."""
    body = {"apiVersion": "waypost.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
    found: dict[str, Any] = untyped(
        client.CustomObjectsApi(api).create_namespaced_custom_object(
            "waypost.dev", "v1alpha1", namespace, PLURALS[kind], body
        )
    )
    return found


def changed(spec: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Returns a copy of the spec with one field set. If the value is None, the field is removed."""
    spec = deepcopy(spec)
    at, *names = spec, *path.split(".")
    for name in names[:-1]:
        at = at.setdefault(name, {})
    if value is None:
        at.pop(names[-1], None)
    else:
        at[names[-1]] = value
    return spec


def test_defaults_stand_in_the_stored_object(api: client.ApiClient, namespace: str) -> None:
    """Defaults are written into the stored object.

    A reader of the object sees all values in effect, not only those that were written.
    """
    stored = create(api, namespace, "WhatsAppNumber", NUMBER)["spec"]
    assert stored["webhook"] == {"scope": "Number"}
    assert stored["limits"] == {"messagesPerSecond": 80}
    assert (stored["deletionPolicy"], stored["suspend"], stored["retention"]) == ("Orphan", False, {"messages": "90d"})


def test_a_part_of_an_object_gets_the_rest_of_its_defaults(api: client.ApiClient, namespace: str) -> None:
    """If only a part of an object is given, the rest gets its defaults. An empty `limits` gets the default rate."""
    stored = create(api, namespace, "WhatsAppNumber", NUMBER | {"limits": {}, "webhook": {}})["spec"]
    assert (stored["limits"], stored["webhook"]) == ({"messagesPerSecond": 80}, {"scope": "Number"})


def test_a_schedule_is_accepted(api: client.ApiClient, namespace: str) -> None:
    """The documented example of a schedule is accepted, with any template parameters."""
    template = MESSAGE["template"] | {"components": [{"type": "body", "parameters": [{"type": "text", "text": "x"}]}]}
    stored = create(api, namespace, "BotSchedule", changed(SCHEDULE, "action.message.template", template))["spec"]
    assert stored["action"]["message"]["template"]["components"] == template["components"]
    assert (stored["concurrencyPolicy"], stored["startingDeadlineSeconds"]) == ("Forbid", 300)


def test_contacts_without_a_phone_number_are_accepted(api: client.ApiClient, namespace: str) -> None:
    """An audience may mix business-scoped user ids and phone numbers."""
    contacts = ["+393331234567", "IT.13491208655302741918", "US.ENT.11815799212886844830"]
    spec = changed(SCHEDULE, "action.message.audience.contacts", contacts)
    assert create(api, namespace, "BotSchedule", spec)["spec"]["action"]["message"]["audience"]["contacts"] == contacts


@pytest.mark.parametrize(
    ("kind", "path", "value", "sentence"),
    [
        ("WhatsAppNumber", "phoneNumberId", "+15550783881", "must be an id at Meta: 5 to 32 digits, in quotes"),
        ("WhatsAppNumber", "wabaId", "12ab56", "must be an id at Meta: 5 to 32 digits, in quotes"),
        ("WhatsAppNumber", "credentialsRef.namespace", "other", "a reference stays in the object's own namespace"),
        ("WhatsAppNumber", "credentialsRef.name", "Not.A.Name", "must be a name of small letters"),
        ("WhatsAppNumber", "bot", {}, "give exactly one of configMapRef and plugin"),
        (
            "WhatsAppNumber",
            "bot",
            {"configMapRef": {"name": "a"}, "plugin": "a.b:c"},
            "give exactly one of configMapRef and plugin",
        ),
        ("WhatsAppNumber", "bot", {"configMapRef": {"name": "a", "namespace": "b"}}, "a reference stays in the object"),
        ("WhatsAppNumber", "bot", {"plugin": "os.system"}, "must look like package.module:function"),
        ("WhatsAppNumber", "bot", {"plugin": "a.b:c", "onError": {}}, "give reply, handOff: true, or both"),
        (
            "WhatsAppNumber",
            "bot",
            {"plugin": "a.b:c", "onError": {"reply": "x", "handOffMinutes": 5}},
            "handOffMinutes needs handOff: true",
        ),
        ("WhatsAppNumber", "bot", {"plugin": "a.b:c", "onError": {"reply": " "}}, "must be a text that is not blank"),
        ("WhatsAppNumber", "retention.messages", "90 days", "must be a duration, as 90d, 12h or 30m"),
        (
            "WhatsAppNumber",
            "outsideWindow",
            {"template": {"name": "Follow-Up", "language": "en"}},
            "must be a template's name at Meta",
        ),
        (
            "WhatsAppNumber",
            "outsideWindow",
            {"template": {"name": "x", "language": "english"}},
            "must be a language code as Meta writes it",
        ),
        ("WhatsAppNumber", "webhook.scope", "Cluster", 'supported values: "Number", "Account", "App"'),
        ("WhatsAppNumber", "limits.messagesPerSecond", 1001, "should be less than or equal to 1000"),
        ("WhatsAppNumber", "phoneNumberId", None, "spec.phoneNumberId: Required value"),
        (
            "BotSchedule",
            "schedule",
            "TZ=Europe/Rome 0 9 * * 1",
            "must not contain TZ=; the time zone belongs in timeZone",
        ),
        ("BotSchedule", "schedule", "0 9 * * 1 2026", "schedule must have five fields"),
        ("BotSchedule", "schedule", "@every 5m for me", "schedule must have five fields"),
        ("BotSchedule", "timeZone", "Local", "timeZone must be a name of the IANA database"),
        ("BotSchedule", "timeZone", "Europe / Rome", "timeZone must be a name of the IANA database"),
        ("BotSchedule", "timeZone", None, "spec.timeZone: Required value"),
        ("BotSchedule", "numberRef.namespace", "other", "a reference stays in the object's own namespace"),
        ("BotSchedule", "action", {}, "give exactly one of message, report, tokenCheck and retention"),
        (
            "BotSchedule",
            "action",
            {"tokenCheck": {}, "report": {}},
            "give exactly one of message, report, tokenCheck and retention",
        ),
        ("BotSchedule", "action.message.text", "and a text", "give exactly one of template and text"),
        ("BotSchedule", "action.message.audience", {}, "give exactly one of contacts, selector and configMapRef"),
        ("BotSchedule", "action.message.audience.contacts", ["393331234567"], "must be a phone number in E.164"),
        ("BotSchedule", "action.message.audience.contacts", ["+39 333 123"], "must be a phone number in E.164"),
        ("BotSchedule", "action.message.audience.contacts", ["IT.13 49"], "or a business-scoped user id"),
        ("BotSchedule", "action.message.audience.contacts", ["+39333123456"] * 1001, "must have at most 1000 items"),
        ("BotSchedule", "action.message.audience", {"selector": {}}, "selector must name at least one of tags"),
        ("BotSchedule", "action.message.quietHours", {"from": "8:00", "to": "09:00"}, "must be a time of day"),
        ("BotSchedule", "action.message.quietHours", {"from": "08:00", "to": "08:00"}, "must not begin and end at the"),
    ],
)
def test_an_invalid_field_is_refused_with_what_to_do(  # noqa: PLR0917 - fixtures and a table's columns
    api: client.ApiClient, namespace: str, kind: str, path: str, value: Any, sentence: str
) -> None:
    """An invalid field is refused with a message that says what to do.

    The message describes the form of the field instead of quoting an expression.
    """
    spec = changed(NUMBER if kind == "WhatsAppNumber" else SCHEDULE, path, value)
    with pytest.raises(ApiException) as refused:
        create(api, namespace, kind, spec)
    assert refused.value.status == 422
    assert sentence in json.loads(refused.value.body or "")["message"]


@pytest.mark.parametrize("kind", ["WhatsAppNumber", "BotSchedule"])
def test_a_name_with_a_dot_is_refused(api: client.ApiClient, namespace: str, kind: str) -> None:
    """A name with a dot is refused, because the name becomes part of a file name and of an address."""
    with pytest.raises(ApiException) as refused:
        create(api, namespace, kind, NUMBER if kind == "WhatsAppNumber" else SCHEDULE, name="a.b")
    assert "metadata.name must be small letters, digits and '-'" in (refused.value.body or "")


@pytest.mark.parametrize("field", ["phoneNumberId", "wabaId"])
def test_ids_are_immutable(api: client.ApiClient, namespace: str, field: str) -> None:
    """The ids of a number are immutable.

    A user who wants another id must create another object. The error message says how to replace the object.
    """
    create(api, namespace, "WhatsAppNumber", NUMBER)
    with pytest.raises(ApiException) as refused:
        client.CustomObjectsApi(api).patch_namespaced_custom_object(
            "waypost.dev", "v1alpha1", namespace, "whatsappnumbers", "one", {"spec": {field: "999999999999999"}}
        )
    assert f"{field} is immutable; delete the object and create it again" in (refused.value.body or "")


def test_numbers_can_be_selected_by_their_id(api: client.ApiClient, namespace: str) -> None:
    """Numbers can be selected by their id.

    `selectableFields` lets the operator find a duplicate without listing all numbers.
    """
    create(api, namespace, "WhatsAppNumber", NUMBER, name="one")
    create(api, namespace, "WhatsAppNumber", NUMBER | {"phoneNumberId": "999999999999999"}, name="two")
    found: Any = client.CustomObjectsApi(api).list_namespaced_custom_object(
        "waypost.dev", "v1alpha1", namespace, "whatsappnumbers", field_selector="spec.phoneNumberId=999999999999999"
    )
    assert [each["metadata"]["name"] for each in found["items"]] == ["two"]


def test_the_status_stores_what_the_operator_writes(api: client.ApiClient, namespace: str) -> None:
    """The status stores everything that the operator writes.

    No field of a full status is pruned. An update of the object itself cannot write the status.
    """
    create(api, namespace, "WhatsAppNumber", NUMBER)
    objects = client.CustomObjectsApi(api)
    arguments = ("waypost.dev", "v1alpha1", namespace, "whatsappnumbers", "one")
    moment = "2026-11-24T09:00:00Z"
    condition = {
        "type": "Ready",
        "status": "True",
        "observedGeneration": 1,
        "lastTransitionTime": moment,
        "reason": "AsDesired",
        "message": "",
    }
    status = {
        "observedGeneration": 1,
        "conditions": [condition],
        "phone": {"ending": "81", "connection": "CONNECTED"},
        "token": {"expiresAt": moment, "source": "Refreshed", "secretResourceVersion": "12", "warnedDays": 7},
        "webhook": {"url": "https://example.org/webhooks/a/b", "scope": "Number"},
        "registration": {"attempts": [moment], "blockedUntil": moment, "refusedCode": 133005},
        "tokenSecretRef": {"namespace": "waypost", "name": "waypost-number-a.b"},
        "failureCount": 2,
        "nextAttemptTime": moment,
        "lastHandledReconcileAt": "now",
    }
    written: Any = objects.patch_namespaced_custom_object_status(*arguments, {"status": status})
    assert written["status"] == status
    objects.patch_namespaced_custom_object(*arguments, {"status": {"failureCount": 9}})
    assert untyped(objects.get_namespaced_custom_object(*arguments))["status"]["failureCount"] == 2
