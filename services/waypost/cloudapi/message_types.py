"""The message types of the Cloud API, as Meta writes them in the member `type` of a message."""

from enum import StrEnum


class MessageType(StrEnum):
    """Types of messages that contacts send, that numbers send, or that both send.

    Meta adds types over time, so a received `type` stays a plain string.
    """

    TEXT = "text"
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    VOICE = "voice"
    """A voice message. This type is only received, and rarely: most voice messages are AUDIO with `voice: true`."""
    DOCUMENT = "document"
    STICKER = "sticker"
    LOCATION = "location"
    CONTACTS = "contacts"
    INTERACTIVE = "interactive"
    """When sent, a message with buttons, a list or a form; when received, the contact's selection."""
    REACTION = "reaction"

    TEMPLATE = "template"
    """An approved template. This type is only sent."""

    BUTTON = "button"
    """A quick-reply button of a template was pressed. This type and those below are only received."""
    ORDER = "order"
    SYSTEM = "system"
    EDIT = "edit"
    REVOKE = "revoke"
    REQUEST_WELCOME = "request_welcome"
    EPHEMERAL = "ephemeral"
    UNSUPPORTED = "unsupported"
    UNKNOWN = "unknown"
    ERRORS = "errors"


MEDIA_TYPES = (MessageType.IMAGE, MessageType.VIDEO, MessageType.AUDIO, MessageType.DOCUMENT, MessageType.STICKER)
"""Types of messages that carry one media object, and that can be sent."""
