"""Tests that endpoints follow the registry, and tests when the webhook is ready."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy import Engine

from waypost.contracts import registry
from waypost.store.connection import database as store_database
from waypost.webhook.directory import Directory
from waypost.webhook.intake import Intake
from waypost.webhook.readiness import Readiness

from . import posts
from .service import publish_number

SUPPORT = ("team-a", "support")


@pytest.fixture
def directory(registry_dir: Path) -> Directory:
    """Returns a directory that has read the registry once."""
    return Directory(registry.routes(registry_dir))


def readiness_of(engine: Engine, directory: Directory) -> Readiness:
    """Returns the readiness of a webhook whose intake has nothing to do."""
    return Readiness(engine, directory, Intake(engine, on_committed=lambda _lanes: None))


def test_a_number_appears_and_disappears_with_its_file(directory: Directory, registry_dir: Path) -> None:
    """A number appears and disappears with its file. This needs no restart."""
    publish_number(registry_dir, name="sales", number="200", app_id="9002")
    directory.refresh()
    assert set(directory.endpoints) == {SUPPORT, ("team-a", "sales"), ("apps", posts.APP), ("apps", "9002")}
    (registry_dir / "webhook" / "team-a.support.json").unlink()
    directory.refresh()
    assert set(directory.endpoints) == {("team-a", "sales"), ("apps", "9002")}


def test_a_broken_file_leaves_its_number_as_it_was(directory: Directory, registry_dir: Path) -> None:
    """If the file of a number is broken, the webhook still accepts the number's deliveries.

    A reader may see a file that is only half written.
    """
    (registry_dir / "webhook" / "team-a.support.json").write_text("{")
    publish_number(registry_dir, name="sales", number="200", app_id="9002")
    directory.refresh()
    assert SUPPORT in directory.endpoints
    assert ("team-a", "sales") in directory.endpoints


def test_an_unreadable_registry_keeps_the_endpoints_and_is_not_ready(
    database: Engine, directory: Directory, registry_dir: Path
) -> None:
    """If the registry cannot be read, the endpoints stay but the webhook is not ready.

    Deliveries are still accepted, but a pod that cannot see changes should get no traffic.
    """
    shutil.rmtree(registry_dir / "webhook")
    (registry_dir / "webhook").write_text("a file where the folder was")
    directory.refresh()
    assert SUPPORT in directory.endpoints
    assert readiness_of(database, directory).reason() == "the registry cannot be read: NotADirectoryError"


def test_a_namespace_called_apps_may_have_numbers(directory: Directory, registry_dir: Path) -> None:
    """A namespace called `apps` may have numbers.

    Only a number whose name is an app id has no route there, because the app's route takes precedence.
    """
    publish_number(registry_dir, namespace="apps", name="support", number="200")
    publish_number(registry_dir, namespace="apps", name=posts.APP, number="300")
    directory.refresh()
    assert directory.endpoints["apps", "support"].number_id == "200"
    assert directory.endpoints["apps", posts.APP].number_id == f"app:{posts.APP}"


def test_it_is_ready_when_the_database_stores_events(database: Engine, directory: Directory) -> None:
    """The webhook is ready when the database stores events."""
    assert readiness_of(database, directory).reason() is None


def test_it_is_not_ready_while_it_drains(database: Engine, directory: Directory) -> None:
    """The webhook is not ready while it drains, because new deliveries should go to other pods."""
    readiness = readiness_of(database, directory)
    readiness.drain()
    assert readiness.reason() == "draining"


def test_before_the_migration_it_is_not_ready_and_says_why(empty_database_url: str, directory: Directory) -> None:
    """Before the migration the webhook is not ready. The reason names the command to run."""
    engine = store_database.connect(empty_database_url, application="waypost-tests")
    assert "waypost migrate" in str(readiness_of(engine, directory).reason())
    engine.dispose()


def test_it_is_ready_with_a_schema_of_a_later_version(database: Engine, directory: Directory) -> None:
    """The webhook is ready with a database schema of a later version.

    A pod of the previous version may start during an upgrade and after a rollback.
    """
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of-a-later-version'")
    assert readiness_of(database, directory).reason() is None


def test_it_is_not_ready_without_a_database(directory: Directory) -> None:
    """Without a database the webhook is not ready. The reason names the failure but no address."""
    engine = store_database.connect("postgresql://nobody@127.0.0.1:1/none", application="waypost-tests")
    assert readiness_of(engine, directory).reason() == "the database cannot be used: nothing listens at its address"
