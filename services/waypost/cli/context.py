"""Settings of a command that people call: from the environment, or from the `dev.json` of a running `waypost dev`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from waypost import settings
from waypost.settings import Settings
from waypost.store.connection.database import connect


def of_person(data: Path, *required: str) -> Settings:
    """The settings, those of the `waypost dev` in `data` standing in where the environment is silent.

    Raises `SettingsError`.
    """
    return settings.load(*required, defaults=_of_dev(data))


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
            "database_url": str(state["database"]),
            "redis_url": str(state["redis"]),
            "graph_url": str(state["simulator"]),
            "public_url": str(state["webhook"]),
            "registry_dir": str((data / "registry").resolve()),
        }
    except (OSError, ValueError, KeyError):
        return {}
