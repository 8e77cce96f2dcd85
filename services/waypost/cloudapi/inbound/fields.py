"""What each webhook field carries: which kind of event, and whether its value is a list of items or one whole thing.

Source: Meta, "Webhooks overview", "messages webhook reference", "Business-scoped user IDs" and the WhatsApp changelog.
"""

from waypost.cloudapi.inbound.event import EventKind

CONTEXT = frozenset({"messaging_product", "metadata", "contacts"})
"""Keys of a value that say whom its items are about; copied beside each item, never events themselves."""

_GROUP_ITEMS = {"groups": EventKind.GROUP, "errors": EventKind.ERROR}

ITEMS: dict[str, dict[str, EventKind]] = {
    "messages": {"messages": EventKind.MESSAGE, "statuses": EventKind.STATUS, "errors": EventKind.ERROR},
    "smb_message_echoes": {"message_echoes": EventKind.ECHO, "errors": EventKind.ERROR},
    "message_echoes": {"message_echoes": EventKind.ECHO, "errors": EventKind.ERROR},
    "history": {"history": EventKind.HISTORY, "messages": EventKind.HISTORY, "errors": EventKind.ERROR},
    "smb_app_state_sync": {"state_sync": EventKind.ACCOUNT, "errors": EventKind.ERROR},
    "user_preferences": {"user_preferences": EventKind.PREFERENCE, "errors": EventKind.ERROR},
    "calls": {"calls": EventKind.CALL, "statuses": EventKind.CALL, "errors": EventKind.ERROR},
    "standby": {
        "messages": EventKind.STANDBY,
        "message_echoes": EventKind.STANDBY,
        "statuses": EventKind.STANDBY,
        "errors": EventKind.STANDBY,
    },
    "group_lifecycle_update": _GROUP_ITEMS,
    "group_participants_update": _GROUP_ITEMS,
    "group_settings_update": _GROUP_ITEMS,
    "group_status_update": _GROUP_ITEMS,
}
"""Fields whose value holds lists of items of one number; each item is one event."""

WHOLE: dict[str, EventKind] = {
    "message_template_status_update": EventKind.TEMPLATE,
    "message_template_quality_update": EventKind.TEMPLATE,
    "message_template_components_update": EventKind.TEMPLATE,
    "template_category_update": EventKind.TEMPLATE,
    "account_update": EventKind.ACCOUNT,
    "account_alerts": EventKind.ACCOUNT,
    "account_review_update": EventKind.ACCOUNT,
    "account_settings_update": EventKind.ACCOUNT,
    "business_capability_update": EventKind.ACCOUNT,
    "business_username_update": EventKind.ACCOUNT,
    "business_username_updates": EventKind.ACCOUNT,
    "phone_number_quality_update": EventKind.ACCOUNT,
    "phone_number_name_update": EventKind.ACCOUNT,
    "security": EventKind.ACCOUNT,
    "flows": EventKind.ACCOUNT,
    "partner_solutions": EventKind.ACCOUNT,
    "payment_configuration_update": EventKind.ACCOUNT,
}
"""Fields whose value is one thing. Any field in neither table is UNKNOWN, and kept whole."""
