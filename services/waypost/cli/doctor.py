"""The command `waypost doctor` checks an installation and says what to do. It never prints a secret."""

import asyncio
import json
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import redis
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from waypost import redis_address
from waypost.cloudapi.graph.apps import TokenDetails
from waypost.cloudapi.graph.calls import Credentials
from waypost.cloudapi.graph.client import GraphClient
from waypost.cloudapi.graph.errors import GraphError, GraphRefused
from waypost.contracts import registry
from waypost.lanes import foreign
from waypost.settings import Settings
from waypost.store.connection import database, schema

WARN_BEFORE_S = 14 * 24 * 3600.0
"""Remaining lifetime of a token, in seconds, below which a person should act."""

PUBLISH_AGAIN = "the operator or `waypost dev` must publish it again; see its log"

NEEDED_SCOPES = ("whatsapp_business_messaging", "whatsapp_business_management")


class FindingState(StrEnum):
    """Results of a check. Only `WRONG` makes the command fail."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


OK, WARNING, WRONG = FindingState


@dataclass(frozen=True)
class Finding:
    """The result of one check. `advice` says what to do, or is empty if nothing needs to be done."""

    check: str
    state: FindingState
    detail: str
    advice: str = ""


def check_all(settings: Settings) -> Iterator[Finding]:
    """Yields the findings of all checks, one after the other."""
    yield from check_database(settings.database_url)
    yield from check_redis(settings.redis_url)
    routes, numbers = registry.routes(settings.registry_dir), registry.numbers(settings.registry_dir)
    yield from check_registry(settings.registry_dir, routes.current, numbers.current)
    yield from asyncio.run(
        check_tokens(settings.graph_url, settings.graph_version, routes.current, numbers.current, now=time.time())
    )


def check_database(url: str) -> Iterator[Finding]:
    """Checks that PostgreSQL is reachable, migrated, writable and durable."""
    if not url:
        yield Finding("database", WRONG, "WAYPOST_DATABASE_URL is not set", "set it to postgresql://user@host/name")
        return
    try:
        engine = database.connect(url, application="waypost-doctor", pool_size=1)
    except ArgumentError:
        yield Finding(
            "database", WRONG, "WAYPOST_DATABASE_URL is not an address", "write it as postgresql://user@host/name"
        )
        return
    try:
        with engine.connect() as connection:
            version, synchronous, fsync, recovering = connection.execute(
                text(
                    "SELECT current_setting('server_version'), current_setting('synchronous_commit'), "
                    "current_setting('fsync'), pg_is_in_recovery()"
                )
            ).one()
        is_outdated = schema.pending(engine)
    except SQLAlchemyError as error:
        reason = type(getattr(error, "orig", None) or error).__name__
        yield Finding(
            "database", WRONG, f"cannot be reached ({reason})", "check the address and password in WAYPOST_DATABASE_URL"
        )
        return
    finally:
        engine.dispose()
    yield Finding("database", OK, f"PostgreSQL {version}")
    if recovering:
        yield Finding("database role", WRONG, "is a read-only standby", "point WAYPOST_DATABASE_URL at the primary")
    if is_outdated:
        yield Finding("schema", WRONG, "a migration is missing", "run `waypost migrate`")
    else:
        yield Finding("schema", OK, "current")
    # "local" is durable on one machine; "off" loses acknowledged messages if the server's machine dies.
    if synchronous == "off" or fsync == "off":
        setting = "synchronous_commit" if synchronous == "off" else "fsync"
        yield Finding(
            "durability",
            WRONG,
            f"{setting} is off: a power loss would lose acknowledged messages",
            f"set {setting} = on for this database",
        )
    else:
        yield Finding("durability", OK, f"synchronous_commit={synchronous}, fsync={fsync}")


def check_redis(url: str) -> Iterator[Finding]:
    """Checks that Redis is reachable, that it keeps its data over a restart, and that it never evicts keys."""
    if not url:
        yield Finding("redis", WRONG, "WAYPOST_REDIS_URL is not set", "set it to redis://host:6379/0")
        return
    try:
        client = redis_address.connect(url, socket_connect_timeout=3, socket_timeout=3)
    except ValueError:
        yield Finding("redis", WRONG, "WAYPOST_REDIS_URL is not an address", "write it as redis://host:6379/0")
        return
    try:
        server = client.info("server")
        memory = client.info("memory")
        refused = foreign.inspect(client)
    except redis.exceptions.RedisError as error:
        yield Finding(
            "redis",
            WRONG,
            f"cannot be reached ({type(error).__name__})",
            "messages are handled without it, but slower; check host and password in WAYPOST_REDIS_URL",
        )
        return
    finally:
        client.close()
    yield Finding("redis", OK, f"version {server.get('valkey_version') or server.get('redis_version')}")
    policy = memory.get("maxmemory_policy")
    if policy != "noeviction":
        yield Finding(
            "redis eviction",
            WRONG,
            f"maxmemory-policy is {policy}: jobs may be evicted",
            "set maxmemory-policy noeviction",
        )
    else:
        yield Finding("redis eviction", OK, "noeviction")

    if refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(refused.items()))
        yield Finding(
            "redis content",
            WRONG,
            f"another program wrote into the queue ({reasons}); workers refuse and remove it",
            "find out who can write to this Redis, and give it to Waypost alone",
        )


def check_registry(
    folder: Path, routes: registry.Snapshot[registry.Route], numbers: registry.Snapshot[registry.Number]
) -> Iterator[Finding]:
    """Checks that each number has both registry files, and that these can be decoded.

    It also warns if the files are open to every user of the machine.
    """
    for error in (*routes.errors, *numbers.errors):
        yield Finding("registry", WRONG, f"{error}: cannot be decoded", PUBLISH_AGAIN)
    for error in numbers.without_bot:
        yield Finding("registry", WRONG, f"{error}: its bot cannot be read", PUBLISH_AGAIN)
    if not routes.by_name and not numbers.by_name:
        yield Finding(
            "registry",
            WRONG,
            f"no number in {folder}",
            "check WAYPOST_REGISTRY_DIR; the operator or `waypost dev` writes there",
        )
        return
    for namespace, name in sorted(set(routes.by_name) ^ set(numbers.by_name)):
        half = "worker" if (namespace, name) in routes.by_name else "webhook"
        yield Finding("registry", WRONG, f"{namespace}/{name}: no {half} file", PUBLISH_AGAIN)
    open_files = [path for path in _files(folder) if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO]
    if open_files:
        yield Finding(
            "registry permissions",
            WARNING,
            f"{len(open_files)} files with secrets are open to every user of this machine",
            f"chmod -R o= {folder}",
        )
    count = len(set(routes.by_name) | set(numbers.by_name))
    yield Finding("registry", OK, f"{count} {'number' if count == 1 else 'numbers'}")


async def check_tokens(
    graph_url: str,
    version: str,
    routes: registry.Snapshot[registry.Route],
    numbers: registry.Snapshot[registry.Number],
    *,
    now: float,
) -> list[Finding]:
    """Checks that the Graph API answers and accepts each number's token. `now` is in seconds since 1970."""
    findings: list[Finding] = []
    async with GraphClient(graph_url, version, timeout_s=10) as graph:
        for (namespace, name), number in sorted(numbers.by_name.items()):
            check = f"token of {namespace}/{name}"
            route = routes.by_name.get((namespace, name))
            if route is None:
                continue
            app = Credentials.of_app(number.app_id, route.app_secrets[0])
            try:
                token = await graph.debug_token(app, number.access_token)
            except GraphRefused as error:
                findings.append(Finding(check, WRONG, str(error), "check appId and appSecret in its Secret"))
            except GraphError as error:
                findings.append(
                    Finding("graph", WRONG, f"{graph_url}: {error}", "check the network and proxy on the way to it")
                )
                return findings
            else:
                findings.extend(judge_token(check, token, now=now))
    if findings:
        findings.insert(0, Finding("graph", OK, graph_url))
    return findings


def judge_token(check: str, token: TokenDetails, *, now: float) -> Iterator[Finding]:
    """Yields the findings that follow from Meta's data about a token.

    `now` is in seconds since 1970. The function is pure.
    """
    renew = "make a new token for the system user (Business settings) and put it into the Secret"
    if not token.is_valid:
        yield Finding(check, WRONG, "is no longer valid", renew)
        return
    lacking = [scope for scope in NEEDED_SCOPES if scope not in token.scopes]
    if lacking:
        yield Finding(check, WRONG, f"lacks {', '.join(lacking)}", "create a token with these permissions")
        return
    if token.expires_at and token.expires_at - now < WARN_BEFORE_S:
        days = max(0, int((token.expires_at - now) // 86400))
        yield Finding(check, WARNING, f"expires in {days} days", renew)
        return
    expiry = "never expires" if not token.expires_at else f"expires in {int((token.expires_at - now) // 86400)} days"
    yield Finding(check, OK, f"valid, {expiry}")


def report(findings: Sequence[Finding], out: Console, *, as_json: bool) -> int:
    """Prints the findings. Returns the exit status, which is 1 if any finding is `WRONG`."""
    if as_json:
        out.file.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        colours = {OK: "green", WARNING: "yellow", WRONG: "bold red"}
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            detail = Text(finding.detail)
            if finding.advice:
                detail.append(f"\n→ {finding.advice}", style="bold")
            table.add_row(Text(finding.state, style=colours[finding.state]), Text(finding.check), detail)
        out.print(table)
    return 1 if any(finding.state is WRONG for finding in findings) else 0


def _files(folder: Path) -> Iterator[Path]:
    for audience in ("webhook", "worker"):
        yield from (folder / audience).glob("*.json")
