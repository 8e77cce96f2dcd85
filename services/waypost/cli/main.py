"""`waypost …`: every process of the platform, and what a person does with it.

Commands import what they need when they run: one process need not hold the code of the others, and starts faster so.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from waypost import __version__
from waypost.command_errors import USAGE, errors, fail, one_line_errors
from waypost.settings import Settings, load

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from waypost.store.dead import Selection

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="WhatsApp Business numbers, run the way cert-manager runs certificates.",
)
dead_app = typer.Typer(no_args_is_help=True, help="Events that were given up: list, replay, drop.")
app.add_typer(dead_app, name="dead")
schedule_app = typer.Typer(no_args_is_help=True, help="Runs of a BotSchedule.")
app.add_typer(schedule_app, name="schedule")

DATA = Path(".waypost")
"""Where `waypost dev` keeps everything unless told otherwise, below the current folder."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
DataFolder = Annotated[
    Path,
    typer.Option("--data", help="Folder of a running `waypost dev`; asked only where WAYPOST_DATABASE_URL is unset."),
]
NumberName = Annotated[
    str, typer.Argument(metavar="NAMESPACE/NAME", help="The number, as its WhatsAppNumber is named.")
]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]…", help="Events, as `waypost dead list` numbers them.")]
OfNumber = Annotated[str | None, typer.Option("--number", metavar="NAMESPACE/NAME", help="Only those of this number.")]
WithReason = Annotated[str | None, typer.Option("--reason", help="Only those with this reason.")]

Everything = Annotated[bool, typer.Option("--all", help="All that --number and --reason leave.")]


@app.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and end.", is_eager=True)] = False
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def _serve(service: str, *required: str) -> None:
    with one_line_errors():
        settings = load(*required)
        run: Callable[[Settings], None] = import_module(f"waypost.{service}.main").run
        run(settings)


@app.command()
def webhook() -> None:
    """Serve Meta's deliveries: store, then acknowledge."""
    _serve("webhook", "database_url", "redis_url")


@app.command()
def worker() -> None:
    """Answer stored events and send what is to be said."""
    _serve("worker", "database_url", "redis_url")


@app.command()
def operator() -> None:
    """Make WhatsAppNumber and BotSchedule objects of a cluster true, and keep them true."""
    _serve("operator", "release_namespace", "public_url", "job_image")


@app.command("local-operator", hidden=True)
def local_operator(folder: Path) -> None:
    """The operator of `waypost dev`, on the files of its folder."""
    from waypost.dev import local_operator

    with one_line_errors():
        local_operator.run(load("public_url"), folder)


@app.command()
def console() -> None:
    """Serve the status page."""
    _serve("console", "database_url")


@app.command()
def simulator() -> None:
    """Play Meta: a Graph API for development and tests, with a chat page."""
    _serve("simulator")


@app.command()
def migrate(
    *,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a database that is not there yet.", min=0)] = 0,
) -> None:
    """Bring the database to the schema that this version needs. Safe to run from several places at once."""
    from waypost.cli import context
    from waypost.store.connection import database, schema

    with one_line_errors():
        settings = load("database_url")
        with context.database(settings, "migrate") as engine, errors.status("Migrating"):
            database.wait(engine, at_most_s=wait, report=lambda why: errors.print(f"Waiting for the database: {why}."))
            schema.migrate(engine)
        errors.print("The schema is current.")


@app.command()
def dev(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="YAML files, or folders of them.")],
    *,
    port_webhook: Annotated[int, typer.Option(help="0 takes any free port.", min=0, max=65535)] = 8080,
    port_console: Annotated[int, typer.Option(help="0 takes any free port.", min=0, max=65535)] = 8081,
    port_simulator: Annotated[int, typer.Option(help="0 takes any free port.", min=0, max=65535)] = 8082,
    data: Annotated[Path, typer.Option(help="Where databases, logs and dev.json are kept.")] = DATA,
    workers: Annotated[int, typer.Option(help="Worker processes.", min=1, max=32)] = 2,
    once: Annotated[
        bool, typer.Option("--once", help="End after the demonstration; exit status 1 if it failed.")
    ] = False,
) -> None:
    """Run everything on this machine, with a simulated Meta, from the same files that a cluster takes."""
    from waypost.dev import run as development

    options = development.Options(tuple(files), data, port_webhook, port_console, port_simulator, workers, once=once)
    with one_line_errors():
        status = development.run(options, _out(), errors)
    raise typer.Exit(status)


@app.command()
def send(
    number: NumberName,
    *,
    to: Annotated[str, typer.Option(help="Phone number with + and country code, or a BSUID.")],
    text: Annotated[str | None, typer.Option(help="Works within 24 h of the contact's last message.")] = None,
    template: Annotated[str | None, typer.Option(metavar="NAME:LANGUAGE", help="An approved template.")] = None,
    key: Annotated[str | None, typer.Option(help="Of your choice: the same key twice sends once.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the outcome.", min=0, max=600)] = 10.0,
    data: DataFolder = DATA,
    as_json: AsJson = False,
) -> None:
    """Send one message, through the same gate and limits as every other."""
    from waypost.cli import context
    from waypost.cli import send as sending
    from waypost.cloudapi.messages.checks import InvalidMessage
    from waypost.store.requests import KeyInUse

    with one_line_errors():
        settings = context.of_person(data, "database_url")
        with context.database(settings, "send") as engine, errors.status("Sending"):
            try:
                content, recipient = sending.message(text, template), sending.recipient(to)
                number_id = sending.number_id(engine, number)
                outbox_id, is_new = sending.request(engine, number_id, recipient, content, key)
            except (InvalidMessage, KeyInUse) as error:
                fail(str(error), USAGE)
            progress = sending.outcome(engine, outbox_id, within_s=wait)
        if as_json:
            report = {"id": outbox_id, "new": is_new, "state": progress.state, "reason": progress.reason}
            typer.echo(json.dumps(report | {"error_code": progress.error_code}))
        else:
            again = "" if is_new else " (asked for before; not sent twice)"
            why = ", ".join(str(part) for part in (progress.reason, progress.error_code) if part)
            typer.echo(f"{outbox_id}: {progress.state}{f' ({why})' if why else ''}{again}")
        raise typer.Exit(1 if progress.state in {"failed", "unknown"} else 0)


@dataclass(frozen=True)
class _Chosen:
    engine: "Engine"
    selection: "Selection"
    redis_url: str


@contextmanager
def _chosen(data: Path, ids: Sequence[int], number: str | None, reason: str | None) -> Iterator[_Chosen]:
    """The dead events that the arguments name. An id that is no dead event ends the command before it does anything."""
    from waypost.cli import context, dead
    from waypost.cli import send as sending
    from waypost.store.dead import Selection

    with one_line_errors():
        settings = context.of_person(data, "database_url")
        with context.database(settings, "dead") as engine:
            number_id = sending.number_id(engine, number) if number else None
            if unknown := dead.unknown_ids(engine, ids):
                fail(f"no dead event: {', '.join(map(str, unknown))}; nothing was changed", USAGE)
            yield _Chosen(engine, Selection(tuple(ids), number_id, reason), settings.redis_url)


@dead_app.command("list")
def dead_list(
    ids: Ids = None,
    number: OfNumber = None,
    reason: WithReason = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    data: DataFolder = DATA,
    *,
    sends: Annotated[bool, typer.Option("--sends", help="Failed and unknown sends instead of events.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what was given up, without saying who or what it is about."""
    from waypost.cli import dead

    out = _out()
    with _chosen(data, ids or (), number, reason) as chosen:
        if sends:
            dead.show_sends(chosen.engine, chosen.selection.number_id, limit=limit, as_json=as_json, out=out)
        else:
            dead.show_events(chosen.engine, chosen.selection, limit=limit, as_json=as_json, out=out)


@dead_app.command("replay")
def dead_replay(
    ids: Ids = None,
    number: OfNumber = None,
    reason: WithReason = None,
    data: DataFolder = DATA,
    *,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """Let events be tried again, with all their attempts."""
    from waypost.cli import dead

    _need_choice(ids, number, reason, everything=everything)
    with _chosen(data, ids or (), number, reason) as chosen:
        count = dead.replay(chosen.engine, chosen.selection, chosen.redis_url, progress=errors)
    typer.echo(json.dumps({"replayed": count}) if as_json else f"{count} replayed")


@dead_app.command("drop")
def dead_drop(
    ids: Ids = None,
    number: OfNumber = None,
    reason: WithReason = None,
    data: DataFolder = DATA,
    *,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """Give events up for good: they count as done, without effect."""
    from waypost.cli import dead

    _need_choice(ids, number, reason, everything=everything)
    with _chosen(data, ids or (), number, reason) as chosen:
        count = dead.drop(chosen.engine, chosen.selection, progress=errors)
    typer.echo(json.dumps({"dropped": count}) if as_json else f"{count} dropped")


def _need_choice(ids: list[int] | None, number: str | None, reason: str | None, *, everything: bool) -> None:
    if not (ids or number or reason or everything):
        fail("say which: ids, --number, --reason or --all", USAGE)


@schedule_app.command("run")
def schedule_run(
    *,
    at: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="The planned minute, as 2026-11-24T09:00Z, for a Job made by hand."),
    ] = None,
) -> None:
    """Do one run, as the Jobs of its CronJob do. Exit status 1: worth another try; 2: not."""
    from waypost.schedule import main as scheduled

    with one_line_errors():
        raise typer.Exit(scheduled.run(scheduled.Command(load("database_url"), at)))


@app.command()
def doctor(data: DataFolder = DATA, *, as_json: AsJson = False) -> None:
    """Check database, Redis, registry files, the Graph API and each token; say what to do. Exit status 1 if wrong."""
    from waypost.cli import context
    from waypost.cli import doctor as examination

    with one_line_errors():
        settings = context.of_person(data)
        with errors.status("Looking"):
            findings = list(examination.examine(settings))
        raise typer.Exit(examination.report(findings, _out(), as_json=as_json))


class What(StrEnum):
    """What can be exported."""

    MESSAGES = "messages"
    DAYS = "days"


class Form(StrEnum):
    """How it is written; JSON is one object per line."""

    CSV = "csv"
    JSON = "json"


@app.command()
def export(
    number: NumberName,
    what: Annotated[What, typer.Argument(help="Every message, or the counts of each day.")] = What.MESSAGES,
    *,
    start: Annotated[datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC).")] = None,
    end: Annotated[datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC).")] = None,
    form: Annotated[Form, typer.Option("--format")] = Form.CSV,
    output: Annotated[Path | None, typer.Option(help="File to write; standard output otherwise.")] = None,
    data: DataFolder = DATA,
) -> None:
    """Write messages or daily counts of a number, of the last 30 days unless told otherwise."""
    from waypost.analytics import export as exporting
    from waypost.cli import context
    from waypost.cli import send as sending

    today = datetime.now(UTC).date()
    last = end.date() if end else today
    first = start.date() if start else last - timedelta(days=29)
    if first > last:
        fail("--from is after --to", USAGE)
    write = exporting.messages if what is What.MESSAGES else exporting.days
    with one_line_errors():
        settings = context.of_person(data, "database_url")
        with (
            context.database(settings, "export") as engine,
            errors.status("Exporting"),
            output.open("w", encoding="utf-8", newline="") if output else nullcontext(sys.stdout) as file,
        ):
            span = exporting.Span(sending.number_id(engine, number), first, last)
            count = write(engine, span, file, as_csv=form is Form.CSV)
    errors.print(f"{count} rows, {first} to {last}", highlight=False)


def _out() -> Console:
    """Standard output; in a pipe or file lines are as long as they need to be."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def main() -> None:
    """Entry of the `waypost` command."""
    app()
