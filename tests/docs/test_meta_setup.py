"""docs/meta-setup.md names only conditions that exist, and each of its statements about Meta has a source."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from waypost.cloudapi.graph.apps import (
    OBJECT,
    AppSubscription,
    GranularScope,
    SubscribedField,
    TokenDetails,
    TokenFault,
)
from waypost.cloudapi.graph.business_accounts import SubscribedApp
from waypost.cloudapi.graph.errors import GraphRefused
from waypost.cloudapi.graph.numbers import Health, HealthEntity, HealthError, PhoneNumber, WebhookConfiguration
from waypost.operator.api.number_models import CREDENTIALS_LABEL, NumberSpec
from waypost.operator.cluster.interface import Stored
from waypost.operator.number import actions as act
from waypost.operator.number import credentials
from waypost.operator.number.actions import Action
from waypost.operator.number.plan import DAY_S
from waypost.operator.number.registration import Registration
from waypost.operator.number.state import FIELDS, NEEDED_SCOPES, Desired, MetaState, Observed
from waypost.operator.number.status.judgement import judge

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/meta-setup.md").read_text(encoding="utf-8")
STEPS, SOURCES = GUIDE.split("\n## Sources\n")
CONDITION = re.compile(r"`([A-Z][A-Za-z]+): ([A-Z][A-Za-z]+)`")
TAG = re.compile(r"\[([a-z]+[0-9]?)\](?!\()")
SECTIONS = dict(re.findall(r"^## (\d+\. .+?)\n(.*?)(?=^## |\Z)", STEPS, re.MULTILINE | re.DOTALL))
LABELS = ("Who", "Where", "What", "Done when", "Missing, Waypost shows", "The operator")
LINKS = (
    "https://developers.facebook.com/docs/whatsapp/cloud-api/get-started",
    "https://www.facebook.com/business/help/1710077379209564",
    "https://www.facebook.com/business/help/2058515294227817",
    "https://developers.facebook.com/docs/whatsapp/cloud-api/get-started/add-a-phone-number",
    "https://developers.facebook.com/docs/whatsapp/cloud-api/guides/display-name",
)

NOW = 1_800_000_000.0
APP, NUMBER, WABA = "100000000000001", "106540352242922", "102290129340398"
SPEC = {"phoneNumberId": NUMBER, "wabaId": WABA, "credentialsRef": {"name": "support-meta"}}
DESIRED = Desired("team-a", "support", 1, NumberSpec.model_validate(SPEC), "https://wa.example.org")
TOKEN: dict[str, Any] = {"is_valid": True, "app_id": APP, "type": "SYSTEM_USER", "scopes": list(NEEDED_SCOPES)}
KEYS = {"appId": APP, "appSecret": "secret", "accessToken": "token", "pin": "482915"}
NO_ACCESS = GraphRefused(100, 400, subcode=33)


def credentials_of(*, label: str = "true", **keys: Any) -> Any:
    """Returns the credentials that the operator reads from a Secret with these keys."""
    data = {key: value.encode() for key, value in (KEYS | keys).items() if value is not None}
    secret = Stored("team-a", "support-meta", data, {CREDENTIALS_LABEL: label}, "7")
    return credentials.read(secret, "team-a", "support-meta")


def phone(**fields: Any) -> PhoneNumber:
    """Returns Meta's answer about a number that has no problem except for `fields`."""
    callbacks = WebhookConfiguration(phone_number=DESIRED.own_url, application=DESIRED.app_url(APP))
    healthy: dict[str, Any] = {"id": NUMBER, "status": "CONNECTED", "code_verification_status": "VERIFIED"}
    return PhoneNumber(
        **{**healthy, "webhook_configuration": callbacks, "health_status": Health("AVAILABLE"), **fields}
    )


def unhealthy(entity: str, *codes: int, send: str = "BLOCKED") -> PhoneNumber:
    """Returns a number that Meta holds back because of one entity in its chain, such as its account."""
    errors = [HealthError(code) for code in codes]
    return phone(health_status=Health(send, [HealthEntity(entity, WABA, send, errors)]))


def found(
    *, failed: dict[type[Action], Exception] | None = None, registration: Registration | None = None, **at_meta: Any
) -> Observed:
    """Returns what the operator observes of a number that has no problem except for the arguments."""
    app = AppSubscription(OBJECT, DESIRED.app_url(APP), True, tuple(map(SubscribedField, FIELDS)))
    meta: dict[str, Any] = {
        "token": TokenDetails(**TOKEN),
        "number": phone(),
        "account": (SubscribedApp(APP),),
        "app": (app,),
    }
    status = {"registration": registration.as_status()} if registration else {}
    meta |= {key: value for key, value in at_meta.items() if key != "secret"}
    return Observed(
        at_meta.get("secret", credentials_of()),
        secret_version="7",
        meta=MetaState(**meta),
        failed=failed or {},
        status=status,
    )


def token(**fields: Any) -> Observed:
    """Returns the observation of a number whose token has these fields."""
    return found(token=TokenDetails(**{**TOKEN, **fields}))


def pending(registration: Registration | None = None, **secret: Any) -> Observed:
    """Returns the observation of a verified number that is not registered yet."""
    return found(number=phone(status="PENDING"), registration=registration, secret=credentials_of(**secret))


def refused(code: int) -> Observed:
    """Returns the observation of a number that Meta refused to register with this error code."""
    return pending(Registration((), 0.0, code, "7"))


SITUATIONS = [
    found(),
    found(secret=credentials.read(None, "team-a", "support-meta")),
    found(secret=credentials_of(appSecret=None)),
    found(secret=credentials_of(label="false")),
    found(token=GraphRefused(190, 400)),
    token(is_valid=False, error=TokenFault(100)),
    token(is_valid=False, error=TokenFault(190, 463)),
    token(is_valid=False, error=TokenFault(190)),
    token(scopes=[]),
    token(granular_scopes=[GranularScope(NEEDED_SCOPES[0], ["1"])]),
    token(expires_at=int(NOW + 60 * DAY_S)),
    token(expires_at=int(NOW + 3 * DAY_S)),
    found(account=NO_ACCESS),
    found(number=phone(health_status=Health("AVAILABLE", [HealthEntity("WABA", "1", "AVAILABLE")]))),
    found(account=(), failed={act.SubscribeApp: GraphRefused(200, 403)}),
    found(number=NO_ACCESS),
    found(number=phone(status="PENDING", code_verification_status="NOT_VERIFIED")),
    found(number=phone(status="BANNED")),
    found(number=phone(status="RESTRICTED")),
    pending(pin=None),
    pending(Registration((NOW - 10,))),
    refused(133005),
    refused(133016),
    refused(131037),
    refused(131042),
    found(failed={act.SetNumberCallback: GraphRefused(2200, 400)}),
    found(app=(AppSubscription(OBJECT, DESIRED.app_url(APP)),)),
    found(number=unhealthy("WABA", 141006)),
    found(number=unhealthy("BUSINESS", 141010)),
    found(number=unhealthy("PHONE_NUMBER", 131037)),
    found(number=unhealthy("APP")),
    found(number=unhealthy("PHONE_NUMBER", send="LIMITED")),
]
"""What can be found of a number, at Meta and in its Secret, while a step of the guide is missing or done."""

SHOWN = {
    (judged.condition.type, judged.condition.reason)
    for situation in SITUATIONS
    for judged in judge(DESIRED, situation, NOW)
}


@pytest.mark.parametrize(("type_", "reason"), sorted(set(CONDITION.findall(STEPS))))
def test_a_condition_that_the_guide_names_is_one_that_the_operator_shows(type_: str, reason: str) -> None:
    """The operator shows each condition that the guide names, so a reader can find it in `kubectl describe`."""
    assert (type_, reason) in SHOWN


@pytest.mark.parametrize("step", SECTIONS)
def test_a_step_says_who_where_what_when_done_what_is_shown_and_what_the_operator_does(step: str) -> None:
    """All steps of the guide have the same parts, and the overview lists each step."""
    assert tuple(re.findall(r"^- \*\*(.+?):\*\*", SECTIONS[step], re.MULTILINE)) == LABELS
    assert f"| [{step}](#" in STEPS


@pytest.mark.parametrize("step", SECTIONS)
def test_a_step_says_what_shows_that_it_is_missing(step: str) -> None:
    """Each step names the conditions or status fields that appear if a user skipped the step.

    If nothing shows this, the step says so.
    """
    shown = SECTIONS[step].split("Missing, Waypost shows:**")[1].split("- **The operator")[0]

    assert CONDITION.search(shown) or "nothing" in shown


@pytest.mark.parametrize("step", SECTIONS)
def test_a_statement_about_meta_has_a_source_or_is_marked_as_unconfirmed(step: str) -> None:
    """Each point under "Where" and "What" has a source, or says that it is unconfirmed."""
    about_meta = SECTIONS[step].split("- **Where:**")[1].split("- **Done when:**")[0]
    points = re.split(r"\n *- ", about_meta.replace("- **What:**\n", ""))

    assert [point for point in points if not (TAG.search(point) or "](" in point or "unconfirmed" in point)] == []


def test_a_tag_leads_to_a_source_with_a_date_and_an_address() -> None:
    """Each tag leads to a source with a date and an address, and each source is used by a tag."""
    listed = dict(re.findall(r"^\d+\. \[([a-z0-9]+)\] (.+)$", SOURCES, re.MULTILINE))
    addresses = dict(re.findall(r"^\[([a-z0-9]+)\]: (https://\S+)$", SOURCES, re.MULTILINE))

    assert set(TAG.findall(STEPS)) == set(listed) == set(addresses)
    assert [tag for tag, text in listed.items() if not re.search(r"\b20\d\d-\d\d-\d\d\b", text)] == []


@pytest.mark.parametrize("link", LINKS)
def test_the_guide_leads_to_metas_own_guides(link: str) -> None:
    """The guide links to Meta's own guides, where a reader can continue."""
    assert f"({link})" in STEPS


@pytest.mark.parametrize("field", sorted(set(re.findall(r"`(status\.[a-zA-Z.]+)`", STEPS))))
def test_a_field_of_the_status_that_the_guide_names_exists(field: str) -> None:
    """Each status field that the guide names exists in the schema of the CRD."""
    schema = yaml.safe_load((ROOT / "crds/waypost.dev_whatsappnumbers.yaml").read_text(encoding="utf-8"))
    found_there = schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    for name in field.split("."):
        found_there = found_there["properties"][name]

    assert found_there["description"]
