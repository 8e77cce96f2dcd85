"""Calls that change a chat: they send a message, or mark a message as read."""

from collections.abc import Mapping

import msgspec

from waypost.cloudapi.graph import responses
from waypost.cloudapi.graph.calls import Credentials, GraphCalls
from waypost.cloudapi.graph.errors import GraphOutcomeUnknown


class Accepted(msgspec.Struct, frozen=True):
    """Meta's response to a message that it accepted. "Accepted" does not mean that the message was delivered."""

    wamid: str
    wa_id: str | None = None
    """The recipient's phone number at WhatsApp, which may differ from the number addressed (Brazil, Mexico).

    It is missing for a BSUID.
    """
    user_id: str | None = None
    message_status: str | None = None
    """For a template, `accepted` or `held_for_quality_assessment`; for other messages None."""


class _Message(msgspec.Struct):
    id: str
    message_status: str | None = None


class _Contact(msgspec.Struct):
    wa_id: str | None = None
    user_id: str | None = None


class _SendResponse(msgspec.Struct):
    messages: list[_Message]
    contacts: list[_Contact] = []


class MessageCalls(GraphCalls):
    """The call `POST /{phone_number_id}/messages`, which sends a message or marks one as read."""

    async def send(self, credentials: Credentials, phone_number_id: str, payload: Mapping[str, object]) -> Accepted:
        """Sends one message that is already addressed (`messages.addressed`).

        Meta offers no idempotency key. After `GraphOutcomeUnknown`, or a refusal with the verdict AMBIGUOUS, the
        message may have been sent. Only a status webhook with our `biz_opaque_callback_data` then shows the outcome.
        """
        reply = await self._post(credentials, phone_number_id, payload)
        response = responses.convert(reply, _SendResponse)
        if not response.messages or not response.messages[0].id:
            raise GraphOutcomeUnknown("the response names no message", http_status=200)
        message = response.messages[0]
        contact = response.contacts[0] if response.contacts else _Contact()
        return Accepted(message.id, contact.wa_id, contact.user_id, message.message_status)

    async def mark_read(
        self, credentials: Credentials, phone_number_id: str, wamid: str, *, typing_indicator: bool = False
    ) -> None:
        """Marks a received message and all messages before it as read.

        With `typing_indicator`, the user also sees a typing indicator for at most 25 s. The call may be repeated.
        Meta expects the call within 30 days of the message.
        """
        payload: dict[str, object] = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid}
        if typing_indicator:
            payload["typing_indicator"] = {"type": "text"}
        responses.require_success(await self._post(credentials, phone_number_id, payload))

    async def _post(self, credentials: Credentials, phone_number_id: str, payload: Mapping[str, object]) -> object:
        return await self.call(
            "POST",
            "/{phone_number_id}/messages",
            credentials,
            ids={"phone_number_id": phone_number_id},
            body=payload,
            quotable=False,
        )
