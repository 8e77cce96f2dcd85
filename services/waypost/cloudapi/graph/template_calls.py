"""Message templates of a WhatsApp Business account: list, look up, create, change, delete.

Source: Meta's "Template fundamentals" (2026-05-05). Meta allows 100 creations an hour per account.
"""

from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from waypost.cloudapi.graph import answers
from waypost.cloudapi.graph.calls import Credentials, GraphCalls

FIELDS = "id,name,language,status,category,parameter_format,quality_score,rejected_reason,components"


class TemplateDetails(msgspec.Struct, frozen=True):
    """A template as Meta holds it. `status` and `category` are open sets; new values pass through."""

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
    """What Meta says to a new template; `category` may differ from the one asked for."""

    id: str
    status: str = ""
    category: str = ""


class TemplateCalls(GraphCalls):
    """`/{waba_id}/message_templates` and `/{template_id}`."""

    async def templates(
        self, credentials: Credentials, waba_id: str, *, name: str | None = None, page_size: int = 100
    ) -> AsyncIterator[TemplateDetails]:
        """All templates of the account, or those called `name`, page by page."""
        query = {"fields": FIELDS, "limit": str(page_size)} | ({"name": name} if name else {})
        ids = {"waba_id": waba_id}
        async for item in self.pages("/{waba_id}/message_templates", credentials, ids=ids, query=query):
            yield answers.understood(item, TemplateDetails)

    async def template(self, credentials: Credentials, template_id: str) -> TemplateDetails:
        """One template by its id."""
        reply = await self.call(
            "GET", "/{template_id}", credentials, ids={"template_id": template_id}, query={"fields": FIELDS}
        )
        return answers.understood(reply, TemplateDetails)

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
        """Hand a template in for review. `parameter_format` is `NAMED` or `POSITIONAL`; None is Meta's default."""
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
        return answers.understood(reply, TemplateCreated)

    async def edit_template(
        self,
        credentials: Credentials,
        template_id: str,
        *,
        components: Sequence[Mapping[str, object]],
        category: str | None = None,
    ) -> None:
        """Replace the components of a template; it goes back into review."""
        body: dict[str, object] = {"components": list(components)}
        if category is not None:
            body["category"] = category
        answers.succeeded(
            await self.call("POST", "/{template_id}", credentials, ids={"template_id": template_id}, body=body)
        )

    async def delete_template(
        self, credentials: Credentials, waba_id: str, *, name: str, template_id: str | None = None
    ) -> None:
        """Delete all languages of a template, or with `template_id` only that one."""
        query = {"name": name} | ({"hsm_id": template_id} if template_id else {})
        answers.succeeded(
            await self.call(
                "DELETE", "/{waba_id}/message_templates", credentials, ids={"waba_id": waba_id}, query=query
            )
        )
