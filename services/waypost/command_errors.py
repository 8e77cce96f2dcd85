"""How a command ends when it cannot do its work: one clear line on stderr, and the exit status.

Every process goes through here, so what is heavy to import (the errors of database and Redis) is imported when needed.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console

from waypost.settings import SettingsError

USAGE = 2
"""Exit status for wrong arguments, files or settings; what failed for another reason ends with 1."""

errors = Console(stderr=True, soft_wrap=True)


class CommandError(Exception):
    """A command cannot go on; each of `problems` is one line that says what to do. A retry alone makes no sense."""

    status = 1

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class UsageError(CommandError):
    """What the user gave cannot be meant."""

    status = USAGE


def fail(problems: str | Sequence[str], status: int = 1) -> NoReturn:
    """Print one line for each problem and end."""
    for problem in (problems,) if isinstance(problems, str) else problems:
        errors.print(f"waypost: {problem}", markup=False, highlight=False, style="red")
    raise typer.Exit(status)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what may be expected to go wrong into one line. A defect of ours still shows its traceback."""
    try:
        yield
    except CommandError as error:
        fail(error.problems, error.status)
    except SettingsError as error:
        fail(str(error), USAGE)
    except OSError as error:
        fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except Exception as error:
        if (explained := _explained(error)) is None:
            raise
        fail(*explained)


def _explained(error: Exception) -> tuple[str, int] | None:
    """What went wrong with a server, and the exit status. A driver's own text may quote data, so the class is told."""
    import redis  # noqa: PLC0415 - see above
    from sqlalchemy.exc import ArgumentError, DBAPIError  # noqa: PLC0415 - see above

    from waypost.store.connection import database  # noqa: PLC0415 - see above

    if isinstance(error, ArgumentError):
        return "WAYPOST_DATABASE_URL is not an address; write it as postgresql://user@host/name", USAGE
    if isinstance(error, DBAPIError):
        return f"the database cannot be used: {database.explain(error)}; `waypost doctor` tells more", 1
    if isinstance(error, redis.exceptions.RedisError):
        return f"Redis cannot be used ({type(error).__name__}); `waypost doctor` tells more", 1
    return None
