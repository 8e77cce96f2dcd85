"""Label selectors of what is watched beside our own kinds, so that the API server sends nothing else."""

from waypost.operator.api.number_models import CREDENTIALS_LABEL, GROUP
from waypost.operator.engine.wakes import SCHEDULE_NAME

WATCHED = f"{GROUP}/watched"
"""Label of a ConfigMap: with "true" a change is acted on at once, without it at the next resync."""

SELECTORS = {
    "Secret": f"{CREDENTIALS_LABEL}=true",
    "ConfigMap": f"{WATCHED}=true",
    "CronJob": SCHEDULE_NAME,
}
"""Selectors by kind. None of these kinds is ever listed without its selector."""
