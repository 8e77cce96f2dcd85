"""Ends a command that cannot do its work. The user sees one clear line on stderr and gets an exit status.

Every process imports this module. The error classes of the database and of Redis are slow to import, so they
are imported only when they are needed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

from waypost.settings import SettingsError

USAGE = 2
"""Exit status for wrong arguments, files or settings; other failures end with 1."""

errors = Console(stderr=True, soft_wrap=True)


class CommandError(Exception):
    """Raised when a command cannot continue. Each of `problems` is a line that says what to do.

    A retry does not help.
    """

    status = 1

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class UsageError(CommandError):
    """Raised when the user's arguments or files are wrong."""

    status = USAGE


def fail(problems: str | Sequence[str], status: int = 1) -> NoReturn:
    """Prints one line for each problem and ends the process with `status`."""
    for problem in (problems,) if isinstance(problems, str) else problems:
        errors.print(f"waypost: {problem}", markup=False, highlight=False, style="red")
    raise typer.Exit(status)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns expected errors into one line and an exit status. A bug in Waypost still shows its traceback."""
    try:
        yield
    except CommandError as error:
        fail(error.problems, error.status)
    except SettingsError as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception as error:
        if (explanation := _explanation(error)) is None:
            raise
        fail(*explanation)


def _explanation(error: Exception) -> tuple[str, int] | None:
    """Returns what went wrong with a server, and the exit status. Returns None if the error is not about a server.

    The text names only the error's class, because a driver's own text may quote data.
    """
    import redis  # noqa: PLC0415 - slow to import
    from sqlalchemy.exc import ArgumentError, DBAPIError  # noqa: PLC0415 - slow to import

    from waypost.store.connection import database  # noqa: PLC0415 - slow to import

    if isinstance(error, ArgumentError):
        return "WAYPOST_DATABASE_URL is not an address; write it as postgresql://user@host/name", USAGE
    if isinstance(error, DBAPIError):
        return f"the database cannot be used: {database.explain(error)}; run `waypost doctor` for details", 1
    if isinstance(error, redis.exceptions.RedisError):
        return f"Redis cannot be used ({type(error).__name__}); run `waypost doctor` for details", 1
    return None
