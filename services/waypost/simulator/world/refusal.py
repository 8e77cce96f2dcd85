"""Meta's errors: one exception, and a table that has Meta's title and HTTP status for each error code.

The HTTP statuses are uncertain, because Meta's page of errors no longer lists them. A fault can set another
status.
"""

import secrets
from enum import StrEnum
from typing import Any


class ErrorType(StrEnum):
    """Values of an error's `type`."""

    OAUTH = "OAuthException"
    GRAPH_METHOD = "GraphMethodException"


ERRORS: dict[int, tuple[int, str]] = {
    0: (401, "AuthException"),
    1: (500, "An unknown error occurred"),
    2: (503, "Service temporarily unavailable"),
    3: (500, "Capability or permissions issue"),
    4: (400, "Application request limit reached"),
    10: (403, "Application does not have permission for this action"),
    15: (403, "This method must be called with an app access_token"),
    33: (400, "Parameter value is not valid"),
    100: (400, "Invalid parameter"),
    190: (401, "Invalid OAuth access token"),
    200: (403, "You do not have the necessary permissions to access this object"),
    368: (403, "Temporarily blocked for policies violations"),
    2200: (400, "Callback verification failed"),
    2500: (400, "Unknown path components"),
    2635: (400, "This API version is no longer available"),
    80007: (400, "There have been too many calls to this WhatsApp Business account"),
    130403: (400, "The user is blocked by this business"),
    130429: (400, "Rate limit hit"),
    130472: (400, "User's number is part of an experiment"),
    130497: (403, "Business account is restricted from messaging users in this country"),
    131000: (500, "Something went wrong"),
    131005: (403, "Access denied"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"),
    131016: (503, "Service unavailable"),
    131021: (400, "Recipient cannot be sender"),
    131026: (400, "Message undeliverable"),
    131030: (400, "Recipient phone number not in allowed list"),
    131031: (403, "Account has been locked"),
    131037: (400, "WhatsApp provided number needs display name approval before message can be sent"),
    131042: (400, "Business eligibility payment issue"),
    131045: (500, "Incorrect certificate"),
    131047: (400, "Re-engagement message"),
    131048: (400, "Spam rate limit hit"),
    131049: (400, "This message was not delivered to maintain healthy ecosystem engagement"),
    131050: (400, "User has stopped marketing messages"),
    131051: (400, "Message type is not currently supported"),
    131052: (400, "Media download error"),
    131053: (400, "Media upload error"),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit"),
    131057: (500, "Account in maintenance mode"),
    131062: (400, "Business-scoped user IDs are not supported for this message"),
    132000: (400, "Number of parameters does not match the expected number of params"),
    132001: (404, "Template name does not exist in the translation"),
    132005: (400, "Translated text too long"),
    132007: (400, "Template format character policy violated"),
    132012: (400, "Parameter format does not match format in the created template"),
    132015: (400, "Template is paused"),
    132016: (400, "Template is disabled"),
    133000: (500, "Incomplete deregistration"),
    133004: (503, "Server temporarily unavailable"),
    133005: (400, "Two step verification PIN mismatch"),
    133006: (400, "Phone number re-verification needed"),
    133008: (400, "Too many two step verification PIN guesses"),
    133009: (400, "Two step verification PIN guessed too fast"),
    133010: (400, "Phone number not registered"),
    133015: (400, "Please wait a few minutes before attempting to register this phone number"),
    133016: (400, "Account register or deregister rate limit exceeded"),
    135000: (400, "Generic user error"),
    136024: (400, "Request code error"),
    136025: (400, "Verify code error"),
    137000: (400, "Recipient identity key hash mismatch"),
}
"""Maps each error code to the HTTP status and the title of the error."""

TRANSIENT = frozenset({1, 2, 4, 80007, 130429, 131000, 131016, 131056, 131057, 133004})
"""Codes of errors that may go away without a change to the call."""


class Refusal(Exception):
    """Raised when the simulated Meta refuses a call. The caller may correct the call and repeat it.

    `status` is the HTTP status.
    """

    def __init__(
        self,
        code: int,
        details: str = "",
        *,
        message: str | None = None,
        subcode: int | None = None,
        status: int | None = None,
        kind: ErrorType | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        usual_status, self.title = ERRORS.get(code, (400, "Unknown error"))
        super().__init__(f"(#{code}) {self.title}")
        self.code = code
        self.details = details
        self.subcode = subcode
        self.status = usual_status if status is None else status
        self.kind = kind or (ErrorType.GRAPH_METHOD if code == 33 else ErrorType.OAUTH)
        self.headers = headers or {}
        self.message = message or f"(#{code}) {self.title}"

    def envelope(self) -> dict[str, Any]:
        """Returns `{"error": {...}}` as the Cloud API writes it, with `error_data` if there are details."""
        error: dict[str, Any] = {"message": self.message, "type": self.kind, "code": self.code}
        if self.details:
            error["error_data"] = {"messaging_product": "whatsapp", "details": self.details}
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        if self.code in TRANSIENT:
            error["is_transient"] = True
        error["fbtrace_id"] = "A" + secrets.token_urlsafe(16)
        return {"error": error}

    def webhook_error(self) -> dict[str, Any]:
        """Returns the error as an item of `errors` in a status webhook."""
        return {
            "code": self.code,
            "title": self.title,
            "message": self.title,
            "error_data": {"details": self.details or self.title},
            "href": "https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes/",
        }


def unexpected_key(key: str, owner: str) -> Refusal:
    """Returns Meta's error for a key that its schema does not have."""
    return Refusal(100, message=f'(#100) Unexpected key "{key}" on param "{owner}".')


def no_such_object(node: str, method: str = "GET") -> Refusal:
    """Returns Meta's error for an object that does not exist or that the token may not see.

    Like Meta's own error, it does not say which of the two is the case.
    """
    return Refusal(
        100,
        message=(
            f"Unsupported {method.lower()} request. Object with ID '{node}' does not exist, cannot be loaded due to "
            "missing permissions, or does not support this operation."
        ),
        subcode=33,
        kind=ErrorType.GRAPH_METHOD,
    )
