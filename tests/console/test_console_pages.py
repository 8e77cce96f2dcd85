"""Tests that the pages escape what they show from the database. The pages show no text of any conversation."""

import json
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest
from sqlalchemy import Engine, text

from waypost.console import app
from waypost.contracts.states import DailyCount
from waypost.store import tally
from waypost.store.connection import database as store_database

NUMBER = "106540352242922"
CANARY = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}'
PRIVATE = ("393331234567", "my canary words", "Profile Canary", "IT.13491208655302741918", "wamid.HBgMcanary")


class Page(HTMLParser):
    """The tags, attributes and text of a page, as a browser sees them."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
async def client(database: Engine) -> AsyncIterator[httpx.AsyncClient]:
    """Yields a browser on this machine."""
    transport = httpx.ASGITransport(app.create(database, password=None), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        yield browser


@pytest.fixture
def hostile(database: Engine) -> None:
    """Stores a number in which every text is an attack, and a conversation in which every text is private."""
    conditions = [{"type": CANARY, "status": CANARY, "reason": CANARY, "message": CANARY, "lastTransitionTime": CANARY}]
    with database.begin() as connection:
        connection.execute(
            text("""
                INSERT INTO number
                    (number_id, namespace, name, waba_id, conditions, paused_until, pause_code, pause_reason)
                VALUES (:number, :canary, :canary, :canary, :conditions, now() + interval '1 h', 190, :canary)
            """),
            {"number": NUMBER, "canary": CANARY, "conditions": json.dumps(conditions)},
        )
        connection.execute(
            text(
                "INSERT INTO contact (number_id, wa_id, user_id, profile_name) VALUES (:number, :phone, :user, :name)"
            ),
            {"number": NUMBER, "phone": PRIVATE[0], "user": PRIVATE[3], "name": PRIVATE[2] + CANARY},
        )
        connection.execute(
            text("INSERT INTO conversation (number_id, contact_id, lane) SELECT number_id, id, 0 FROM contact")
        )
        connection.execute(
            text("""
                INSERT INTO message (number_id, conversation_id, direction, type, body, wamid, occurred_at)
                SELECT number_id, id, 'in', 'text', :body, :wamid, now() FROM conversation
            """),
            {"body": PRIVATE[1], "wamid": PRIVATE[4]},
        )
        connection.execute(
            text("""
                INSERT INTO event (number_id, kind, event_key, lane, contact_key, occurred_at, state, reason, payload)
                VALUES (:number, :canary, :wamid, 0, :phone, now(), 'dead', :canary, convert_to(:body, 'UTF8'))
            """),
            {"number": NUMBER, "canary": CANARY, "wamid": PRIVATE[4], "phone": PRIVATE[0], "body": PRIVATE[1]},
        )
        connection.execute(
            text("""
                INSERT INTO outbox (number_id, conversation_id, body, state, reason, wamid)
                SELECT number_id, id, jsonb_build_object('text', CAST(:body AS text)), 'unknown', :canary, :wamid
                FROM conversation
            """),
            {"canary": CANARY, "body": PRIVATE[1], "wamid": PRIVATE[4]},
        )
        tally.add(connection, 1, {(NUMBER, DailyCount.RECEIVED): 1})


@pytest.mark.fault("X11")
@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", f"/numbers/{NUMBER}"])
async def test_hostile_text_stays_text(hostile: None, client: httpx.AsyncClient, path: str) -> None:
    """Hostile text is shown as text.

    Names, reasons and conditions come from outside. None of them becomes markup, an attribute or a template.
    """
    answer = await client.get(path)
    page = Page(answer.text)
    assert answer.status_code == 200
    assert not {"script", "img", "iframe", "style"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name == "style"]
    assert CANARY in page.text


@pytest.mark.fault("X11")
@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", f"/numbers/{NUMBER}", "/api/status"])
async def test_nothing_that_people_wrote_is_shown(hostile: None, client: httpx.AsyncClient, path: str) -> None:
    """The pages show no text that people wrote in conversations.

    The people who run the numbers do not need to read conversations.
    """
    answer = await client.get(path)
    assert answer.status_code == 200
    assert [each for each in PRIVATE if each in answer.text] == []


@pytest.mark.fault("X11")
@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", "/api/status", "/static/style.css", "/nothing"])
async def test_every_answer_forbids_scripts_and_frames(client: httpx.AsyncClient, path: str) -> None:
    """Every answer forbids scripts and frames. The browser's policy protects even where escaping fails."""
    answer = await client.get(path)
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "script-src" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.anyio
async def test_the_page_loads_nothing_from_elsewhere(client: httpx.AsyncClient) -> None:
    """The page loads nothing from elsewhere, so it works in a cluster without access to the internet."""
    page = Page((await client.get("/")).text)
    links = [value or "" for name, value in page.attributes if name in {"href", "src"}]
    assert links
    assert [link for link in links if not re.match(r"/|#|data:", link)] == []


@pytest.mark.anyio
async def test_an_empty_installation_has_a_page(client: httpx.AsyncClient) -> None:
    """An empty installation has a page. A platform team sees this page right after the installation."""
    page = Page((await client.get("/")).text)
    assert "All is well" in page.text
    assert "No number is registered yet" in page.text
    assert "no messages in the last 48 hours" in page.text


@pytest.mark.anyio
async def test_the_page_marks_counts_that_do_not_add_up(database: Engine, client: httpx.AsyncClient) -> None:
    """The page marks whether the counts of a number add up.

    A ✓ means that received = duplicate + done + dead + waiting. A ✗ appears together with a concern.
    """
    with database.begin() as connection:
        tally.add(
            connection,
            1,
            {("1", DailyCount.RECEIVED): 1234, ("1", DailyCount.DONE): 1230, ("1", DailyCount.DUPLICATE): 4},
        )
        tally.add(connection, 1, {("2", DailyCount.RECEIVED): 2})
    page = Page((await client.get("/")).text)
    assert "the sum holds" in page.text
    assert "the sum does not hold" in page.text
    assert "1,234" in page.text
    assert "2: the events do not add up" in page.text


@pytest.mark.anyio
async def test_a_paused_number_says_why(hostile: None, client: httpx.AsyncClient) -> None:
    """The page lists a paused number among the things that need a person. It shows Meta's code and our reason."""
    page = Page((await client.get("/")).text)
    assert "is paused (Meta's error 190)" in page.text


@pytest.mark.anyio
async def test_a_dead_event_says_how_to_try_it_again(
    hostile: None, database: Engine, client: httpx.AsyncClient
) -> None:
    """The page shows the command that replays a dead event. The reader can copy the command."""
    with database.connect() as connection:
        event = connection.execute(text("SELECT id FROM event")).scalar_one()
    assert f"waypost dead replay {event}" in Page((await client.get("/")).text).text


@pytest.mark.anyio
async def test_messages_are_plotted_with_labels(hostile: None, client: httpx.AsyncClient) -> None:
    """The page plots the messages per hour as an SVG bar chart. The axes of the chart are labelled."""
    page = Page((await client.get("/")).text)
    assert "rect" in page.tags
    assert "messages per hour" in page.text
    assert "start of the hour, UTC" in page.text


@pytest.mark.anyio
async def test_the_status_is_available_as_json(hostile: None, client: httpx.AsyncClient) -> None:
    """The status is available as JSON, so other dashboards can show it."""
    given = (await client.get("/api/status")).json()
    assert given["events"][NUMBER] | {"oldestWaitingSeconds": None} == {
        "received": 1,
        "duplicate": 0,
        "done": 0,
        "dead": 1,
        "waiting": 0,
        "holds": True,
        "oldestWaitingSeconds": None,
    }
    assert given["numbers"][0]["paused"]["code"] == 190
    assert given["numbers"][0]["outbox"]["unknown"] == 1
    assert len(given["messagesPerHour"]) == 48
    assert given["messagesPerHour"][-1]["in"] + given["messagesPerHour"][-2]["in"] == 1


@pytest.mark.anyio
async def test_the_page_reloads_itself_unless_asked_not_to(client: httpx.AsyncClient) -> None:
    """The page reloads itself, but a reader can turn this off. People who need time to read must be able to stop it."""
    assert "refresh" in [value for name, value in Page((await client.get("/")).text).attributes if name == "http-equiv"]
    still = Page((await client.get("/?refresh=0")).text)
    assert "refresh" not in [value for name, value in still.attributes if name == "http-equiv"]


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/numbers/999", "/numbers/%3Cscript%3E", "/nothing", "/static/../app.py"])
async def test_an_unknown_page_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    """An unknown page is answered with 404 in the usual style. The answer does not repeat the address."""
    answer = await client.get(path)
    assert answer.status_code == 404
    assert "<script>" not in answer.text


@pytest.mark.anyio
@pytest.mark.parametrize("path", ["/", f"/numbers/{NUMBER}", "/api/status"])
async def test_without_a_database_the_console_says_so(path: str) -> None:
    """Without a database, the console answers 503 and says so.

    The answer has no details, because the driver's errors name hosts and users.
    """
    nowhere = store_database.connect("postgresql://canary@127.0.0.1:1/none", application="test")
    transport = httpx.ASGITransport(app.create(nowhere, password=None), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as browser:
        answer = await browser.get(path)
    nowhere.dispose()
    assert answer.status_code == 503
    assert "database cannot be reached" in answer.text
    assert "canary" not in answer.text


@pytest.mark.anyio
async def test_the_password_guards_every_page(database: Engine) -> None:
    """The password protects every page. It also protects the API, the style sheet and wrong methods."""
    transport = httpx.ASGITransport(app.create(database, password="secret"), client=("10.0.0.9", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://console") as browser:
        for path in ("/", f"/numbers/{NUMBER}", "/api/status", "/static/style.css", "/nothing"):
            assert (await browser.get(path)).status_code == 401
            assert (await browser.post(path)).status_code == 401
        assert (await browser.get("/", auth=("me", "secret"))).status_code == 200
