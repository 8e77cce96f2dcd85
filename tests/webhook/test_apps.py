"""Tests which signatures are valid for which number, and that tenants cannot store events for each other."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from waypost.store import inbox
from waypost.webhook.adoption import Adoption

from . import posts
from .service import Webhook, publish_number, serving

pytestmark = pytest.mark.anyio

APP_PATH = f"/webhooks/apps/{posts.APP}"
SAME_APP = "100000000000002"
OTHER_APP = "100000000000003"
OTHER_SECRET = "another-app-secret"


@pytest.fixture
def registry_dir(registry_dir: Path) -> Path:
    """Adds a second number of the same app and a number of another tenant's app, and returns the registry."""
    publish_number(registry_dir, namespace="team-b", name="sales", number=SAME_APP, waba="300")
    publish_number(
        registry_dir,
        namespace="team-c",
        name="shop",
        number=OTHER_APP,
        waba="400",
        app_id="9002",
        secrets=(OTHER_SECRET,),
    )
    return registry_dir


def dead(database: Engine) -> list[tuple[str, str]]:
    """Returns the number id and the reason of each dead event."""
    with database.connect() as connection:
        rows = connection.execute(text("SELECT number_id, reason FROM event WHERE state = 'dead' ORDER BY id"))
        return [(row.number_id, row.reason) for row in rows]


@pytest.mark.parametrize("number", [posts.NUMBER, SAME_APP])
async def test_an_apps_route_accepts_events_for_each_of_its_numbers(
    webhook: Webhook, database: Engine, number: str
) -> None:
    """An app's route accepts events for each of its numbers, because an app has one callback for all of them."""
    key = posts.wamid()
    response = await webhook.post(posts.delivery(posts.item(key), number=number), path=APP_PATH)
    assert response.status_code == 200
    assert posts.stored(database, number) == {key: "waiting"}


async def test_a_numbers_route_accepts_events_for_another_number_of_the_app(webhook: Webhook, database: Engine) -> None:
    """A number's route accepts events for another number of the same app.

    Such an event is stored under the id of the number that it names.
    """
    key = posts.wamid()
    await webhook.post(posts.delivery(posts.item(key), number=SAME_APP))
    assert posts.stored(database, SAME_APP) == {key: "waiting"}


@pytest.mark.parametrize("path", [posts.PATH, APP_PATH])
async def test_an_event_for_an_unknown_number_is_stored_dead_under_its_app(
    webhook: Webhook, database: Engine, path: str
) -> None:
    """An event for an unknown number is acknowledged and stored as dead under its app.

    Once the number is registered, the event can be replayed.
    """
    response = await webhook.post(posts.delivery(posts.item(posts.wamid()), number="100000000000099"), path=path)
    assert response.status_code == 200
    assert dead(database) == [(f"app:{posts.APP}:100000000000099", "NumberNotRegistered")]


@pytest.mark.parametrize("path", [posts.PATH, APP_PATH])
async def test_an_event_for_another_tenants_number_never_reaches_it(
    webhook: Webhook, database: Engine, path: str
) -> None:
    """An event for another tenant's number is not stored for that number.

    It does not replace the real event with the same id, which arrives later.
    """
    delivery = posts.delivery(posts.item("wamid.theirs"), number=OTHER_APP)
    await webhook.post(delivery, path=path)
    assert posts.stored(database, OTHER_APP) == {}
    assert dead(database) == [(f"app:{posts.APP}:{OTHER_APP}", "NumberNotRegistered")]
    await webhook.post(delivery, path="/webhooks/team-c/shop", secret=OTHER_SECRET)
    assert posts.stored(database, OTHER_APP) == {"wamid.theirs": "waiting"}


async def test_an_apps_secret_is_refused_on_another_apps_routes(webhook: Webhook) -> None:
    """An app's secret is refused on the routes of another app.

    The route alone decides which secrets are tried, not the payload.
    """
    delivery = posts.delivery(posts.item(posts.wamid()), number=OTHER_APP)
    for path in (posts.PATH, APP_PATH):
        assert (await webhook.post(delivery, path=path, secret=OTHER_SECRET)).status_code == 400


async def test_a_tenant_that_names_anothers_app_signs_for_its_own_number_only(
    database: Engine, registry_dir: Path
) -> None:
    """A tenant that names another tenant's app can sign only for its own number.

    Its made-up secret is accepted on the app's route, but only for events of its own number.
    """
    publish_number(registry_dir, namespace="evil", name="twin", number="666", waba="666", secrets=("made-up",))
    async with serving(database, registry_dir) as webhook:
        response = await webhook.post(
            posts.envelope([posts.change(posts.item("wamid.a")), posts.change(posts.item("wamid.b"), number="666")]),
            path=APP_PATH,
            secret="made-up",
        )
    assert response.status_code == 200
    assert posts.stored(database) == {}
    assert posts.stored(database, "666") == {"wamid.b": "waiting"}


async def test_an_apps_route_serves_a_number_that_does_not_have_the_new_secret_yet(
    database: Engine, registry_dir: Path
) -> None:
    """An app's route serves a number that does not have the new secret yet.

    The numbers of an app get the new secret one after the other. The secret that they share keeps them in one
    group.
    """
    publish_number(registry_dir, secrets=("new", posts.SECRET))
    publish_number(registry_dir, namespace="team-b", name="sales", number=SAME_APP, waba="300", secrets=(posts.SECRET,))
    async with serving(database, registry_dir) as webhook:
        delivery = posts.delivery(posts.item("wamid.c"), number=SAME_APP)
        assert (await webhook.post(delivery, path=APP_PATH, secret="new")).status_code == 200
    assert posts.stored(database, SAME_APP) == {"wamid.c": "waiting"}


async def test_an_account_event_belongs_to_the_account_of_a_number_of_the_app(
    webhook: Webhook, database: Engine
) -> None:
    """An account event belongs to an account that has a number of the app.

    The fields of such an event name no number, but the account must be one of the app's.
    """
    update = {"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}
    await webhook.post(posts.envelope([update]), path=APP_PATH)
    await webhook.post(posts.envelope([update], waba="400"), path=APP_PATH)
    assert list(posts.stored(database, f"waba:{posts.WABA}").values()) == ["waiting"]
    assert dead(database) == [(f"app:{posts.APP}:waba:400", "NumberNotRegistered")]


async def test_an_unreadable_delivery_to_an_app_is_stored_under_the_app(webhook: Webhook, database: Engine) -> None:
    """An unreadable delivery to an app is stored under the app, because it names no number."""
    assert (await webhook.post(b"not JSON", path=APP_PATH)).status_code == 200
    ((number_id, _reason),) = dead(database)
    assert number_id == f"app:{posts.APP}"


async def test_a_late_number_adopts_the_events_that_arrived_before_it(webhook: Webhook, database: Engine) -> None:
    """A late number adopts the events that arrived before it was registered.

    These events get the number's key, lane and counts. They stay dead until a person replays them.
    """
    number = "100000000000099"
    await webhook.post(posts.delivery(posts.item("wamid.early", sender="15550003"), number=number), path=APP_PATH)
    with database.begin() as connection:
        assert inbox.adopt(connection, app_id=posts.APP, number_id=number, writer=1) == 1
    assert posts.stored(database, number) == {"wamid.early": "dead"}
    assert posts.counted(database, number) == {"received": 1, "dead": 1}
    assert not any(posts.counted(database, f"app:{posts.APP}:{number}").values())
    with database.connect() as connection:
        assert connection.execute(text("SELECT lane FROM event")).scalar_one() == inbox.lane_of(number, "15550003")


async def test_an_early_event_that_was_delivered_again_is_not_stored_twice(
    webhook: Webhook, database: Engine, registry_dir: Path
) -> None:
    """If an event that arrived early is delivered again, it is stored once. The early copy counts as a duplicate."""
    number = "100000000000099"
    delivery = posts.delivery(posts.item("wamid.early"), number=number)
    await webhook.post(delivery, path=APP_PATH)
    publish_number(registry_dir, name="late", number=number)
    webhook.directory.refresh()
    await webhook.post(delivery, path=APP_PATH)
    with database.begin() as connection:
        assert inbox.adopt(connection, app_id=posts.APP, number_id=number, writer=1) == 1
    assert posts.counted(database, number) == {"received": 2, "duplicate": 1, "waiting": 1}
    assert not any(posts.counted(database, f"app:{posts.APP}:{number}").values())


async def test_events_are_adopted_by_numbers_of_their_own_app_only(
    webhook: Webhook, database: Engine, registry_dir: Path
) -> None:
    """Events that are stored under an app are adopted only by a late number of that app."""
    for number in ("100000000000099", OTHER_APP):
        await webhook.post(posts.delivery(posts.item("wamid.early"), number=number), path=APP_PATH)
    publish_number(registry_dir, name="late", number="100000000000099")
    webhook.directory.refresh()
    Adoption(database, webhook.directory).adopt(webhook.directory.endpoints)
    assert dead(database) == [
        ("100000000000099", "NumberNotRegistered"),
        (f"app:{posts.APP}:{OTHER_APP}", "NumberNotRegistered"),
    ]
