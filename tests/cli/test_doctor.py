"""`waypost doctor` finds the things that are wrong, says what to do, and shows no secret."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.serializers import JSONSerializer
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from waypost.cli import doctor
from waypost.cli.doctor import Finding, FindingState
from waypost.cli.main import app
from waypost.cloudapi.graph.apps import TokenDetails
from waypost.contracts import registry
from waypost.contracts.registry import Number, Route
from waypost.dev.embedded import EmbeddedRedis

from ..registry_files import publish

SECRET, TOKEN = "canary-app-secret", "canary-access-token"
DAY_S = 86_400.0


def published(folder: Path) -> Path:
    """Publishes one number in a registry and returns the folder of the registry."""
    identity: dict[str, Any] = {
        "namespace": "team-a",
        "name": "support",
        "phone_number_id": "1",
        "waba_id": "2",
        "app_id": "3",
    }
    route = Route(**identity, app_secrets=(SECRET,), verify_tokens=("canary-verify",))
    publish(folder, route, Number(**identity, access_token=TOKEN))
    return folder


def find(findings: list[Finding], check: str) -> Finding:
    """Returns the only finding of a check."""
    (found,) = [finding for finding in findings if finding.check == check]
    return found


def check_registry(folder: Path) -> list[Finding]:
    """Returns the findings about the registry files."""
    return list(doctor.check_registry(folder, registry.routes(folder).current, registry.numbers(folder).current))


def test_a_good_database_is_ok(database_url: str) -> None:
    """A database that is reachable, migrated and durable is reported as ok."""
    findings = list(doctor.check_database(database_url))

    assert [finding.check for finding in findings] == ["database", "schema", "durability"]
    assert {finding.state for finding in findings} == {"ok"}


def test_a_database_without_tables_needs_a_migration(empty_database_url: str) -> None:
    """A database without tables needs a migration. The advice names the command."""
    finding = find(list(doctor.check_database(empty_database_url)), "schema")

    assert (finding.state, finding.advice) == ("wrong", "run `waypost migrate`")


def test_a_database_that_would_lose_acknowledged_messages_is_wrong(database: Engine, database_url: str) -> None:
    """A database that would lose acknowledged messages is reported as wrong.

    synchronous_commit = off breaks the first guarantee without any error.
    """
    name = database.url.database
    with database.begin() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" SET synchronous_commit = off'))
    finding = find(list(doctor.check_database(database_url)), "durability")

    assert finding.state == "wrong"
    assert "synchronous_commit = on" in finding.advice


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("", "WAYPOST_DATABASE_URL is not set"),
        ("nonsense", "WAYPOST_DATABASE_URL is not an address"),
        ("postgresql://user:canary-password@127.0.0.1:1/none", "cannot be reached"),
    ],
)
def test_an_unusable_database_is_reported_without_its_password(url: str, detail: str) -> None:
    """An unusable database gives one finding, with advice and without the database's password."""
    (finding,) = doctor.check_database(url)

    assert finding.state == "wrong"
    assert detail in finding.detail
    assert finding.advice
    assert "canary" not in repr(finding)


def test_a_good_redis_is_ok(redis_server: EmbeddedRedis) -> None:
    """The embedded Redis is reported as ok. It never evicts."""
    assert {finding.state for finding in doctor.check_redis(redis_server.url)} == {"ok"}


@pytest.mark.fault("S4")
def test_what_another_program_wrote_into_redis_is_found(redis_server: EmbeddedRedis) -> None:
    """A foreign job in Redis is found before a worker refuses it. The finding has the reason and no content."""
    with redis_server.client() as client:
        Queue("waypost", connection=client, serializer=JSONSerializer).enqueue("os.getcwd", description="canary-text")
        client.zadd("waypost:woken", {"canary-text": 1})
        client.set("rq:wip:waypost", "canary-text")
    finding = find(list(doctor.check_redis(redis_server.url)), "redis content")
    assert finding.state == "wrong"
    assert "1 job-fields, 1 key-type, 1 wake-up" in finding.detail
    assert "canary" not in finding.detail + finding.advice


def test_a_redis_that_evicts_is_found(redis_server: EmbeddedRedis) -> None:
    """A Redis that evicts is reported. The advice names the setting to change."""
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    findings = list(doctor.check_redis(redis_server.url))

    assert find(findings, "redis eviction").state == "wrong"
    assert find(findings, "redis eviction").advice == "set maxmemory-policy noeviction"


def test_an_entry_that_is_too_long_is_no_outage(redis_server: EmbeddedRedis) -> None:
    """A long entry of the queue is reported as content of another program. Redis itself is reported as ok."""
    with redis_server.client() as client:
        client.rpush("rq:queue:waypost", b"x" * 2 * 1024 * 1024)
    findings = list(doctor.check_redis(redis_server.url))
    assert find(findings, "redis").state == "ok"
    assert find(findings, "redis content").state == "wrong"
    assert "1 entry-size" in find(findings, "redis content").detail


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("", "WAYPOST_REDIS_URL is not set"),
        ("nonsense", "WAYPOST_REDIS_URL is not an address"),
        ("redis://:canary-password@127.0.0.1:1/0", "cannot be reached"),
    ],
)
def test_an_unusable_redis_is_reported_without_its_password(url: str, detail: str) -> None:
    """An unusable Redis gives one finding, with advice and without the password of Redis."""
    (finding,) = doctor.check_redis(url)

    assert finding.state == "wrong"
    assert detail in finding.detail
    assert "canary" not in repr(finding)


def test_a_registry_with_a_number_is_ok(tmp_path: Path) -> None:
    """A registry with the files that the operator publishes is reported as ok."""
    assert check_registry(published(tmp_path)) == [Finding("registry", FindingState.OK, "1 number")]


def test_an_empty_registry_is_wrong(tmp_path: Path) -> None:
    """An empty registry is reported as wrong. Without numbers, no message can be accepted or answered."""
    assert check_registry(tmp_path)[0].state == "wrong"


def test_a_file_that_cannot_be_decoded_is_find(tmp_path: Path) -> None:
    """The finding for a file that cannot be decoded has the name of the file, but not its content."""
    published(tmp_path)
    (tmp_path / "worker" / "team-a.support.json").write_text('{"accessToken": "canary')
    findings = check_registry(tmp_path)

    assert "team-a.support.json" in findings[0].detail
    assert "canary" not in repr(findings)


def test_half_of_a_number_is_found(tmp_path: Path) -> None:
    """A number that has only one of its two files is reported.

    Without the worker's file, messages to the number would be accepted and never answered.
    """
    published(tmp_path)
    (tmp_path / "worker" / "team-a.support.json").unlink()

    assert Finding(
        "registry", FindingState.WRONG, "team-a/support: no worker file", doctor.PUBLISH_AGAIN
    ) in check_registry(tmp_path)


def test_files_that_everybody_may_read_are_a_warning(tmp_path: Path) -> None:
    """Files that everybody may read are a warning, because the files contain secrets."""
    published(tmp_path)
    (tmp_path / "webhook" / "team-a.support.json").chmod(0o644)

    assert find(check_registry(tmp_path), "registry permissions").state == "warning"


@pytest.mark.parametrize(
    ("token", "state", "words"),
    [
        (TokenDetails(is_valid=False), "wrong", "is no longer valid"),
        (TokenDetails(is_valid=True, scopes=["whatsapp_business_messaging"]), "wrong", "lacks whatsapp_business_man"),
        (TokenDetails(is_valid=True, scopes=list(doctor.NEEDED_SCOPES)), "ok", "valid, never expires"),
        (
            TokenDetails(is_valid=True, scopes=list(doctor.NEEDED_SCOPES), expires_at=int(3.5 * DAY_S)),
            "warning",
            "expires in 3 days",
        ),
        (
            TokenDetails(is_valid=True, scopes=list(doctor.NEEDED_SCOPES), expires_at=int(60 * DAY_S)),
            "ok",
            "valid, expires in 60 days",
        ),
    ],
)
def test_a_token_is_judged_by_what_meta_says_about_it(token: TokenDetails, state: str, words: str) -> None:
    """The state of a token depends on what Meta reports about the token.

    Meta reports whether the token is valid, which permissions it has, and when it expires.
    """
    (finding,) = doctor.judge_token("token", token, now=0.0)

    assert finding.state == state
    assert words in finding.detail


@pytest.fixture
def run(database_url: str, redis_server: EmbeddedRedis, tmp_path: Path) -> Callable[..., Result]:
    """Returns a function that runs `waypost doctor`.

    The database and Redis are good and the registry has one number, but no Graph API can be reached.
    """

    def doctor_on(*arguments: str, registry_dir: Path | None = None) -> Result:
        environment = {
            "WAYPOST_DATABASE_URL": database_url,
            "WAYPOST_REDIS_URL": redis_server.url,
            "WAYPOST_GRAPH_URL": "http://127.0.0.1:1",
            "WAYPOST_REGISTRY_DIR": str(registry_dir or published(tmp_path)),
        }
        return CliRunner().invoke(app, ["doctor", *arguments], env=environment, catch_exceptions=False)

    return doctor_on


def test_the_command_ends_with_status_one_if_anything_is_wrong(run: Callable[..., Result]) -> None:
    """The command ends with status 1 if anything is wrong.

    Here, the Graph API cannot be reached. Everything else is checked nevertheless.
    """
    answer = run()

    assert answer.exit_code == 1
    assert "→ check the network and proxy on the way to it" in answer.stdout
    assert "canary" not in answer.output


def test_the_command_prints_json_for_programs(run: Callable[..., Result]) -> None:
    """With `--json`, standard output has the same findings as JSON, and nothing else."""
    findings = json.loads(run("--json").stdout)

    assert {finding["check"]: finding["state"] for finding in findings} == {
        "database": "ok",
        "schema": "ok",
        "durability": "ok",
        "redis": "ok",
        "redis eviction": "ok",
        "registry": "ok",
        "graph": "wrong",
    }
