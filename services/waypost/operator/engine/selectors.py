"""Label selectors for the kinds that are watched in addition to our own.

The API server sends only those objects of these kinds that match the selector.
"""

from waypost.operator.api.number_models import CREDENTIALS_LABEL, GROUP
from waypost.operator.engine.wakes import SCHEDULE_NAME

WATCHED = f"{GROUP}/watched"
"""Label of a ConfigMap. If it is "true", a change of the ConfigMap takes effect at once, otherwise at the next
resync."""

SELECTORS = {
    "Secret": f"{CREDENTIALS_LABEL}=true",
    "ConfigMap": f"{WATCHED}=true",
    "CronJob": SCHEDULE_NAME,
}
"""Label selector of each kind. None of these kinds is ever listed without its selector."""
