"""The command line. `waypost COMMAND` starts every process of the platform and has the tools for its operators.

Each command imports the modules that it needs when it runs. So a process starts fast and does not load the
code of other commands.
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
    help="Run WhatsApp Business numbers the way cert-manager runs certificates.",
)
dead_app = typer.Typer(no_args_is_help=True, help="List, show, replay or drop events that were given up.")
app.add_typer(dead_app, name="dead")
schedule_app = typer.Typer(no_args_is_help=True, help="Perform the runs of a BotSchedule.")
app.add_typer(schedule_app, name="schedule")

DATA = Path(".waypost")
"""Default data folder of `waypost dev`, relative to the working directory."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DataFolder = Annotated[
    Path,
    typer.Option("--data", help="Folder of a running `waypost dev`; used only if WAYPOST_DATABASE_URL is not set."),
]
NumberName = Annotated[str, typer.Argument(metavar="NAMESPACE/NAME", help="Namespace and name of the WhatsAppNumber.")]
Ids = Annotated[list[int] | None, typer.Argument(metavar="[ID]…", help="Ids of events, as `waypost dead list` shows.")]
NumberFilter = Annotated[
    str | None, typer.Option("--number", metavar="NAMESPACE/NAME", help="Select only what belongs to this number.")
]
ReasonFilter = Annotated[str | None, typer.Option("--reason", help="Select only events with this reason.")]
SelectAll = Annotated[
    bool, typer.Option("--all", help="Select all events, or all that match --number and --reason if these are given.")
]


@app.callback(invoke_without_command=True)
def _version(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False
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
    """Receive Meta's deliveries: store them, then acknowledge."""
    _serve("webhook", "database_url", "redis_url")


@app.command()
def worker() -> None:
    """Answer stored events and send messages."""
    _serve("worker", "database_url", "redis_url")


@app.command()
def operator() -> None:
    """Reconcile the WhatsAppNumber and BotSchedule objects of a cluster."""
    _serve("operator", "release_namespace", "public_url", "job_image")


@app.command("local-operator", hidden=True)
def local_operator(folder: Path) -> None:
    """Run the operator of `waypost dev` on the files in its data folder."""
    from waypost.dev import local_operator

    with one_line_errors():
        local_operator.run(load("public_url"), folder)


@app.command()
def console() -> None:
    """Serve the status page."""
    _serve("console", "database_url")


@app.command()
def simulator() -> None:
    """Simulate Meta for development and tests. The simulator has the Graph API and a chat page."""
    _serve("simulator")


@app.command()
def migrate(
    *,
    wait: Annotated[float, typer.Option(help="Seconds to wait for a database that is not up yet.", min=0)] = 0,
) -> None:
    """Bring the database to the schema of this version. Several processes may run this command at once."""
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
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="YAML files, or folders that contain them.")],
    *,
    port_webhook: Annotated[int, typer.Option(help="Port of the webhook; 0: any free one.", min=0, max=65535)] = 8080,
    port_console: Annotated[int, typer.Option(help="Port of the console; 0: any free one.", min=0, max=65535)] = 8081,
    port_simulator: Annotated[
        int, typer.Option(help="Port of the simulator; 0: any free one.", min=0, max=65535)
    ] = 8082,
    data: Annotated[Path, typer.Option(help="Folder for databases, logs and dev.json.")] = DATA,
    workers: Annotated[int, typer.Option(help="Number of worker processes.", min=1, max=32)] = 2,
    once: Annotated[
        bool, typer.Option("--once", help="Exit after the demonstration, with status 1 if it failed.")
    ] = False,
) -> None:
    """Run everything on this machine, with a simulated Meta. The YAML files are the same as for a cluster."""
    from waypost.dev import run as development

    options = development.Options(tuple(files), data, port_webhook, port_console, port_simulator, workers, once=once)
    with one_line_errors():
        status = development.run(options, _standard_output(), errors)
    raise typer.Exit(status)


@app.command()
def send(
    number: NumberName,
    *,
    to: Annotated[str, typer.Option(help="Phone number with + and country code, or business-scoped user id.")],
    text: Annotated[
        str | None, typer.Option(help="Text to send; Meta takes it within 24 h of the contact's last message.")
    ] = None,
    template: Annotated[str | None, typer.Option(metavar="NAME:LANGUAGE", help="Approved template to send.")] = None,
    key: Annotated[str | None, typer.Option(help="Key of your choice; requests with the same key send once.")] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the outcome.", min=0, max=600)] = 10.0,
    data: DataFolder = DATA,
    as_json: AsJson = False,
) -> None:
    """Send one message. The gate and the limits are the same as for all other messages."""
    from waypost.cli import context
    from waypost.cli import send as sending
    from waypost.cloudapi.messages.checks import InvalidMessage
    from waypost.contracts.states import OutboxState
    from waypost.store.requests import KeyInUse

    with one_line_errors():
        settings = context.load_settings(data, "database_url")
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
            again = "" if is_new else " (requested before; not sent again)"
            why = ", ".join(str(part) for part in (progress.reason, progress.error_code) if part)
            typer.echo(f"{outbox_id}: {progress.state}{f' ({why})' if why else ''}{again}")
        raise typer.Exit(1 if progress.state in {OutboxState.FAILED, OutboxState.UNKNOWN} else 0)


@dataclass(frozen=True)
class _SelectedEvents:
    engine: "Engine"
    selection: "Selection"
    redis_url: str


@contextmanager
def _selected_events(
    data: Path, ids: Sequence[int], number: str | None, reason: str | None
) -> Iterator[_SelectedEvents]:
    """Yields the dead events that the arguments select. An id that is not a dead event ends the command."""
    from waypost.cli import context, dead
    from waypost.cli import send as sending
    from waypost.store.dead import Selection

    with one_line_errors():
        settings = context.load_settings(data, "database_url")
        with context.database(settings, "dead") as engine:
            number_id = sending.number_id(engine, number) if number else None
            if unknown := dead.unknown_ids(engine, ids):
                fail(f"not a dead event: {', '.join(map(str, unknown))}; nothing was changed", USAGE)
            yield _SelectedEvents(engine, Selection(tuple(ids), number_id, reason), settings.redis_url)


@dead_app.command("list")
def dead_list(
    ids: Ids = None,
    number: NumberFilter = None,
    reason: ReasonFilter = None,
    limit: Annotated[int, typer.Option(help="Maximum number of rows to show.", min=1, max=10_000)] = 50,
    data: DataFolder = DATA,
    *,
    sends: Annotated[bool, typer.Option("--sends", help="Show failed and unknown sends instead of events.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the events or sends that were given up. Contacts and texts are not shown."""
    from waypost.cli import dead

    out = _standard_output()
    with _selected_events(data, ids or (), number, reason) as selected:
        if sends:
            dead.show_sends(selected.engine, selected.selection.number_id, limit=limit, as_json=as_json, out=out)
        else:
            dead.show_events(selected.engine, selected.selection, limit=limit, as_json=as_json, out=out)


@dead_app.command("show")
def dead_show(
    event_id: Annotated[int, typer.Argument(metavar="ID", help="Id of an event, as `waypost dead list` shows.")],
    data: DataFolder = DATA,
    *,
    as_json: AsJson = False,
) -> None:
    """Show why an event was given up, and where the bot's code failed."""
    from waypost.cli import dead

    with _selected_events(data, (event_id,), None, None) as selected:
        dead.show_event(selected.engine, event_id, as_json=as_json, out=_standard_output())


@dead_app.command("replay")
def dead_replay(
    ids: Ids = None,
    number: NumberFilter = None,
    reason: ReasonFilter = None,
    data: DataFolder = DATA,
    *,
    select_all: SelectAll = False,
    as_json: AsJson = False,
) -> None:
    """Try dead events again. Each event gets all its attempts back."""
    from waypost.cli import dead

    _require_selection(ids, number, reason, select_all=select_all)
    with _selected_events(data, ids or (), number, reason) as selected:
        count = dead.replay(selected.engine, selected.selection, selected.redis_url, progress=errors)
    typer.echo(json.dumps({"replayed": count}) if as_json else f"{count} replayed")


@dead_app.command("drop")
def dead_drop(
    ids: Ids = None,
    number: NumberFilter = None,
    reason: ReasonFilter = None,
    data: DataFolder = DATA,
    *,
    select_all: SelectAll = False,
    as_json: AsJson = False,
) -> None:
    """Give up dead events for good. They count as done and have no effect."""
    from waypost.cli import dead

    _require_selection(ids, number, reason, select_all=select_all)
    with _selected_events(data, ids or (), number, reason) as selected:
        count = dead.drop(selected.engine, selected.selection, progress=errors)
    typer.echo(json.dumps({"dropped": count}) if as_json else f"{count} dropped")


def _require_selection(ids: list[int] | None, number: str | None, reason: str | None, *, select_all: bool) -> None:
    if not (ids or number or reason or select_all):
        fail("select events by id, --number, --reason or --all", USAGE)


@schedule_app.command("run")
def schedule_run(
    *,
    at: Annotated[
        str | None,
        typer.Option(metavar="MOMENT", help="Planned minute, as 2026-11-24T09:00Z, for a Job created by hand."),
    ] = None,
) -> None:
    """Perform one run of a BotSchedule, as the Jobs of its CronJob do.

    Exit status 1 means that a retry makes sense. Exit status 2 means that a retry does not help.
    """
    from waypost.schedule import main as scheduled

    with one_line_errors():
        raise typer.Exit(scheduled.run(scheduled.Command(load("database_url"), at)))


@app.command()
def doctor(data: DataFolder = DATA, *, as_json: AsJson = False) -> None:
    """Check database, Redis, registry files, the Graph API and each token, and say what to do.

    The exit status is 1 if anything is wrong.
    """
    from waypost.cli import context
    from waypost.cli import doctor as checks

    with one_line_errors():
        settings = context.load_settings(data)
        with errors.status("Checking"):
            findings = list(checks.check_all(settings))
        raise typer.Exit(checks.report(findings, _standard_output(), as_json=as_json))


class ExportContent(StrEnum):
    """Contents of an export."""

    MESSAGES = "messages"
    DAYS = "days"


class ExportFormat(StrEnum):
    """Formats of an export. The JSON format has one object per line."""

    CSV = "csv"
    JSON = "json"


@app.command()
def export(
    number: NumberName,
    what: Annotated[
        ExportContent, typer.Argument(help="Every message, or the counts of each day.")
    ] = ExportContent.MESSAGES,
    *,
    start: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC); by default 29 days before the last."),
    ] = None,
    end: Annotated[
        datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC); by default today.")
    ] = None,
    file_format: Annotated[
        ExportFormat, typer.Option("--format", help="Format to write; json is one object per line.")
    ] = ExportFormat.CSV,
    output: Annotated[Path | None, typer.Option(help="File to write; by default standard output.")] = None,
    data: DataFolder = DATA,
) -> None:
    """Export the messages or the daily counts of a number. The default is the last 30 days."""
    from waypost.analytics import export as exporting
    from waypost.cli import context
    from waypost.cli import send as sending

    today = datetime.now(UTC).date()
    last = end.date() if end else today
    first = start.date() if start else last - timedelta(days=29)
    if first > last:
        fail("--from is after --to", USAGE)
    write = exporting.messages if what is ExportContent.MESSAGES else exporting.days
    with one_line_errors():
        settings = context.load_settings(data, "database_url")
        with (
            context.database(settings, "export") as engine,
            errors.status("Exporting"),
            output.open("w", encoding="utf-8", newline="") if output else nullcontext(sys.stdout) as file,
        ):
            span = exporting.Span(sending.number_id(engine, number), first, last)
            count = write(engine, span, file, as_csv=file_format is ExportFormat.CSV)
    errors.print(f"{count} rows, {first} to {last}", highlight=False)


def _standard_output() -> Console:
    """Returns a console on standard output. In a pipe or file, lines have up to 160 characters."""
    return Console() if sys.stdout.isatty() else Console(width=160)


def main() -> None:
    """Runs the `waypost` command."""
    app()
