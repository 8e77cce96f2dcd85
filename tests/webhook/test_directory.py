"""Following the registry, and telling whether deliveries can be acknowledged."""

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
    """A directory that has read the registry once."""
    return Directory(registry.routes(registry_dir))


def ready(engine: Engine, directory: Directory) -> Readiness:
    """Readiness of an intake that has nothing to do."""
    return Readiness(engine, directory, Intake(engine, on_committed=lambda _lanes: None))


def test_a_number_comes_and_goes_with_its_file(directory: Directory, registry_dir: Path) -> None:
    """No restart is needed for either."""
    publish_number(registry_dir, name="sales", number="200", app_id="9002")
    directory.refresh()
    assert set(directory.endpoints) == {SUPPORT, ("team-a", "sales"), ("apps", posts.APP), ("apps", "9002")}
    (registry_dir / "webhook" / "team-a.support.json").unlink()
    directory.refresh()
    assert set(directory.endpoints) == {("team-a", "sales"), ("apps", "9002")}


def test_a_broken_file_leaves_its_number_as_it_was(directory: Directory, registry_dir: Path) -> None:
    """Half a file must not refuse anybody's deliveries."""
    (registry_dir / "webhook" / "team-a.support.json").write_text("{")
    publish_number(registry_dir, name="sales", number="200", app_id="9002")
    directory.refresh()
    assert SUPPORT in directory.endpoints
    assert ("team-a", "sales") in directory.endpoints


def test_an_unreadable_registry_keeps_the_endpoints_and_is_not_ready(
    database: Engine, directory: Directory, registry_dir: Path
) -> None:
    """What is known still works; a pod that can learn nothing new should get no traffic."""
    shutil.rmtree(registry_dir / "webhook")
    (registry_dir / "webhook").write_text("a file where the folder was")
    directory.refresh()
    assert SUPPORT in directory.endpoints
    assert ready(database, directory).reason() == "the registry cannot be read: NotADirectoryError"


def test_a_namespace_called_apps_may_have_numbers(directory: Directory, registry_dir: Path) -> None:
    """Only a number whose name is an app id gives way, to the app."""
    publish_number(registry_dir, namespace="apps", name="support", number="200")
    publish_number(registry_dir, namespace="apps", name=posts.APP, number="300")
    directory.refresh()
    assert directory.endpoints["apps", "support"].number_id == "200"
    assert directory.endpoints["apps", posts.APP].number_id == f"app:{posts.APP}"


def test_it_is_ready_when_the_database_takes_events(database: Engine, directory: Directory) -> None:
    """None means ready."""
    assert ready(database, directory).reason() is None


def test_it_is_not_ready_while_it_drains(database: Engine, directory: Directory) -> None:
    """New deliveries are to go elsewhere."""
    readiness = ready(database, directory)
    readiness.drain()
    assert readiness.reason() == "draining"


def test_it_is_not_ready_before_the_migration(empty_database_url: str, directory: Directory) -> None:
    """And says what to do."""
    engine = store_database.connect(empty_database_url, application="waypost-tests")
    assert "waypost migrate" in str(ready(engine, directory).reason())
    engine.dispose()


def test_it_is_ready_with_a_schema_of_a_later_version(database: Engine, directory: Directory) -> None:
    """A pod of the version before may start during an upgrade, and after its rollback."""
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'of-a-later-version'")
    assert ready(database, directory).reason() is None


def test_it_is_not_ready_without_a_database(directory: Directory) -> None:
    """The reason names the failure and no address."""
    engine = store_database.connect("postgresql://nobody@127.0.0.1:1/none", application="waypost-tests")
    assert ready(engine, directory).reason() == "the database cannot be used: nothing listens at its address"
