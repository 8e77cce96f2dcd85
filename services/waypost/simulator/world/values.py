"""Names the values on which the simulated Meta itself acts.

Fields accept other values too, because Meta adds new values.
"""

from enum import StrEnum


class SendStatus(StrEnum):
    """Statuses of a message that a business sent."""

    ACCEPTED = "accepted"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PLAYED = "played"
    FAILED = "failed"


class NumberStatus(StrEnum):
    """Values of a phone number's `status`."""

    CONNECTED = "CONNECTED"
    DISCONNECTED = "DISCONNECTED"
    PENDING = "PENDING"
    UNVERIFIED = "UNVERIFIED"
    BANNED = "BANNED"
    DELETED = "DELETED"
    MIGRATED = "MIGRATED"
    UNKNOWN = "UNKNOWN"


class NameStatus(StrEnum):
    """Values of `name_status` and `new_name_status`, Meta's review of a display name."""

    APPROVED = "APPROVED"
    PENDING_REVIEW = "PENDING_REVIEW"
    DECLINED = "DECLINED"
    NONE = "NONE"


class CodeVerification(StrEnum):
    """Values of a phone number's `code_verification_status`."""

    VERIFIED = "VERIFIED"


class CanSend(StrEnum):
    """Values of `can_send_message` in `health_status`, from the best to the worst."""

    AVAILABLE = "AVAILABLE"
    LIMITED = "LIMITED"
    BLOCKED = "BLOCKED"


class TemplateStatus(StrEnum):
    """Values of a template's `status`."""

    APPROVED = "APPROVED"
    PENDING = "PENDING"
    PAUSED = "PAUSED"
    DISABLED = "DISABLED"


class TemplateCategory(StrEnum):
    """Categories of templates. Each category has its own price."""

    AUTHENTICATION = "AUTHENTICATION"
    MARKETING = "MARKETING"
    UTILITY = "UTILITY"


class ParameterFormat(StrEnum):
    """Ways in which a template names its variables: `{{1}}` or `{{name}}`."""

    POSITIONAL = "POSITIONAL"
    NAMED = "NAMED"


class ComponentType(StrEnum):
    """Types of template components that the simulator checks."""

    HEADER = "HEADER"
    BODY = "BODY"
    FOOTER = "FOOTER"
    BUTTONS = "BUTTONS"


class Scope(StrEnum):
    """Permissions of an access token."""

    BUSINESS = "business_management"
    MANAGEMENT = "whatsapp_business_management"
    MESSAGING = "whatsapp_business_messaging"
