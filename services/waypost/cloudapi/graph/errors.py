"""Errors of calls to the Graph API, and the meaning of each error code for a message.

    GraphError
    ├── GraphRefused         Meta (or this client, before sending) refused. `verdict` says what to do about it.
    ├── GraphUnreachable     The request did not reach the Graph API, so nothing was sent. A retry is safe.
    └── GraphOutcomeUnknown  Request bytes may have been sent and no usable response came. Never repeat a send.

The messages of these errors never contain a token, a phone number, a body or a URL query. So they may be
logged and shown in conditions.

The codes, their meaning and the decision whether to retry come from Meta's "Error codes" page (copy of
2026-09-11). Where that page says nothing, they come from integrators. Meta asks clients to decide by `code`,
never by titles, subcodes or the HTTP status. The only exception is `proof_refused`, for which Meta has no
code but only a text.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple


class Verdict(enum.StrEnum):
    """What an error code means for the message or the call that failed with it."""

    RETRY = "retry"
    """Meta rejected the request before processing it. Repeat it later, with back-off."""
    AMBIGUOUS = "ambiguous"
    """The message may have been sent. Never repeat a send: a status webhook settles its outcome.

    A read may be repeated.
    """
    FINAL = "final"
    """This message will never be accepted; the next one may be."""
    PAUSE_NUMBER = "pause-number"
    """Every message of this number would fail in the same way, or make matters worse.

    Stop the number and alert a person.
    """
    PAUSE_PAIR = "pause-pair"
    """Only this contact must wait. The message was not processed and is repeated later."""
    NEEDS_TEMPLATE = "needs-template"
    """The 24 h window is closed: only a template may be sent."""
    OPTED_OUT = "opted-out"
    """The contact refuses this kind of message; never send it again."""
    OPERATOR = "operator"
    """This call will never succeed, and the operator or a person must act.

    Other messages of the number may still be sent.
    """


class Rule(NamedTuple):
    """One row of the verdict table."""

    verdict: Verdict
    reason: str
    codes: Mapping[int | range, str]
    """Maps a code, or a range of codes, to a title in plain words."""


RULES: tuple[Rule, ...] = (
    Rule(
        Verdict.PAUSE_NUMBER,
        "the token is not valid, so every call with it fails until it is replaced",
        {0: "access token could not be authenticated", 190: "access token is invalid or has expired"},
    ),
    Rule(
        Verdict.PAUSE_NUMBER,
        "the token lacks a permission or the system user lacks access to the account; every send fails until granted",
        {
            10: "permission for this call is missing or was removed",
            range(200, 300): "permission for this call is missing, or no access to the account",
            131005: "permission for this call is missing or was removed",
        },
    ),
    Rule(
        Verdict.PAUSE_NUMBER,
        "Meta blocked or locked the account; further sends are refused and can prolong the block",
        {368: "account is blocked for a policy violation", 131031: "account is locked"},
    ),
    Rule(
        Verdict.PAUSE_NUMBER,
        "many messages of this number were blocked or reported; more traffic lowers its quality further, "
        "so there is no automatic retry",
        {131048: "spam rate limit of the number"},
    ),
    Rule(
        Verdict.PAUSE_NUMBER,
        "nothing is delivered until a person settles the payment method of the account",
        {131042: "payment method of the account has a problem"},
    ),
    Rule(
        Verdict.PAUSE_NUMBER,
        "the number itself cannot send until it is registered or its display name is approved",
        {
            131037: "display name of the number is not approved",
            131045: "number failed registration",
            133010: "number is not registered on the Cloud API",
        },
    ),
    Rule(
        Verdict.PAUSE_PAIR,
        "too many messages from this number to this one contact; rejected before processing",
        {131056: "pair rate limit"},
    ),
    Rule(
        Verdict.RETRY,
        "a rate limit, checked before processing, so the same message is safe to repeat",
        {
            4: "app rate limit",
            80007: "WhatsApp Business account rate limit",
            130429: "throughput of the number is used up",
        },
    ),
    Rule(
        Verdict.RETRY,
        "Meta could not verify the callback; nothing was changed, and it works once the endpoint answers",
        {2200: "callback verification failed"},
    ),
    Rule(
        Verdict.AMBIGUOUS,
        "an error on Meta's side at an unknown point: the message may have been sent",
        {
            1: "unknown error at Meta",
            2: "service temporarily unavailable at Meta",
            131000: "something went wrong at Meta",
            131016: "service unavailable at Meta",
            131057: "account is in maintenance, for about a minute",
            133004: "server temporarily unavailable at Meta",
            2494100: "number is in maintenance or being migrated",
        },
    ),
    Rule(
        Verdict.NEEDS_TEMPLATE,
        "more than 24 h since the contact's last message or call; only a template is accepted",
        {131047: "customer service window is closed"},
    ),
    Rule(
        Verdict.OPTED_OUT,
        "the contact stopped marketing messages of this business",
        {131050: "contact opted out of marketing messages"},
    ),
    Rule(
        Verdict.OPERATOR,
        "the app may not use this kind of call; other kinds may work, so the number continues",
        {
            3: "app lacks the capability for this call",
            131063: "marketing templates are turned off on this interface",
            131064: "limited because templates were given a wrong category",
            134011: "payment terms of service are not accepted",
        },
    ),
    Rule(
        Verdict.OPERATOR,
        "registration, verification code or two-step PIN: repeating it automatically can lock the number for days",
        {
            133000: "an earlier deregistration is incomplete",
            133005: "two-step verification PIN is wrong",
            133006: "number must be verified first",
            133008: "too many guesses of the two-step verification PIN",
            133009: "two-step verification PIN was entered too fast",
            133015: "number was deleted a short time ago; wait 5 minutes",
            133016: "more than 10 registrations or deregistrations in 72 hours",
            136024: "request for a verification code was refused",
            136025: "verification code was refused",
        },
    ),
    Rule(
        Verdict.FINAL,
        "the request itself is wrong or names something that does not exist; a repetition would fail too",
        {
            33: "object does not exist or is not accessible",
            100: "a parameter is wrong, or the object is not accessible",
            131008: "a required parameter is missing",
            131009: "a parameter value is not valid",
            131021: "sender and recipient are the same number",
            131051: "message type is not supported",
            137000: "identity hash of the contact does not match",
        },
    ),
    Rule(
        Verdict.FINAL,
        "this recipient cannot be reached with this message; others can",
        {
            130403: "recipient is blocked by the business",
            130497: "messages to recipients in this country are restricted",
            131026: "message is undeliverable",
            131030: "recipient is not in the list of allowed test numbers",
            131062: "this template needs a phone number, not a business-scoped user id",
        },
    ),
    Rule(
        Verdict.FINAL,
        "Meta chose not to deliver it, and asks not to try again for at least 24 h",
        {130472: "recipient is part of an experiment", 131049: "not delivered to keep ecosystem engagement healthy"},
    ),
    Rule(
        Verdict.FINAL,
        "the media is the problem: deleted, too large or of a wrong type",
        {131052: "media could not be downloaded", 131053: "media could not be uploaded"},
    ),
    Rule(
        Verdict.FINAL,
        "Meta reports an incoming message that it cannot show; no call of ours failed",
        {131060: "incoming message is unavailable"},
    ),
    Rule(
        Verdict.FINAL,
        "the template or flow does not fit the message or is blocked; once a person corrects it, new messages pass",
        {
            132000: "number of parameters differs from the template",
            132001: "template does not exist in this language or is not approved",
            132005: "template text becomes too long",
            132007: "template content violates a policy",
            132012: "parameter format differs from the template",
            132015: "template is paused for low quality",
            132016: "template is disabled for low quality",
            132068: "flow is blocked",
            132069: "flow is throttled",
            range(2388000, 2389000): "template could not be created or changed",
        },
    ),
    Rule(
        Verdict.FINAL,
        "generic refusal, also used when pacing drops a held template; Meta's page does not suggest a retry",
        {135000: "generic error"},
    ),
    Rule(
        Verdict.FINAL,
        "synchronisation with the WhatsApp Business app can be requested only once, and only in time",
        {2593107: "synchronisation limit exceeded", 2593108: "synchronisation was requested too late"},
    ),
)

PROOF_REFUSED = "proof of the app secret is missing or wrong"
"""Title for a missing or wrong proof.

Meta uses the code of a wrong parameter, although no message is at fault: every call with these credentials is refused
until the app secret here equals the one at Meta.
"""

NO_CODE = -1
"""`GraphRefused.code` if the response had no Graph code, or if this client refused before sending."""


def _rows() -> dict[int, tuple[Rule, str]]:
    rows: dict[int, tuple[Rule, str]] = {}
    for rule in RULES:
        for key, title in rule.codes.items():
            for code in key if isinstance(key, range) else (key,):
                assert code not in rows, f"code {code} occurs twice in the verdict table"
                rows[code] = (rule, title)
    return rows


_ROWS = _rows()


def is_known(code: int | None) -> bool:
    """Returns whether the verdict table contains `code`."""
    return code in _ROWS


def verdict(code: int, http_status: int) -> Verdict:
    """Returns what to do about `code`. The HTTP status counts only for codes that the table does not contain.

    For such a code, status 429 gives RETRY, any other 4xx gives FINAL, and everything else gives AMBIGUOUS. The
    function never raises. An error in a status webhook has no HTTP status. Pass 400 for it: Meta has reported a
    failure, so nothing is ambiguous.
    """
    row = _ROWS.get(code)
    if row is not None:
        return row[0].verdict
    if http_status == 429:
        return Verdict.RETRY
    if 400 <= http_status < 500:
        return Verdict.FINAL
    return Verdict.AMBIGUOUS


def title(code: int) -> str:
    """Returns the meaning of `code` from the table.

    This text may be logged. Meta's `message` may not, because it can quote a token or a text.
    """
    row = _ROWS.get(code)
    return row[1] if row is not None else "error unknown to this version"


def reason(code: int) -> str | None:
    """Returns the reason for the verdict on `code` in words, or None for a code that the table does not contain."""
    row = _ROWS.get(code)
    return row[0].reason if row is not None else None


class GraphError(Exception):
    """Base class of all failures of Graph calls. The module's docstring shows all its subclasses."""


class GraphRefused(GraphError):
    """Meta refused the call with a code, or this client found it invalid and did not send it.

    `verdict` says whether to retry.

    `str()` has the code and a title from the table. It never has Meta's own words, because those can quote a
    token or a text.
    """

    def __init__(
        self,
        code: int,
        http_status: int,
        *,
        subcode: int | None = None,
        title_override: str | None = None,
        details: str = "",
        retry_after_s: float | None = None,
        is_transient: bool | None = None,
        fbtrace_id: str | None = None,
        proof_refused: bool = False,
    ) -> None:
        self.code = code
        self.http_status = http_status
        self.subcode = subcode
        self.proof_refused = proof_refused
        self.verdict = Verdict.PAUSE_NUMBER if proof_refused else verdict(code, http_status)
        self.title = title_override or (PROOF_REFUSED if proof_refused else title(code))
        self.details = details
        """Meta's explanation without tokens and long numbers; empty for calls that carry message content."""
        self.retry_after_s = retry_after_s
        """The wait that Meta asks for, in seconds, or None."""
        self.is_transient = is_transient
        """Meta's own hint that a retry may succeed.

        It is recorded but not followed: it does not say whether a message was sent.
        """
        self.fbtrace_id = fbtrace_id
        """The trace id that Meta's support asks for."""
        if code != NO_CODE:
            where = f" (code {code})" if subcode is None else f" (code {code}/{subcode})"
        else:
            where = f" (HTTP {http_status})" if http_status else ""
        super().__init__(self.title + where)

    @classmethod
    def by_client(cls, why: str) -> "GraphRefused":
        """Returns a refusal by this client. Its verdict is always FINAL.

        The client did not make the call, or did not accept its response.
        """
        error = cls(NO_CODE, 0, title_override=why)
        error.verdict = Verdict.FINAL
        return error


class GraphUnreachable(GraphError):
    """The request did not reach the Graph API, so nothing was sent. A retry is safe.

    Either no connection could be made in time, or something before the Graph API, such as a proxy, refused the
    request with `http_status`. Such an answer is an outage: it says nothing about a token or an object at Meta.
    """

    def __init__(self, message: str, *, http_status: int | None = None, retry_after_s: float | None = None) -> None:
        self.http_status = http_status
        """The status of an answer that is not the Graph API's, or None if there was no answer."""
        self.retry_after_s = retry_after_s
        super().__init__(message)


class GraphOutcomeUnknown(GraphError):
    """The request may have been sent, but there is no usable response. Never repeat a send.

    Causes are a time-out, a reset, or an answer without a Graph error that does not prove a refusal:
    `responses.NOT_PROCESSED` lists the statuses that do.
    """

    def __init__(self, message: str, *, http_status: int | None = None, retry_after_s: float | None = None) -> None:
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        super().__init__(message)
