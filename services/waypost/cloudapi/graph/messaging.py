"""The calls that put something into a chat: a message, or the sign that one was read."""

from collections.abc import Mapping

import msgspec

from waypost.cloudapi.graph import answers
from waypost.cloudapi.graph.calls import Credentials, GraphCalls
from waypost.cloudapi.graph.errors import GraphOutcomeUnknown


class Accepted(msgspec.Struct, frozen=True):
    """Meta's answer to a send: accepted, which is not delivered."""

    wamid: str
    wa_id: str | None = None
    """May differ from the number that was addressed (Brazil, Mexico); absent for a BSUID."""
    user_id: str | None = None
    message_status: str | None = None
    """`accepted` or `held_for_quality_assessment` for templates, else None."""


class _Message(msgspec.Struct):
    id: str
    message_status: str | None = None


class _Contact(msgspec.Struct):
    wa_id: str | None = None
    user_id: str | None = None


class _SendAnswer(msgspec.Struct):
    messages: list[_Message]
    contacts: list[_Contact] = []


class MessageCalls(GraphCalls):
    """`POST /{phone_number_id}/messages` in its two uses."""

    async def send(self, credentials: Credentials, phone_number_id: str, payload: Mapping[str, object]) -> Accepted:
        """Send one message, already addressed (`messages.addressed`).

        There is no idempotency key: after `GraphOutcomeUnknown`, or a refusal judged AMBIGUOUS, the message may have
        gone out, and only a status webhook with our `biz_opaque_callback_data` can tell.
        """
        reply = await self._post(credentials, phone_number_id, payload)
        answer = answers.understood(reply, _SendAnswer)
        if not answer.messages or not answer.messages[0].id:
            raise GraphOutcomeUnknown("the answer names no message", http_status=200)
        message = answer.messages[0]
        contact = answer.contacts[0] if answer.contacts else _Contact()
        return Accepted(message.id, contact.wa_id, contact.user_id, message.message_status)

    async def mark_read(
        self, credentials: Credentials, phone_number_id: str, wamid: str, *, typing_indicator: bool = False
    ) -> None:
        """Show the message and all before it as read and, if wanted, that an answer is being typed (at most 25 s).

        Harmless to repeat. Meta wants it within 30 days of the message.
        """
        payload: dict[str, object] = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid}
        if typing_indicator:
            payload["typing_indicator"] = {"type": "text"}
        answers.succeeded(await self._post(credentials, phone_number_id, payload))

    async def _post(self, credentials: Credentials, phone_number_id: str, payload: Mapping[str, object]) -> object:
        return await self.call(
            "POST",
            "/{phone_number_id}/messages",
            credentials,
            ids={"phone_number_id": phone_number_id},
            body=payload,
            quotable=False,
        )
