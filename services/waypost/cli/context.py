"""Settings of a command that people call: from the environment, or from the `dev.json` of a running `waypost dev`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from waypost import settings
from waypost.settings import Settings
from waypost.store.database import connect


def of_person(data: Path, *required: str) -> Settings:
    """The settings, those of the `waypost dev` in `data` standing in where the environment is silent.

    Raises `SettingsError`.
    """
    for variable, value in _of_dev(data).items():
        os.environ.setdefault(variable, value)
    return settings.load(*required)


@contextmanager
def database(settings: Settings, command: str) -> Iterator[Engine]:
    """An engine for one command; its connections are closed however the command ends."""
    engine = connect(settings.database_url, application=f"waypost-{command}", pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()


def _of_dev(data: Path) -> dict[str, str]:
    if os.environ.get("WAYPOST_DATABASE_URL"):
        return {}  # the environment speaks of an installation; mixing two would be worse than missing one
    try:
        state = json.loads((data / "dev.json").read_text())
        return {
            "WAYPOST_DATABASE_URL": str(state["database"]),
            "WAYPOST_REDIS_URL": str(state["redis"]),
            "WAYPOST_GRAPH_URL": str(state["simulator"]),
            "WAYPOST_PUBLIC_URL": str(state["webhook"]),
            "WAYPOST_REGISTRY_DIR": str((data / "registry").resolve()),
        }
    except (OSError, ValueError, KeyError):
        return {}
