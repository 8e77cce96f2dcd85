"""The Graph client sends the right requests and reads each response. `test_network` covers real connections."""

import datetime
import email.utils
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from waypost.cloudapi.graph.client import Accepted, Credentials, GraphClient
from waypost.cloudapi.graph.errors import NO_CODE, GraphOutcomeUnknown, GraphRefused, GraphUnreachable, Verdict
from waypost.cloudapi.graph.proof import appsecret_proof

from .conftest import ACCEPTED, CREDENTIALS, MESSAGE, NUMBER, Meta

pytestmark = pytest.mark.anyio


async def refused(graph: GraphClient) -> GraphRefused:
    """Sends a message that Meta refuses, and returns the refusal."""
    with pytest.raises(GraphRefused) as raised:
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    return raised.value


def error(code: object, **more: object) -> dict[str, object]:
    """Returns an error in the form in which Graph sends it."""
    return {"error": {"message": f"(#{code}) Something", "type": "OAuthException", "code": code, **more}}


async def test_a_send_posts_the_message_to_the_numbers_edge(graph: GraphClient, meta: Meta) -> None:
    """A send posts the message unchanged, to a path with the version and the number."""
    await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    assert (meta.last.method, meta.last.url.path, meta.sent) == ("POST", f"/v26.0/{NUMBER}/messages", MESSAGE)


async def test_an_accepted_send_returns_what_meta_said(graph: GraphClient, meta: Meta) -> None:
    """The result of an accepted send has the message id, and the contact in the form in which Meta knows it.

    The result also says whether Meta holds the template back.
    """
    meta.replies(
        200,
        {
            "contacts": [{"input": "US.1", "user_id": "US.1"}],
            "messages": [{"id": "wamid.abc", "message_status": "held_for_quality_assessment"}],
        },
    )
    accepted = await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    assert accepted == Accepted("wamid.abc", None, "US.1", "held_for_quality_assessment")


async def test_the_token_travels_in_the_header_and_nowhere_else(graph: GraphClient, meta: Meta) -> None:
    """The token is sent in a header and not in the URL.

    A token in a URL would end up in the access logs of every proxy on the way.
    """
    await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    assert meta.last.headers["authorization"] == f"Bearer {CREDENTIALS.token}"
    assert CREDENTIALS.token not in str(meta.last.url)


async def test_a_rotated_token_is_used_by_the_very_next_call(graph: GraphClient, meta: Meta) -> None:
    """A call uses the token that it is given. The client stores no token."""
    await graph.send(Credentials("EAAold"), NUMBER, MESSAGE)
    await graph.send(Credentials("EAAnew"), NUMBER, MESSAGE)
    assert [r.headers["authorization"] for r in meta.requests] == ["Bearer EAAold", "Bearer EAAnew"]


async def test_a_call_carries_the_proof_of_its_credentials_and_no_app_secret(graph: GraphClient, meta: Meta) -> None:
    """A call has the proof of its credentials, but no app secret. An app can be set to refuse calls without a proof."""
    await graph.send(Credentials("EAAtoken", appsecret_proof("EAAtoken", "app secret")), NUMBER, MESSAGE)
    assert meta.last.url.params["appsecret_proof"] == appsecret_proof("EAAtoken", "app secret")


def test_an_app_acts_with_its_own_token_and_that_tokens_proof() -> None:
    """An app uses its id and secret as its token, with a proof of that token.

    Meta accepts the id and the secret as the token of an app. An app may require a proof for calls with that
    token too.
    """
    assert Credentials.of_app("7007", "app secret") == Credentials(
        "7007|app secret", appsecret_proof("7007|app secret", "app secret")
    )


async def test_a_call_without_a_proof_has_no_query(graph: GraphClient, meta: Meta) -> None:
    """A call without a proof has no query. The client adds nothing that was not requested."""
    await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    assert meta.last.url.query == b""


async def test_a_cookie_set_for_one_number_is_not_sent_for_another(graph: GraphClient, meta: Meta) -> None:
    """A cookie that was set for one number is not sent for another number.

    Numbers share connections and nothing else.
    """
    meta.replies(200, ACCEPTED, headers={"set-cookie": "session=1; Path=/"})
    await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    await graph.send(CREDENTIALS, "2", MESSAGE)
    assert "cookie" not in meta.last.headers


async def test_a_message_is_marked_as_read(graph: GraphClient, meta: Meta) -> None:
    """Marking a message as read sends the same body as the example on Meta's page."""
    meta.replies(200, {"success": True})
    await graph.mark_read(CREDENTIALS, NUMBER, "wamid.abc")
    assert meta.sent == {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.abc"}


async def test_typing_is_shown_together_with_reading(graph: GraphClient, meta: Meta) -> None:
    """The typing indicator is shown together with marking as read. Meta has no call for typing alone."""
    meta.replies(200, {"success": True})
    await graph.mark_read(CREDENTIALS, NUMBER, "wamid.abc", typing_indicator=True)
    assert isinstance(meta.sent, dict)
    assert meta.sent["typing_indicator"] == {"type": "text"}


@pytest.mark.parametrize("text", [{"success": True}, {"success": "true"}, True])
async def test_success_is_read_in_every_spelling(graph: GraphClient, meta: Meta, text: object) -> None:
    """Success is accepted in every spelling.

    Meta's pages show true and "true". Older edges respond with the bare word.
    """
    meta.replies(200, text)
    await graph.mark_read(CREDENTIALS, NUMBER, "wamid.abc")


async def test_success_false_is_a_refusal(graph: GraphClient, meta: Meta) -> None:
    """A 200 with success: false counts as a refusal."""
    meta.replies(200, {"success": False})
    with pytest.raises(GraphRefused):
        await graph.mark_read(CREDENTIALS, NUMBER, "wamid.abc")


@pytest.mark.parametrize("status", [200, 400, 401, 403, 500, 503])
async def test_the_code_decides_whatever_the_status_is(graph: GraphClient, meta: Meta, status: int) -> None:
    """The error code decides about the verdict. The HTTP status does not matter.

    Meta has sent throughput errors with 400, 403 and 429, and says that clients should decide by the code.
    """
    meta.replies(status, error(130429))
    refusal = await refused(graph)
    assert (refusal.code, refusal.verdict) == (130429, Verdict.RETRY)


@pytest.mark.parametrize(
    "text",
    [
        "API calls from the server require an appsecret_proof argument",
        "Invalid appsecret_proof provided in the API argument",
        "(#100) Invalid appsecret_proof provided in the API argument",
    ],
)
async def test_a_refused_proof_is_not_the_fault_of_the_message(graph: GraphClient, meta: Meta, text: str) -> None:
    """A refused proof pauses the number, because every other call would be refused too.

    Meta sends the same code as for a wrong parameter. Only the text of the error names the proof.
    """
    meta.replies(400, error(100, message=text, type="GraphMethodException"))
    refusal = await refused(graph)
    assert (refusal.code, refusal.verdict) == (100, Verdict.PAUSE_NUMBER)
    assert str(refusal) == "proof of the app secret is missing or wrong (code 100)"


@pytest.mark.parametrize(
    "text",
    [
        "(#100) Invalid parameter: Invalid appsecret_proof provided in the API argument",
        "(#100) Param text['body'] must not be API calls from the server require an appsecret_proof argument",
        "Invalid parameter",
        None,
    ],
)
async def test_a_wrong_parameter_is_final_whatever_it_quotes(graph: GraphClient, meta: Meta, text: object) -> None:
    """A wrong parameter is a final error, even if the error quotes a text that names the proof.

    Otherwise, a user could stop a number with the text of a message.
    """
    meta.replies(400, error(100, message=text))
    assert (await refused(graph)).verdict is Verdict.FINAL


async def test_a_refusal_carries_what_support_asks_for(graph: GraphClient, meta: Meta) -> None:
    """A refusal keeps the subcode, the trace id and Meta's own hint, because Meta's support asks for them."""
    meta.replies(500, error(2, error_subcode=2494055, fbtrace_id="AbC-1_2", is_transient=True))
    refusal = await refused(graph)
    assert (refusal.subcode, refusal.fbtrace_id, refusal.is_transient) == (2494055, "AbC-1_2", True)


async def test_a_code_written_as_a_string_is_a_code(graph: GraphClient, meta: Meta) -> None:
    """An error code that is written as a string is read as a number.

    Some proxies of Meta's partners have sent codes as strings.
    """
    meta.replies(401, error("190"))
    assert (await refused(graph)).code == 190


@pytest.mark.parametrize("code", [None, True, "many", [190], 1.5])
async def test_an_error_without_a_usable_code_is_judged_by_its_status(
    graph: GraphClient, meta: Meta, code: object
) -> None:
    """An error whose code is missing or not a whole number is judged by its HTTP status. It is still a refusal."""
    meta.replies(400, error(code))
    refusal = await refused(graph)
    assert (refusal.code, refusal.verdict) == (NO_CODE, Verdict.FINAL)


async def test_error_data_that_is_a_string_is_understood(graph: GraphClient, meta: Meta) -> None:
    """The details of an error are read from a string too.

    Old responses have a string where newer responses have an object.
    """
    meta.replies(400, error(100, error_data="Before override, your app must be subscribed"))
    with pytest.raises(GraphRefused) as raised:
        await graph.subscribe_app(CREDENTIALS, "102290129340398")
    assert raised.value.details == "Before override, your app must be subscribed"


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_5xx_without_a_graph_error_leaves_a_send_unknown(graph: GraphClient, meta: Meta, status: int) -> None:
    """After a 5xx without a Graph error, the outcome of a send is unknown.

    A gateway that timed out does not know what the server behind it did.
    """
    meta.replies(status, b"<html>Bad gateway</html>")
    with pytest.raises(GraphOutcomeUnknown):
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"messages":',
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"messages":[]}',
        b'{"messages":[{"id":""}]}',
    ],
)
async def test_a_success_that_cannot_be_read_leaves_a_send_unknown(graph: GraphClient, meta: Meta, body: bytes) -> None:
    """After a success that cannot be read, the outcome of a send is unknown.

    A send with a 200 and no message id was probably accepted, so it must not count as failed.
    """
    meta.replies(200, body)
    with pytest.raises(GraphOutcomeUnknown):
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)


NOT_SENT = [301, 302, 307, 308, *(status for status in range(400, 432) if status != 408), 451]
UNKNOWN = [200, 201, 204, 206, 300, 303, 304, 408, 499, 500, 501, 502, 503, 504, 511, 520, 599]


@pytest.mark.parametrize("status", NOT_SENT)
@pytest.mark.parametrize(
    "body", [b"", b"<html>Blocked by policy</html>", b'{"message": "no"}', b'{"error": "no"}', b"[]"]
)
async def test_a_refusal_that_is_not_graphs_says_that_nothing_was_sent(
    graph: GraphClient, meta: Meta, status: int, body: bytes
) -> None:
    """A refusal without Graph's envelope is not Graph's verdict. Something before the Graph API refused the request.

    So nothing was sent, and the message is as good as before.
    """
    meta.replies(status, body, headers={"retry-after": "7"})
    with pytest.raises(GraphUnreachable) as raised:
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    assert (raised.value.http_status, raised.value.retry_after_s) == (status, 7)
    assert "policy" not in str(raised.value)


Call = Callable[[GraphClient], Awaitable[object]]


@pytest.mark.parametrize("status", [401, 403, 404, 407, 429])
@pytest.mark.parametrize(
    "call",
    [
        lambda graph: graph.debug_token(CREDENTIALS, "EAAtoken"),
        lambda graph: graph.media(CREDENTIALS, "9"),
        lambda graph: graph.mark_read(CREDENTIALS, NUMBER, "wamid.abc"),
        lambda graph: graph.subscribe_app(CREDENTIALS, "102290129340398"),
    ],
    ids=["token", "media", "read", "subscription"],
)
async def test_a_page_of_a_proxy_makes_no_token_wrong_and_no_object_gone(
    graph: GraphClient, meta: Meta, call: Call, status: int
) -> None:
    """For every call, a page of a proxy is an outage. Only a refusal of the Graph API changes what is known."""
    meta.replies(status, b"<html>Blocked by policy</html>")
    with pytest.raises(GraphUnreachable):
        await call(graph)


@pytest.mark.parametrize("status", UNKNOWN)
async def test_any_other_answer_that_is_not_graphs_leaves_a_send_unknown(
    graph: GraphClient, meta: Meta, status: int
) -> None:
    """An answer without Graph's envelope that is no refusal proves nothing, so the send is never repeated."""
    meta.replies(status, b"<html>Sign in</html>")
    with pytest.raises(GraphOutcomeUnknown):
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)


@pytest.mark.parametrize(
    "envelope",
    [
        {"code": 403, "message": "The caller does not have permission", "status": "PERMISSION_DENIED"},
        {"code": "AccessDenied", "message": "no"},
        {"message": "Forbidden"},
        {"type": "security_exception", "reason": "missing authentication credentials"},
        {"type": "forbidden", "code": 403},
        {},
    ],
)
async def test_the_error_of_another_makers_gateway_is_not_graphs(
    graph: GraphClient, meta: Meta, envelope: dict[str, object]
) -> None:
    """Gateways of other makers answer with an object `error` too. It has neither Graph's type nor its trace id."""
    meta.replies(403, {"error": envelope})
    with pytest.raises(GraphUnreachable):
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)


@pytest.mark.parametrize(
    "envelope",
    [{"code": 190}, {"code": "131026"}, {"code": 999999, "fbtrace_id": "A1"}, {"code": 9, "type": "OAuthException"}],
)
async def test_an_envelope_of_graph_is_recognised_by_its_code_type_or_trace_id(
    graph: GraphClient, meta: Meta, envelope: dict[str, object]
) -> None:
    """An error is Graph's if it has a known code, a type or a trace id."""
    meta.replies(403, {"error": envelope})
    assert (await refused(graph)).code == int(str(envelope["code"]))


async def test_a_redirect_is_not_followed(graph: GraphClient, meta: Meta) -> None:
    """A redirect is not followed. Otherwise, the client would send the token to the host that the redirect names."""
    meta.replies(307, b"", headers={"location": "https://elsewhere.example/"})
    with pytest.raises(GraphUnreachable):
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)
    assert len(meta.requests) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": " 0 "}, 0),
        ({"retry-after": "Wed, 01 Jan 2020 00:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "999999999"}, 86_400),
        ({"x-business-use-case-usage": json.dumps({"1": [{"estimated_time_to_regain_access": 3}]})}, 180),
        ({"x-business-use-case-usage": json.dumps({"1": [{"type": "messaging", "call_count": 9}]})}, None),
        (
            {"x-business-use-case-usage": json.dumps({"1": [{"estimated_time_to_regain_access": 1}, {}], "2": []})},
            60,
        ),
        ({"x-business-use-case-usage": "nonsense"}, None),
        (
            {
                "retry-after": "30",
                "x-business-use-case-usage": json.dumps({"1": [{"estimated_time_to_regain_access": 1}]}),
            },
            60,
        ),
    ],
)
async def test_the_wait_that_meta_asks_for_is_returned(
    graph: GraphClient, meta: Meta, headers: dict[str, str], seconds: float | None
) -> None:
    """The wait that Meta asks for is returned.

    Retry-After is in seconds, and the usage header is in minutes. The longer wait counts, up to one day.
    """
    meta.replies(400, error(80007), headers=headers)
    assert (await refused(graph)).retry_after_s == seconds


async def test_a_wait_given_as_a_date_is_converted_to_seconds(graph: GraphClient, meta: Meta) -> None:
    """A date in Retry-After is converted to seconds, because RFC 9110 allows a date there."""
    at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=2)
    meta.replies(503, error(4), headers={"retry-after": email.utils.format_datetime(at, usegmt=True)})
    wait = (await refused(graph)).retry_after_s
    assert wait is not None
    assert 3600 < wait <= 7200


@pytest.mark.parametrize("number", ["", "..", "1/2", "1?x=1", "1#", "1 2", "%2e%2e", "é"])
async def test_an_id_that_would_change_the_address_is_not_sent(graph: GraphClient, meta: Meta, number: str) -> None:
    """A call is not sent if one of its ids would change the address.

    Ids come from custom resources and webhooks. No id may turn a call into another call.
    """
    with pytest.raises(GraphRefused, match="phone_number_id is not an id"):
        await graph.send(CREDENTIALS, number, MESSAGE)
    assert meta.requests == []


@pytest.mark.parametrize("token", ["", "a b", "a\nb", "tökén", "a\x00b"])
async def test_an_invalid_token_is_not_sent(graph: GraphClient, meta: Meta, token: str) -> None:
    """An invalid token is not sent.

    A Secret with a stray newline gives one clear error line that does not quote the token.
    """
    with pytest.raises(GraphRefused, match="the token contains characters that no token has"):
        await graph.send(Credentials(token), NUMBER, MESSAGE)
    assert meta.requests == []


async def test_a_payload_that_is_not_json_is_not_sent(graph: GraphClient, meta: Meta) -> None:
    """A payload that cannot be written as JSON is not sent. A lone surrogate cannot be written as UTF-8."""
    with pytest.raises(GraphRefused, match="cannot be written as JSON"):
        await graph.send(CREDENTIALS, NUMBER, {"text": "\ud800"})
    assert meta.requests == []


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (httpx.ConnectError("refused"), GraphUnreachable),
        (httpx.ConnectTimeout("slow"), GraphUnreachable),
        (httpx.PoolTimeout("full"), GraphUnreachable),
        (httpx.ProxyError("407"), GraphUnreachable),
        (httpx.WriteTimeout("slow"), GraphOutcomeUnknown),
        (httpx.WriteError("reset"), GraphOutcomeUnknown),
        (httpx.ReadTimeout("slow"), GraphOutcomeUnknown),
        (httpx.ReadError("reset"), GraphOutcomeUnknown),
        (httpx.CloseError("reset"), GraphOutcomeUnknown),
        (httpx.RemoteProtocolError("garbage"), GraphOutcomeUnknown),
    ],
)
async def test_a_failure_of_the_network_is_only_called_harmless_if_nothing_was_sent(
    graph: GraphClient, meta: Meta, failure: Exception, expected: type[Exception]
) -> None:
    """A network failure counts as harmless only if nothing was sent.

    The rule that a send is never repeated blindly depends on this.
    """

    def fail(_request: httpx.Request) -> httpx.Response:
        raise failure

    meta.answer = fail
    with pytest.raises(expected):
        await graph.send(CREDENTIALS, NUMBER, MESSAGE)
