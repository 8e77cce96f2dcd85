"""Types for the values of account-level fields. Every member is optional. Meta may add values to every set."""

from collections.abc import Mapping
from typing import Any

import msgspec

from waypost.cloudapi.inbound.fields import WebhookField


class Update(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base class for the values of fields that are about an account or one of its numbers."""


class AccountChange(Update, frozen=True):
    """The value of account_update.

    In `restriction_info`, RESTRICTED_BIZ_INITIATED_MESSAGING stops templates and
    RESTRICTED_CUSTOMER_INITIATED_MESSAGING stops replies.
    """

    event: str | None = None
    phone_number: str | None = None
    country: str | None = None
    waba_info: dict[str, Any] | None = None
    ban_info: dict[str, Any] | None = None
    restriction_info: tuple[dict[str, Any], ...] = ()
    violation_info: dict[str, Any] | None = None
    lock_info: dict[str, Any] | None = None
    disconnection_info: dict[str, Any] | None = None
    partner_client_certification_info: dict[str, Any] | None = None
    auth_international_rate_eligibility: dict[str, Any] | None = None
    volume_tier_info: dict[str, Any] | None = None


class AlertInfo(Update, frozen=True):
    alert_severity: str | None = None
    alert_status: str | None = None
    alert_type: str | None = None
    alert_description: str | None = None


class AccountAlert(Update, frozen=True):
    """The value of account_alerts."""

    entity_type: str | None = None
    entity_id: str | int | None = None
    alert_info: AlertInfo | None = None


class AccountReview(Update, frozen=True):
    """The value of account_review_update."""

    decision: str | None = None


class AccountSettings(Update, frozen=True):
    """The value of account_settings_update. It concerns numbers that are also used in the WhatsApp Business app."""

    messaging_product: str | None = None
    metadata: dict[str, Any] | None = None
    timestamp: str | int | None = None
    type: str | None = None
    account_settings: dict[str, Any] | None = None


class BusinessCapability(Update, frozen=True):
    """The value of business_capability_update. A limit of -1 means no limit."""

    max_daily_conversation_per_phone: int | None = None
    max_daily_conversations_per_business: int | str | None = None
    max_phone_numbers_per_business: int | None = None
    max_phone_numbers_per_waba: int | None = None


class BusinessUsername(Update, frozen=True):
    """The value of the field about a business username. Meta spells the name of this field in two ways."""

    display_phone_number: str | None = None
    username: str | None = None
    status: str | None = None


class PhoneNumberQuality(Update, frozen=True):
    """The value of phone_number_quality_update. Limits are TIER_250, TIER_2K, TIER_10K, TIER_100K or TIER_UNLIMITED."""

    display_phone_number: str | None = None
    event: str | None = None
    current_limit: str | None = None
    old_limit: str | None = None
    max_daily_conversations_per_business: str | int | None = None


class PhoneNumberName(Update, frozen=True):
    """The value of phone_number_name_update. After APPROVED, the number must be registered again within 14 days."""

    display_phone_number: str | None = None
    decision: str | None = None
    requested_verified_name: str | None = None
    rejection_reason: str | None = None


class Security(Update, frozen=True):
    """The value of the webhook field security. It reports that somebody asked to change or reset the PIN."""

    display_phone_number: str | None = None
    event: str | None = None
    requester: str | None = None


class FlowUpdate(Update, frozen=True):
    """The value of the webhook field flows. It reports a flow's status, or an alert about the flow's endpoint.

    Rates are in percent. Latencies are in milliseconds.
    """

    event: str | None = None
    message: str | None = None
    flow_id: str | int | None = None
    old_status: str | None = None
    new_status: str | None = None
    error_rate: float | None = None
    threshold: float | None = None
    alert_state: str | None = None
    errors: tuple[dict[str, Any], ...] = ()
    p50_latency: float | None = None
    p90_latency: float | None = None
    requests_count: int | None = None
    availability: float | None = None


class PartnerSolution(Update, frozen=True):
    """The value of partner_solutions."""

    event: str | None = None
    solution_id: str | int | None = None
    solution_status: str | None = None


class PaymentConfiguration(Update, frozen=True):
    """The value of payment_configuration_update."""

    configuration_name: str | None = None
    provider_name: str | None = None
    provider_mid: str | None = None
    status: str | None = None
    created_timestamp: str | int | None = None
    updated_timestamp: str | int | None = None


UPDATES: Mapping[str, type[Update]] = {
    WebhookField.ACCOUNT_UPDATE: AccountChange,
    WebhookField.ACCOUNT_ALERTS: AccountAlert,
    WebhookField.ACCOUNT_REVIEW_UPDATE: AccountReview,
    WebhookField.ACCOUNT_SETTINGS_UPDATE: AccountSettings,
    WebhookField.BUSINESS_CAPABILITY_UPDATE: BusinessCapability,
    WebhookField.BUSINESS_USERNAME_UPDATE: BusinessUsername,
    WebhookField.BUSINESS_USERNAME_UPDATES: BusinessUsername,
    WebhookField.PHONE_NUMBER_QUALITY_UPDATE: PhoneNumberQuality,
    WebhookField.PHONE_NUMBER_NAME_UPDATE: PhoneNumberName,
    WebhookField.SECURITY: Security,
    WebhookField.FLOWS: FlowUpdate,
    WebhookField.PARTNER_SOLUTIONS: PartnerSolution,
    WebhookField.PAYMENT_CONFIGURATION_UPDATE: PaymentConfiguration,
}
"""Maps an account-level field to the type of its value."""
