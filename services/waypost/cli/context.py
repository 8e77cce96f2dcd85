"""Loads the settings for commands that people run.

The settings come from the environment, or from the `dev.json` of a running `waypost dev`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine

from waypost import settings
from waypost.settings import Settings
from waypost.store.connection.database import connect


def load_settings(data: Path, *required: str) -> Settings:
    """Returns the settings from the environment. A `waypost dev` that runs in `data` provides the defaults.

    Raises `SettingsError` if one of the `required` fields has neither a value in the environment nor a default.
    """
    return settings.load(*required, defaults=_settings_of_dev(data))


@contextmanager
def database(settings: Settings, command: str) -> Iterator[Engine]:
    """Yields an engine for one command. Closes the engine's connections when the command ends or fails."""
    engine = connect(settings.database_url, application=f"waypost-{command}", pool_size=1)
    try:
        yield engine
    finally:
        engine.dispose()


def _settings_of_dev(data: Path) -> dict[str, str]:
    if os.environ.get("WAYPOST_DATABASE_URL"):
        # The environment names an installation. Settings of `waypost dev` must not be mixed with it.
        return {}
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
