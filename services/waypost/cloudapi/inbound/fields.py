"""Maps each webhook field to the kind of its events.

The value of a field either has lists of items, or is one event as a whole. Source: Meta, "Webhooks overview",
"messages webhook reference", "Business-scoped user IDs" and the WhatsApp changelog.
"""

from enum import StrEnum

from waypost.cloudapi.inbound.event import EventKind


class WebhookField(StrEnum):
    """Names of webhook fields, as they stand in the member `field` of a change."""

    MESSAGES = "messages"
    SMB_MESSAGE_ECHOES = "smb_message_echoes"
    MESSAGE_ECHOES = "message_echoes"
    HISTORY = "history"
    SMB_APP_STATE_SYNC = "smb_app_state_sync"
    USER_PREFERENCES = "user_preferences"
    CALLS = "calls"
    STANDBY = "standby"
    GROUP_LIFECYCLE_UPDATE = "group_lifecycle_update"
    GROUP_PARTICIPANTS_UPDATE = "group_participants_update"
    GROUP_SETTINGS_UPDATE = "group_settings_update"
    GROUP_STATUS_UPDATE = "group_status_update"

    MESSAGE_TEMPLATE_STATUS_UPDATE = "message_template_status_update"
    MESSAGE_TEMPLATE_QUALITY_UPDATE = "message_template_quality_update"
    MESSAGE_TEMPLATE_COMPONENTS_UPDATE = "message_template_components_update"
    TEMPLATE_CATEGORY_UPDATE = "template_category_update"
    ACCOUNT_UPDATE = "account_update"
    ACCOUNT_ALERTS = "account_alerts"
    ACCOUNT_REVIEW_UPDATE = "account_review_update"
    ACCOUNT_SETTINGS_UPDATE = "account_settings_update"
    BUSINESS_CAPABILITY_UPDATE = "business_capability_update"
    BUSINESS_USERNAME_UPDATE = "business_username_update"
    BUSINESS_USERNAME_UPDATES = "business_username_updates"
    PHONE_NUMBER_QUALITY_UPDATE = "phone_number_quality_update"
    PHONE_NUMBER_NAME_UPDATE = "phone_number_name_update"
    SECURITY = "security"
    FLOWS = "flows"
    PARTNER_SOLUTIONS = "partner_solutions"
    PAYMENT_CONFIGURATION_UPDATE = "payment_configuration_update"


class ItemList(StrEnum):
    """Names of the lists in a value. The items of each list are events, except those of `contacts`."""

    MESSAGES = "messages"
    STATUSES = "statuses"
    MESSAGE_ECHOES = "message_echoes"
    HISTORY = "history"
    STATE_SYNC = "state_sync"
    USER_PREFERENCES = "user_preferences"
    CALLS = "calls"
    GROUPS = "groups"
    ERRORS = "errors"
    CONTACTS = "contacts"


CONTEXT = frozenset({"messaging_product", "metadata", str(ItemList.CONTACTS)})
"""Members of a value that describe its items.

They are copied into the frame of each item and are never events themselves.
"""

_GROUP_LISTS = {ItemList.GROUPS: EventKind.GROUP, ItemList.ERRORS: EventKind.ERROR}
_ECHO_LISTS = {ItemList.MESSAGE_ECHOES: EventKind.ECHO, ItemList.ERRORS: EventKind.ERROR}

_LISTS_OF_FIELDS = {
    WebhookField.MESSAGES: {
        ItemList.MESSAGES: EventKind.MESSAGE,
        ItemList.STATUSES: EventKind.STATUS,
        ItemList.ERRORS: EventKind.ERROR,
    },
    WebhookField.SMB_MESSAGE_ECHOES: _ECHO_LISTS,
    WebhookField.MESSAGE_ECHOES: _ECHO_LISTS,
    WebhookField.HISTORY: {
        ItemList.HISTORY: EventKind.HISTORY,
        ItemList.MESSAGES: EventKind.HISTORY,
        ItemList.ERRORS: EventKind.ERROR,
    },
    WebhookField.SMB_APP_STATE_SYNC: {ItemList.STATE_SYNC: EventKind.ACCOUNT, ItemList.ERRORS: EventKind.ERROR},
    WebhookField.USER_PREFERENCES: {ItemList.USER_PREFERENCES: EventKind.PREFERENCE, ItemList.ERRORS: EventKind.ERROR},
    WebhookField.CALLS: {
        ItemList.CALLS: EventKind.CALL,
        ItemList.STATUSES: EventKind.CALL,
        ItemList.ERRORS: EventKind.ERROR,
    },
    WebhookField.STANDBY: {
        ItemList.MESSAGES: EventKind.STANDBY,
        ItemList.MESSAGE_ECHOES: EventKind.STANDBY,
        ItemList.STATUSES: EventKind.STANDBY,
        ItemList.ERRORS: EventKind.STANDBY,
    },
    WebhookField.GROUP_LIFECYCLE_UPDATE: _GROUP_LISTS,
    WebhookField.GROUP_PARTICIPANTS_UPDATE: _GROUP_LISTS,
    WebhookField.GROUP_SETTINGS_UPDATE: _GROUP_LISTS,
    WebhookField.GROUP_STATUS_UPDATE: _GROUP_LISTS,
}

# Plain strings as keys: every delivery looks its names up, and a dict with enum members as keys is slower.
ITEM_KINDS: dict[str, dict[str, EventKind]] = {
    str(field): {str(name): kind for name, kind in lists.items()} for field, lists in _LISTS_OF_FIELDS.items()
}
"""Maps the fields whose value has lists of items to the kind of each list's items.

Each item is one event of one number.
"""

WHOLE_VALUE_KINDS: dict[str, EventKind] = {
    WebhookField.MESSAGE_TEMPLATE_STATUS_UPDATE: EventKind.TEMPLATE,
    WebhookField.MESSAGE_TEMPLATE_QUALITY_UPDATE: EventKind.TEMPLATE,
    WebhookField.MESSAGE_TEMPLATE_COMPONENTS_UPDATE: EventKind.TEMPLATE,
    WebhookField.TEMPLATE_CATEGORY_UPDATE: EventKind.TEMPLATE,
    WebhookField.ACCOUNT_UPDATE: EventKind.ACCOUNT,
    WebhookField.ACCOUNT_ALERTS: EventKind.ACCOUNT,
    WebhookField.ACCOUNT_REVIEW_UPDATE: EventKind.ACCOUNT,
    WebhookField.ACCOUNT_SETTINGS_UPDATE: EventKind.ACCOUNT,
    WebhookField.BUSINESS_CAPABILITY_UPDATE: EventKind.ACCOUNT,
    WebhookField.BUSINESS_USERNAME_UPDATE: EventKind.ACCOUNT,
    WebhookField.BUSINESS_USERNAME_UPDATES: EventKind.ACCOUNT,
    WebhookField.PHONE_NUMBER_QUALITY_UPDATE: EventKind.ACCOUNT,
    WebhookField.PHONE_NUMBER_NAME_UPDATE: EventKind.ACCOUNT,
    WebhookField.SECURITY: EventKind.ACCOUNT,
    WebhookField.FLOWS: EventKind.ACCOUNT,
    WebhookField.PARTNER_SOLUTIONS: EventKind.ACCOUNT,
    WebhookField.PAYMENT_CONFIGURATION_UPDATE: EventKind.ACCOUNT,
}
"""Maps the fields whose whole value is one event to its kind. A field in neither table is UNKNOWN and stored whole."""
