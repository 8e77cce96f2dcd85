"""How a command ends when it cannot do its work: one clear line on stderr, and the exit status."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import redis
import typer
from rich.console import Console
from sqlalchemy.exc import ArgumentError, DBAPIError

from waypost.cli.embedded import EmbeddedError
from waypost.cli.manifests import ManifestError
from waypost.settings import SettingsError

USAGE = 2
"""Exit status for wrong arguments, files or settings; what failed for another reason ends with 1."""

errors = Console(stderr=True, soft_wrap=True)


def fail(message: str, status: int = 1) -> NoReturn:
    """Print one line and end."""
    errors.print(f"waypost: {message}", markup=False, highlight=False, style="red")
    raise typer.Exit(status)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn what may be expected to go wrong into one line. A defect of ours still shows its traceback."""
    try:
        yield
    except ManifestError as error:
        for problem in error.problems:
            errors.print(f"waypost: {problem}", markup=False, highlight=False, style="red")
        raise typer.Exit(USAGE) from None
    except SettingsError as error:
        fail(str(error), USAGE)
    except EmbeddedError as error:
        fail(str(error))
    except ArgumentError:
        fail("WAYPOST_DATABASE_URL is not an address; write it as postgresql://user@host/name", USAGE)
    except DBAPIError as error:
        # The driver's text may quote parameters, so only its first line's class is told, and where to look.
        fail(f"the database cannot be used ({type(error.orig).__name__}); `waypost doctor` tells more")
    except redis.exceptions.RedisError as error:
        fail(f"Redis cannot be used ({type(error).__name__}); `waypost doctor` tells more")
    except OSError as error:
        fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
