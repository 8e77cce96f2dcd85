"""Which objects are watched, and by which labels: nothing is listed that does not concern us."""

from waypost.operator.api.number_models import CREDENTIALS_LABEL, GROUP
from waypost.operator.engine.wakes import SCHEDULE_NAME

WATCHED = f"{GROUP}/watched"
"""Label of a ConfigMap: with "true" a change is acted on at once, without it at the next resync."""

SELECTORS = {
    "Secret": f"{CREDENTIALS_LABEL}=true",
    "ConfigMap": f"{WATCHED}=true",
    "CronJob": SCHEDULE_NAME,
}
"""By kind. Without its selector none of these is ever listed."""
