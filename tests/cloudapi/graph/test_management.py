"""Management calls send what Meta documents and read Meta's responses."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from waypost.cloudapi.graph.apps import AppSubscription, SubscribedField
from waypost.cloudapi.graph.business_accounts import SubscribedApp
from waypost.cloudapi.graph.client import Credentials, GraphClient, Override
from waypost.cloudapi.graph.errors import GraphOutcomeUnknown, GraphRefused
from waypost.cloudapi.graph.numbers import Health, HealthEntity, HealthError, Profile, WebhookConfiguration

from .conftest import CREDENTIALS, NUMBER, Meta

pytestmark = pytest.mark.anyio

WABA = "102290129340398"
APP = "670843887433847"
APP_TOKEN = Credentials("670843887433847|app-token")
OVERRIDE = Override("https://bots.example/webhooks/team-a/support", "verify0123456789")
CALLS: dict[str, tuple[Callable[[GraphClient], Awaitable[object]], str, str, dict[str, str], object]] = {
    "register": (
        lambda g: g.register(CREDENTIALS, NUMBER, pin="123456"),
        "POST", f"/{NUMBER}/register", {}, {"messaging_product": "whatsapp", "pin": "123456"},
    ),
    "register in a region": (
        lambda g: g.register(CREDENTIALS, NUMBER, pin="123456", data_localization_region="DE"),
        "POST", f"/{NUMBER}/register", {},
        {"messaging_product": "whatsapp", "pin": "123456", "data_localization_region": "DE"},
    ),
    "override a number's callback": (
        lambda g: g.override_number_webhook(CREDENTIALS, NUMBER, OVERRIDE),
        "POST", f"/{NUMBER}", {},
        {"webhook_configuration": {"override_callback_uri": OVERRIDE.callback_uri, "verify_token": "verify0123456789"}},
    ),
    "remove a number's override": (
        lambda g: g.override_number_webhook(CREDENTIALS, NUMBER, None),
        "POST", f"/{NUMBER}", {}, {"webhook_configuration": {"override_callback_uri": ""}},
    ),
    "set a profile": (
        lambda g: g.set_profile(CREDENTIALS, NUMBER, Profile(about="Open daily", websites=["https://shop.example"])),
        "POST", f"/{NUMBER}/whatsapp_business_profile", {},
        {"messaging_product": "whatsapp", "about": "Open daily", "websites": ["https://shop.example"]},
    ),
    "subscribe the app": (
        lambda g: g.subscribe_app(CREDENTIALS, WABA), "POST", f"/{WABA}/subscribed_apps", {}, None,
    ),
    "subscribe the app with an override": (
        lambda g: g.subscribe_app(CREDENTIALS, WABA, OVERRIDE),
        "POST", f"/{WABA}/subscribed_apps", {},
        {"override_callback_uri": OVERRIDE.callback_uri, "verify_token": "verify0123456789"},
    ),
    "unsubscribe the app": (
        lambda g: g.unsubscribe_app(CREDENTIALS, WABA), "DELETE", f"/{WABA}/subscribed_apps", {}, None,
    ),
    "set the app's callback": (
        lambda g: g.set_app_subscription(
            APP_TOKEN, APP, callback_url="https://bots.example/w", verify_token="v", fields=["messages", "calls"]
        ),
        "POST", f"/{APP}/subscriptions", {},
        {
            "object": "whatsapp_business_account", "callback_url": "https://bots.example/w", "verify_token": "v",
            "fields": "messages,calls", "include_values": True,
        },
    ),
    "revoke a token": (
        lambda g: g.revoke_token(APP, "secret", "EAAold", with_token="EAAnew"),
        "GET", "/oauth/revoke", {"client_id": APP, "client_secret": "secret", "revoke_token": "EAAold"}, None,
    ),
    "edit a template": (
        lambda g: g.edit_template(CREDENTIALS, "7", components=[{"type": "BODY", "text": "Hi"}]),
        "POST", "/7", {}, {"components": [{"type": "BODY", "text": "Hi"}]},
    ),
    "delete a template in all languages": (
        lambda g: g.delete_template(CREDENTIALS, WABA, name="hello"),
        "DELETE", f"/{WABA}/message_templates", {"name": "hello"}, None,
    ),
    "delete one template": (
        lambda g: g.delete_template(CREDENTIALS, WABA, name="hello", template_id="7"),
        "DELETE", f"/{WABA}/message_templates", {"name": "hello", "hsm_id": "7"}, None,
    ),
    "delete media": (lambda g: g.delete_media(CREDENTIALS, "9"), "DELETE", "/9", {}, None),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
async def test_a_change_is_requested_as_meta_documents_it(graph: GraphClient, meta: Meta, name: str) -> None:
    """Each call that Meta answers with success has the documented method, path, query and body."""
    call, method, path, query, body = CALLS[name]
    meta.replies(200, {"success": True})
    await call(graph)
    asked = {key: value for key, value in meta.last.url.params.items() if key != "appsecret_proof"}
    sent = json.loads(meta.last.content) if meta.last.content else None
    assert (meta.last.method, meta.last.url.path, asked, sent) == (method, f"/v26.0{path}", query, body)


@pytest.mark.parametrize("name", CALLS)
async def test_a_change_that_meta_does_not_confirm_is_not_a_success(graph: GraphClient, meta: Meta, name: str) -> None:
    """A change that Meta answers with an empty 200 is not a success."""
    meta.replies(200, {})
    with pytest.raises(GraphOutcomeUnknown):
        await CALLS[name][0](graph)


async def test_the_state_of_a_number_is_read_with_all_its_parts(graph: GraphClient, meta: Meta) -> None:
    """The state of a number is read with its nested objects. Unknown members are ignored."""
    meta.replies(
        200,
        {
            "id": NUMBER,
            "verified_name": "Shop",
            "status": "CONNECTED",
            "quality_rating": "NEW_COLOUR",
            "throughput": {"level": "HIGH"},
            "is_pin_enabled": True,
            "webhook_configuration": {"application": "https://bots.example/w"},
            "a_field_of_2030": [1],
        },
    )
    number = await graph.phone_number(CREDENTIALS, NUMBER)
    assert (number.status, number.quality_rating, number.is_pin_enabled) == ("CONNECTED", "NEW_COLOUR", True)
    assert number.throughput is not None
    assert number.throughput.level == "HIGH"
    assert number.webhook_configuration == WebhookConfiguration(application="https://bots.example/w")


async def test_a_number_asks_for_the_fields_that_the_operator_needs(graph: GraphClient, meta: Meta) -> None:
    """A request for a number asks for the fields that the operator needs.

    Without `fields`, Graph returns almost nothing.
    """
    meta.replies(200, {"id": NUMBER})
    await graph.phone_number(CREDENTIALS, NUMBER)
    assert {"status", "health_status", "webhook_configuration", "platform_type"} <= set(
        meta.last.url.params["fields"].split(",")
    )


async def test_health_shows_which_link_of_the_chain_is_broken(graph: GraphClient, meta: Meta) -> None:
    """The health of a number shows whether the number, the account, the business or the app is blocked.

    Meta judges each of them separately.
    """
    problem = {"error_code": 141006, "error_description": "No payment method", "possible_solution": "Add one"}
    entity = {"entity_type": "WABA", "id": WABA, "can_send_message": "BLOCKED", "errors": [problem]}
    meta.replies(200, {"health_status": {"can_send_message": "BLOCKED", "entities": [entity]}, "id": NUMBER})
    assert (await graph.phone_number(CREDENTIALS, NUMBER)).health_status == Health(
        "BLOCKED", [HealthEntity("WABA", WABA, "BLOCKED", [HealthError(141006, "No payment method", "Add one")])]
    )


async def test_the_callback_of_a_number_is_read_back(graph: GraphClient, meta: Meta) -> None:
    """All three levels of a number's callback are read. Meta delivers to the first level that is set."""
    meta.replies(
        200, {"id": NUMBER, "webhook_configuration": {"phone_number": "https://a", "application": "https://b"}}
    )
    number = await graph.phone_number(CREDENTIALS, NUMBER)
    assert number.webhook_configuration == WebhookConfiguration("https://a", None, "https://b")


@pytest.mark.parametrize(("data", "about"), [([{"about": "Hi", "messaging_product": "whatsapp"}], "Hi"), ([], None)])
async def test_a_profile_is_unwrapped(graph: GraphClient, meta: Meta, data: list[Any], about: str | None) -> None:
    """The profile of a number is taken out of the list in which Graph returns it."""
    meta.replies(200, {"data": data})
    assert (await graph.profile(CREDENTIALS, NUMBER)).about == about


async def test_the_state_of_an_account_is_read(graph: GraphClient, meta: Meta) -> None:
    """The name and the review status of an account are read."""
    meta.replies(200, {"id": WABA, "name": "Shop", "account_review_status": "APPROVED", "timezone_id": "1"})
    account = await graph.account(CREDENTIALS, WABA)
    assert (account.name, account.account_review_status) == ("Shop", "APPROVED")


async def test_subscribed_apps_have_their_override(graph: GraphClient, meta: Meta) -> None:
    """Subscribed apps are returned with their override. The operator reads back what it has set."""
    meta.replies(
        200,
        {
            "data": [
                {"whatsapp_business_api_data": {"id": APP, "name": "Bots", "link": "https://x"}},
                {"whatsapp_business_api_data": {"id": "2"}, "override_callback_uri": "https://bots.example/w"},
            ]
        },
    )
    assert await graph.subscribed_apps(CREDENTIALS, WABA) == (
        SubscribedApp(APP, "Bots", None),
        SubscribedApp("2", "", "https://bots.example/w"),
    )


async def test_app_subscriptions_have_callback_and_fields(graph: GraphClient, meta: Meta) -> None:
    """App subscriptions are returned with their callback and fields.

    Each field has a version. Old responses contain only the names of the fields.
    """
    meta.replies(
        200,
        {
            "data": [
                {
                    "object": "whatsapp_business_account",
                    "callback_url": "https://bots.example/w",
                    "active": True,
                    "fields": [{"name": "messages", "version": "v26.0"}, "calls"],
                }
            ]
        },
    )
    assert await graph.app_subscriptions(APP_TOKEN, APP) == (
        AppSubscription(
            "whatsapp_business_account",
            "https://bots.example/w",
            True,
            (SubscribedField("messages", "v26.0"), SubscribedField("calls")),
        ),
    )


async def test_a_token_is_inspected_with_the_apps_token(graph: GraphClient, meta: Meta) -> None:
    """A token is inspected with the app's token.

    The result has validity, expiry, scopes and the accounts that the scopes apply to.
    """
    meta.replies(
        200,
        {
            "data": {
                "app_id": APP,
                "type": "SYSTEM_USER",
                "is_valid": True,
                "expires_at": 1_790_000_000,
                "scopes": ["whatsapp_business_messaging"],
                "granular_scopes": [{"scope": "whatsapp_business_messaging", "target_ids": [WABA]}],
            }
        },
    )
    details = await graph.debug_token(APP_TOKEN, "EAAinspected")
    assert meta.last.headers["authorization"] == f"Bearer {APP_TOKEN.token}"
    assert (details.is_valid, details.expires_at, details.scopes) == (
        True,
        1_790_000_000,
        ["whatsapp_business_messaging"],
    )
    assert details.granular_scopes[0].target_ids == [WABA]


async def test_an_invalid_token_has_a_reason(graph: GraphClient, meta: Meta) -> None:
    """The details of an invalid token have a code and a subcode, but never Meta's words."""
    meta.replies(200, {"data": {"is_valid": False, "error": {"code": 190, "subcode": 463, "message": "expired"}}})
    fault = (await graph.debug_token(APP_TOKEN, "EAAinspected")).error
    assert fault is not None
    assert (fault.code, fault.subcode) == (190, 463)


async def test_a_token_is_refreshed_for_sixty_days(graph: GraphClient, meta: Meta) -> None:
    """A refresh of a token asks Meta for 60 days."""
    meta.replies(200, {"access_token": "EAAnew", "token_type": "bearer", "expires_in": 5183944})
    issued = await graph.refresh_token(APP, "secret", "EAAold")
    assert issued.token == "EAAnew"
    assert meta.last.url.params["set_token_expires_in_60_days"] == "true"


def paged(*pages: list[dict[str, object]]) -> Callable[[httpx.Request], httpx.Response]:
    """Returns an `answer` for a listing with these pages and the cursors c1, c2 and so on.

    The client must not follow the `next` addresses.
    """

    def answer(request: httpx.Request) -> httpx.Response:
        index = int(request.url.params.get("after", "c0")[1:])
        body: dict[str, object] = {"data": pages[index], "paging": {"cursors": {"after": f"c{index + 1}"}}}
        if index + 1 < len(pages):
            body["paging"] = {
                "cursors": {"after": f"c{index + 1}"},
                "next": "https://elsewhere.example/?access_token=T",
            }
        return httpx.Response(200, json=body)

    return answer


async def test_a_listing_is_followed_to_its_end(graph: GraphClient, meta: Meta) -> None:
    """A listing is read to its last page. An account may have more templates than fit on a page."""
    meta.answer = paged([{"id": "1"}, {"id": "2"}], [], [{"id": "3"}])
    assert [template.id async for template in graph.templates(CREDENTIALS, WABA)] == ["1", "2", "3"]


async def test_a_listing_is_followed_by_cursor_and_not_by_address(graph: GraphClient, meta: Meta) -> None:
    """A listing is followed by its cursor and not by the `next` address.

    Meta's address contains the token and could name any host.
    """
    meta.answer = paged([{"id": "1"}], [{"id": "2"}])
    assert [template.id async for template in graph.templates(CREDENTIALS, WABA)] == ["1", "2"]
    assert {request.url.host for request in meta.requests} == {"graph.facebook.com"}


async def test_a_listing_that_does_not_advance_is_an_error(graph: GraphClient, meta: Meta) -> None:
    """A listing that does not advance is an error.

    If a page has the same cursor as the page before it, the client would request it forever.
    """
    meta.replies(200, {"data": [], "paging": {"cursors": {"after": "c"}, "next": "https://graph.facebook.com/x"}})
    with pytest.raises(GraphOutcomeUnknown, match="does not advance"):
        assert [template async for template in graph.templates(CREDENTIALS, WABA)]


async def test_templates_are_found_by_name(graph: GraphClient, meta: Meta) -> None:
    """Templates are found by name. One name may have several languages."""
    meta.replies(200, {"data": [{"id": "7", "name": "hello", "language": "it", "status": "APPROVED"}]})
    found = [template async for template in graph.templates(CREDENTIALS, WABA, name="hello")]
    assert (meta.last.url.params["name"], found[0].language, found[0].status) == ("hello", "it", "APPROVED")


async def test_a_template_is_looked_up_by_its_id(graph: GraphClient, meta: Meta) -> None:
    """A template is looked up by its id, because webhooks about templates carry the id."""
    meta.replies(200, {"id": "7", "name": "hello", "status": "PAUSED", "components": [{"type": "BODY", "text": "Hi"}]})
    template = await graph.template(CREDENTIALS, "7")
    assert (template.status, template.components) == ("PAUSED", [{"type": "BODY", "text": "Hi"}])


async def test_a_new_template_returns_its_review(graph: GraphClient, meta: Meta) -> None:
    """A new template is returned with its status and category. Meta may put it into another category at once."""
    meta.replies(200, {"id": "7", "status": "PENDING", "category": "MARKETING"})
    created = await graph.create_template(
        CREDENTIALS,
        WABA,
        name="hello",
        language="en",
        category="UTILITY",
        components=[{"type": "BODY", "text": "Hi {{name}}"}],
        parameter_format="NAMED",
    )
    assert (created.id, created.status, created.category) == ("7", "PENDING", "MARKETING")
    assert isinstance(meta.sent, dict)
    assert meta.sent["parameter_format"] == "NAMED"


@pytest.mark.parametrize("answer", [[], {"data": 1}, {"data": [{"id": 1}]}, "text", None])
async def test_a_response_of_another_shape_is_a_graph_error(graph: GraphClient, meta: Meta, answer: object) -> None:
    """A response of another shape is a `GraphError`. A caller has to catch only this class."""
    meta.replies(200, answer)
    with pytest.raises(GraphOutcomeUnknown):
        await graph.subscribed_apps(CREDENTIALS, WABA)


async def test_a_failed_callback_check_returns_what_meta_saw(graph: GraphClient, meta: Meta) -> None:
    """The error of a failed callback check contains what Meta saw.

    The operator shows the status that the callback returned.
    """
    message = "(#2200) Callback verification failed with the following errors: HTTP Status Code = 404"
    meta.replies(400, {"error": {"message": message, "code": 2200}})
    with pytest.raises(GraphRefused) as raised:
        await graph.subscribe_app(CREDENTIALS, WABA, OVERRIDE)
    assert raised.value.details == message
