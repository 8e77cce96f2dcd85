"""Who may speak for which number: callbacks of numbers and of apps, and what tenants cannot do to each other."""

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from waypost.store import inbox
from waypost.webhook.adoption import Adoption

from . import posts
from .service import Webhook, publish_number, serving

pytestmark = pytest.mark.anyio

APP_PATH = f"/webhooks/apps/{posts.APP}"
SIBLING = "100000000000002"
STRANGER = "100000000000003"
THEIR_SECRET = "another-app-secret"


@pytest.fixture
def registry_dir(registry_dir: Path) -> Path:
    """A second number of the same app, and one of another tenant's app."""
    publish_number(registry_dir, namespace="team-b", name="sales", number=SIBLING, waba="300")
    publish_number(
        registry_dir,
        namespace="team-c",
        name="shop",
        number=STRANGER,
        waba="400",
        app_id="9002",
        secrets=(THEIR_SECRET,),
    )
    return registry_dir


def dead(database: Engine) -> list[tuple[str, str]]:
    """(number id, reason) of dead events."""
    with database.connect() as connection:
        rows = connection.execute(text("SELECT number_id, reason FROM event WHERE state = 'dead' ORDER BY id"))
        return [(row.number_id, row.reason) for row in rows]


@pytest.mark.parametrize("number", [posts.NUMBER, SIBLING])
async def test_an_apps_route_takes_events_for_each_of_its_numbers(
    webhook: Webhook, database: Engine, number: str
) -> None:
    """One callback for all numbers of the app."""
    key = posts.wamid()
    response = await webhook.post(posts.delivery(posts.item(key), number=number), path=APP_PATH)
    assert response.status_code == 200
    assert posts.stored(database, number) == {key: "waiting"}


async def test_a_numbers_route_takes_events_for_a_sibling(webhook: Webhook, database: Engine) -> None:
    """Meta sends what it has; a number of the same app is known by its own id."""
    key = posts.wamid()
    await webhook.post(posts.delivery(posts.item(key), number=SIBLING))
    assert posts.stored(database, SIBLING) == {key: "waiting"}


@pytest.mark.parametrize("path", [posts.PATH, APP_PATH])
async def test_an_event_for_an_unknown_number_is_kept_dead_under_its_app(
    webhook: Webhook, database: Engine, path: str
) -> None:
    """It is acknowledged, lost to nobody, and can be replayed once the number is registered."""
    response = await webhook.post(posts.delivery(posts.item(posts.wamid()), number="100000000000099"), path=path)
    assert response.status_code == 200
    assert dead(database) == [(f"app:{posts.APP}:100000000000099", "NumberNotRegistered")]


@pytest.mark.parametrize("path", [posts.PATH, APP_PATH])
async def test_an_event_for_another_tenants_number_never_reaches_it(
    webhook: Webhook, database: Engine, path: str
) -> None:
    """Nor can it take the place of the real one, which comes with the same id."""
    delivery = posts.delivery(posts.item("wamid.theirs"), number=STRANGER)
    await webhook.post(delivery, path=path)
    assert posts.stored(database, STRANGER) == {}
    assert dead(database) == [(f"app:{posts.APP}:{STRANGER}", "NumberNotRegistered")]
    await webhook.post(delivery, path="/webhooks/team-c/shop", secret=THEIR_SECRET)
    assert posts.stored(database, STRANGER) == {"wamid.theirs": "waiting"}


async def test_another_apps_secret_opens_no_route_but_its_own(webhook: Webhook) -> None:
    """The route chooses the secret, never the payload."""
    delivery = posts.delivery(posts.item(posts.wamid()), number=STRANGER)
    for path in (posts.PATH, APP_PATH):
        assert (await webhook.post(delivery, path=path, secret=THEIR_SECRET)).status_code == 400


async def test_a_tenant_that_names_anothers_app_signs_for_its_own_number_only(
    database: Engine, registry_dir: Path
) -> None:
    """Its made-up secret is known to the app's route, yet opens nobody else's numbers."""
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


async def test_a_number_that_has_not_yet_the_new_secret_is_reached_by_the_apps_route(
    database: Engine, registry_dir: Path
) -> None:
    """Numbers of one app rotate one after the other; what they still have in common holds them together."""
    publish_number(registry_dir, secrets=("new", posts.SECRET))
    publish_number(registry_dir, namespace="team-b", name="sales", number=SIBLING, waba="300", secrets=(posts.SECRET,))
    async with serving(database, registry_dir) as webhook:
        delivery = posts.delivery(posts.item("wamid.c"), number=SIBLING)
        assert (await webhook.post(delivery, path=APP_PATH, secret="new")).status_code == 200
    assert posts.stored(database, SIBLING) == {"wamid.c": "waiting"}


async def test_an_account_event_belongs_to_the_account_of_a_number_of_the_app(
    webhook: Webhook, database: Engine
) -> None:
    """Fields about the account name no number; the account must be the app's."""
    update = {"field": "account_update", "value": {"event": "DISABLED_UPDATE"}}
    await webhook.post(posts.envelope([update]), path=APP_PATH)
    await webhook.post(posts.envelope([update], waba="400"), path=APP_PATH)
    assert list(posts.stored(database, f"waba:{posts.WABA}").values()) == ["waiting"]
    assert dead(database) == [(f"app:{posts.APP}:waba:400", "NumberNotRegistered")]


async def test_what_cannot_be_read_on_an_apps_route_is_kept_under_the_app(webhook: Webhook, database: Engine) -> None:
    """There is no number to keep it under."""
    assert (await webhook.post(b"not JSON", path=APP_PATH)).status_code == 200
    ((number_id, _reason),) = dead(database)
    assert number_id == f"app:{posts.APP}"


async def test_a_registered_number_takes_over_what_came_before_it(webhook: Webhook, database: Engine) -> None:
    """Still dead, for a person to replay, but its own: with its key, its lane and its counts."""
    number = "100000000000099"
    await webhook.post(posts.delivery(posts.item("wamid.early", sender="15550003"), number=number), path=APP_PATH)
    with database.begin() as connection:
        assert inbox.adopt(connection, app_id=posts.APP, number_id=number, writer=1) == 1
    assert posts.stored(database, number) == {"wamid.early": "dead"}
    assert posts.counted(database, number) == {"received": 1, "dead": 1}
    assert not any(posts.counted(database, f"app:{posts.APP}:{number}").values())
    with database.connect() as connection:
        assert connection.execute(text("SELECT lane FROM event")).scalar_one() == inbox.lane_of(number, "15550003")


async def test_what_a_number_has_received_again_by_itself_is_not_taken_over_twice(
    webhook: Webhook, database: Engine, registry_dir: Path
) -> None:
    """The early copy is a duplicate, and is counted as one."""
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


async def test_late_numbers_are_found_and_strangers_are_left_alone(
    webhook: Webhook, database: Engine, registry_dir: Path
) -> None:
    """After the registry changed, what waits under the app goes to its number, and to no number of another app."""
    for number in ("100000000000099", STRANGER):
        await webhook.post(posts.delivery(posts.item("wamid.early"), number=number), path=APP_PATH)
    publish_number(registry_dir, name="late", number="100000000000099")
    webhook.directory.refresh()
    Adoption(database, webhook.directory).run(webhook.directory.endpoints)
    assert dead(database) == [
        ("100000000000099", "NumberNotRegistered"),
        (f"app:{posts.APP}:{STRANGER}", "NumberNotRegistered"),
    ]
