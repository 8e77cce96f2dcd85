"""`waypost doctor`: each thing that must be right, and what to do where it is not. Never prints a secret."""

import asyncio
import json
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

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
from waypost.settings import Settings
from waypost.store.connection import database, schema

WARN_BEFORE_S = 14 * 24 * 3600.0
"""A token that ends within this needs a person's attention."""

NEEDED_SCOPES = ("whatsapp_business_messaging", "whatsapp_business_management")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `advice` says what to do, where something is to be done."""

    check: str
    state: Literal["ok", "warning", "wrong"]
    detail: str
    advice: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at everything, one finding after the other, so that a person sees progress."""
    yield from check_database(settings.database_url)
    yield from check_redis(settings.redis_url)
    routes, numbers = registry.routes(settings.registry_dir), registry.numbers(settings.registry_dir)
    yield from check_registry(settings.registry_dir, routes.current, numbers.current)
    yield from asyncio.run(
        check_tokens(settings.graph_url, settings.graph_version, routes.current, numbers.current, now=time.time())
    )


def check_database(url: str) -> Iterator[Finding]:
    """Reachable, migrated, writable, and durable when it says so."""
    if not url:
        yield Finding("database", "wrong", "WAYPOST_DATABASE_URL is not set", "set it to postgresql://user@host/name")
        return
    try:
        engine = database.connect(url, application="waypost-doctor", pool_size=1)
    except ArgumentError:
        yield Finding(
            "database", "wrong", "WAYPOST_DATABASE_URL is not an address", "write it as postgresql://user@host/name"
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
        lacks_migration = schema.pending(engine)
    except SQLAlchemyError as error:
        reason = type(getattr(error, "orig", None) or error).__name__
        yield Finding(
            "database", "wrong", f"cannot be reached ({reason})", "look at host, name, user and password in its URL"
        )
        return
    finally:
        engine.dispose()
    yield Finding("database", "ok", f"PostgreSQL {version}")
    if recovering:
        yield Finding("database role", "wrong", "is a read-only standby", "point WAYPOST_DATABASE_URL at the primary")
    if lacks_migration:
        yield Finding("schema", "wrong", "lacks a migration", "run `waypost migrate`")
    else:
        yield Finding("schema", "ok", "current")
    # "local" is as durable on one machine; "off" loses what was acknowledged when the server's machine dies.
    if synchronous == "off" or fsync == "off":
        which = "synchronous_commit" if synchronous == "off" else "fsync"
        yield Finding(
            "durability",
            "wrong",
            f"{which} is off: a power loss would lose acknowledged messages",
            f"set {which} = on for this database",
        )
    else:
        yield Finding("durability", "ok", f"synchronous_commit={synchronous}, fsync={fsync}")


def check_redis(url: str) -> Iterator[Finding]:
    """Reachable, keeps what it has over a restart, and never evicts."""
    if not url:
        yield Finding("redis", "wrong", "WAYPOST_REDIS_URL is not set", "set it to redis://host:6379/0")
        return
    try:
        client = redis_address.connect(url, socket_connect_timeout=3, socket_timeout=3)
    except ValueError:
        yield Finding("redis", "wrong", "WAYPOST_REDIS_URL is not an address", "write it as redis://host:6379/0")
        return
    try:
        server = client.info("server")
        persistence = client.info("persistence")
        memory = client.info("memory")
    except redis.exceptions.RedisError as error:
        yield Finding(
            "redis",
            "wrong",
            f"cannot be reached ({type(error).__name__})",
            "messages flow without it, slower; look at host and password in WAYPOST_REDIS_URL",
        )
        return
    finally:
        client.close()
    yield Finding("redis", "ok", f"version {server.get('valkey_version') or server.get('redis_version')}")
    if not persistence.get("aof_enabled"):
        yield Finding(
            "redis persistence",
            "warning",
            "append-only file is off: a restart forgets rate limits",
            "set appendonly yes",
        )
    else:
        yield Finding("redis persistence", "ok", "append-only file")
    policy = memory.get("maxmemory_policy")
    if policy != "noeviction":
        yield Finding(
            "redis eviction",
            "wrong",
            f"maxmemory-policy is {policy}: it may throw away rate limits and jobs",
            "set maxmemory-policy noeviction",
        )
    else:
        yield Finding("redis eviction", "ok", "noeviction")


def check_registry(
    folder: Path, routes: registry.Snapshot[registry.Route], numbers: registry.Snapshot[registry.Number]
) -> Iterator[Finding]:
    """Files there, readable, complete, and closed to other users."""
    for error in (*routes.errors, *numbers.errors):
        yield Finding("registry", "wrong", f"{error}: cannot be decoded", "have it published again")
    if not routes.by_name and not numbers.by_name:
        yield Finding(
            "registry",
            "wrong",
            f"no number in {folder}",
            "look at WAYPOST_REGISTRY_DIR; the operator or `waypost dev` writes there",
        )
        return
    for namespace, name in sorted(set(routes.by_name) ^ set(numbers.by_name)):
        half = "worker" if (namespace, name) in routes.by_name else "webhook"
        yield Finding("registry", "wrong", f"{namespace}/{name}: no {half} file", "have it published again")
    open_files = [path for path in _files(folder) if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO]
    if open_files:
        yield Finding(
            "registry permissions",
            "warning",
            f"{len(open_files)} files with secrets are open to every user of the machine",
            f"chmod -R o= {folder}",
        )
    count = len(set(routes.by_name) | set(numbers.by_name))
    yield Finding("registry", "ok", f"{count} {'number' if count == 1 else 'numbers'}")


async def check_tokens(
    graph_url: str,
    version: str,
    routes: registry.Snapshot[registry.Route],
    numbers: registry.Snapshot[registry.Number],
    *,
    now: float,
) -> list[Finding]:
    """Whether the Graph API answers, and takes each number's token."""
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
                findings.append(Finding(check, "wrong", str(error), "look at appId and appSecret in its Secret"))
            except GraphError as error:
                findings.append(
                    Finding("graph", "wrong", f"{graph_url}: {error}", "look at the network's way to it and its proxy")
                )
                return findings
            else:
                findings.extend(judge_token(check, token, now=now))
    if findings:
        findings.insert(0, Finding("graph", "ok", graph_url))
    return findings


def judge_token(check: str, token: TokenDetails, *, now: float) -> Iterator[Finding]:
    """What Meta says of a token, judged. Pure."""
    renew = "make a new token for the system user (Business settings) and put it into the Secret"
    if not token.is_valid:
        yield Finding(check, "wrong", "is not valid any more", renew)
        return
    lacking = [scope for scope in NEEDED_SCOPES if scope not in token.scopes]
    if lacking:
        yield Finding(check, "wrong", f"lacks {', '.join(lacking)}", "make a token with these permissions")
        return
    if token.expires_at and token.expires_at - now < WARN_BEFORE_S:
        days = max(0, int((token.expires_at - now) // 86400))
        yield Finding(check, "warning", f"ends in {days} days", renew)
        return
    ends = "never ends" if not token.expires_at else f"ends in {int((token.expires_at - now) // 86400)} days"
    yield Finding(check, "ok", f"valid, {ends}")


def report(findings: Sequence[Finding], out: Console, *, as_json: bool) -> int:
    """Print the findings; 1 when anything is wrong, else 0. Warnings do not count as wrong."""
    if as_json:
        out.file.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        colours = {"ok": "green", "warning": "yellow", "wrong": "bold red"}
        table = Table.grid(padding=(0, 2))
        for finding in findings:
            detail = Text(finding.detail)
            if finding.advice:
                detail.append(f"\n→ {finding.advice}", style="bold")
            table.add_row(Text(finding.state, style=colours[finding.state]), Text(finding.check), detail)
        out.print(table)
    return 1 if any(finding.state == "wrong" for finding in findings) else 0


def _files(folder: Path) -> Iterator[Path]:
    for audience in ("webhook", "worker"):
        yield from (folder / audience).glob("*.json")
