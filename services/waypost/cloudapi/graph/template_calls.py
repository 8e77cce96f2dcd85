"""Calls about message templates of a WhatsApp Business account: list, look up, create, change, delete.

Source: Meta's "Template fundamentals" (2026-05-05). Meta allows 100 creations an hour per account.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from waypost.cloudapi.graph import responses
from waypost.cloudapi.graph.calls import Credentials, GraphCalls

FIELDS = "id,name,language,status,category,parameter_format,quality_score,rejected_reason,components"


class TemplateDetails(msgspec.Struct, frozen=True):
    """A template as stored by Meta. New values of `status` and `category` are accepted."""

    id: str
    name: str = ""
    language: str = ""
    status: str = ""
    """`APPROVED`, `PENDING`, `REJECTED`, `PAUSED`, `DISABLED`, `ARCHIVED`, …"""
    category: str = ""
    parameter_format: str = "POSITIONAL"
    components: list[dict[str, object]] = []
    rejected_reason: str | None = None


class TemplateCreated(msgspec.Struct, frozen=True):
    """Meta's response to a new template. `category` may differ from the requested one."""

    id: str
    status: str = ""
    category: str = ""


class TemplateCalls(GraphCalls):
    """The calls `/{waba_id}/message_templates` and `/{template_id}`."""

    async def templates(
        self, credentials: Credentials, waba_id: str, *, name: str | None = None, page_size: int = 100
    ) -> AsyncIterator[TemplateDetails]:
        """Yields all templates of the account, or those called `name`, page by page."""
        query = {"fields": FIELDS, "limit": str(page_size)} | ({"name": name} if name else {})
        ids = {"waba_id": waba_id}
        async for item in self.pages("/{waba_id}/message_templates", credentials, ids=ids, query=query):
            yield responses.convert(item, TemplateDetails)

    async def template(self, credentials: Credentials, template_id: str) -> TemplateDetails:
        """Returns one template by its id."""
        reply = await self.call(
            "GET", "/{template_id}", credentials, ids={"template_id": template_id}, query={"fields": FIELDS}
        )
        return responses.convert(reply, TemplateDetails)

    async def create_template(
        self,
        credentials: Credentials,
        waba_id: str,
        *,
        name: str,
        language: str,
        category: str,
        components: Sequence[Mapping[str, object]],
        parameter_format: str | None = None,
    ) -> TemplateCreated:
        """Submits a template for review. `parameter_format` is `NAMED` or `POSITIONAL`.

        If `parameter_format` is None, Meta's default applies.
        """
        body: dict[str, object] = {
            "name": name,
            "language": language,
            "category": category,
            "components": list(components),
        }
        if parameter_format is not None:
            body["parameter_format"] = parameter_format
        reply = await self.call(
            "POST", "/{waba_id}/message_templates", credentials, ids={"waba_id": waba_id}, body=body
        )
        return responses.convert(reply, TemplateCreated)

    async def edit_template(
        self,
        credentials: Credentials,
        template_id: str,
        *,
        components: Sequence[Mapping[str, object]],
        category: str | None = None,
    ) -> None:
        """Replaces the components of a template. Meta then reviews the template again."""
        body: dict[str, object] = {"components": list(components)}
        if category is not None:
            body["category"] = category
        responses.require_success(
            await self.call("POST", "/{template_id}", credentials, ids={"template_id": template_id}, body=body)
        )

    async def delete_template(
        self, credentials: Credentials, waba_id: str, *, name: str, template_id: str | None = None
    ) -> None:
        """Deletes the template in all its languages. With `template_id`, only the language with that id is deleted."""
        query = {"name": name} | ({"hsm_id": template_id} if template_id else {})
        responses.require_success(
            await self.call(
                "DELETE", "/{waba_id}/message_templates", credentials, ids={"waba_id": waba_id}, query=query
            )
        )
